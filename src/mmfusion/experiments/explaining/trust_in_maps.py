"""How faithful the maps of a run are, measured on cases of the set."""

import functools
from collections.abc import Mapping

import numpy as np
import torch

from mmfusion.experiments.explaining import accounts, regions
from mmfusion.experiments.explaining.case_set import drawn
from mmfusion.experiments.explaining.sheets import SheetMaker
from mmfusion.explain import Faithfulness, Output, class_activation_map, faithfulness
from mmfusion.tokens import Bag, Content
from mmfusion.training.reporter import Reporter

_NAMES = "the maps' faithfulness"


def trust_of(maker: SheetMaker, reporter: Reporter) -> Mapping[str, Faithfulness] | str:
    """By image the tests of the map method; or why there are none, as the end of a sentence.

    Cases are drawn among those that have the image. Each costs about a hundred forward passes: fewer are taken where
    images are large. Of a case with several images the first counts as its only one.
    """
    model, options, cases = maker.model, maker.options, maker.cases
    if model is None:
        return maker.no_model
    if not model.images:
        return "the model looks at no image"
    if options.map_method == "none" or not options.n_faithfulness:
        return "none was asked for"
    size = accounts.positions_of(model)
    most = min(options.n_faithfulness, regions.n_measured(size))
    index = None if options.target_class is None and len(maker.names) > 2 else maker.explained(cases.probabilities[0])
    method = functools.partial(
        class_activation_map, method=options.map_method, at=options.at, batch_size=min(32, regions.batch_size(size))
    )
    found: dict[str, Faithfulness] = {}
    finite = np.isfinite(cases.probabilities).all(1)
    with reporter.bar(f"measuring {_NAMES}", len(model.images)) as bar:
        for name in model.images:
            able = np.flatnonzero(finite & cases.dataset.present(name).numpy()).tolist()
            rows = [able[i] for i in drawn(len(able), most, options.seed)]
            if not rows:
                continue
            batch = accounts.inputs_of(maker.predictor, cases.dataset, rows)
            try:
                found[name] = faithfulness(
                    model,
                    _of_one_image(batch.inputs, name),
                    batch.present,
                    method=method,
                    image=name,
                    baseline=options.baseline,
                    output=Output(maker.predictor.target, index),
                    seed=options.seed,
                    batch_size=regions.batch_size(size),
                )
            except (ValueError, ImportError) as error:
                return " ".join(str(error).split())
            bar.advance()
    return found or "no case has an image"


def _of_one_image(inputs: Mapping[str, Content], name: str) -> dict[str, Content]:
    """The inputs with the first image of each case in a bag's place."""
    content = inputs[name]
    if not isinstance(content, Bag):
        return dict(inputs)
    first = content.mask.int().argmax(1)
    return {**inputs, name: content.x[torch.arange(len(first), device=first.device), first]}
