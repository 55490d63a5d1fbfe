"""The frozen encoder of a comparison, whose embeddings reference rows are fitted to."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from mmfusion import registry
from mmfusion.comparison.grid import Planned
from mmfusion.data.bundle import DataBundle
from mmfusion.data.cases import CaseDataset
from mmfusion.experiments.assembly import build_model
from mmfusion.experiments.devices import pick_device
from mmfusion.experiments.embeddings import Embeddings, embed
from mmfusion.experiments.recipes import SHARED
from mmfusion.experiments.settings import plain
from mmfusion.training import precompute
from mmfusion.training.arithmetic import arithmetic
from mmfusion.training.reporter import Reporter
from mmfusion.utils.cache_folders import cache_folder

_NO_WEIGHTS = ("none", None)


@dataclass(frozen=True)
class Encoder:
    """An encoder with its weights, as the methods of a comparison start from it.

    Attributes:
        options: ``encoder`` and ``weights``, as in the settings.
        normalise: Whether images are normalized as its weights expect.
        planned: A run that has it.
    """

    options: dict[str, Any]
    normalise: bool
    planned: Planned

    def embeddings(self, bundle: DataBundle, reporter: Reporter) -> tuple[dict[str, Embeddings], float]:
        """Embeddings of the training, validation and test set, and the seconds that they took.

        The maps of a run with ``train.precompute`` are read where they are.

        Args:
            bundle: The dataset.
            reporter: Receives the progress.

        Raises:
            ValueError: If the model has no image encoder, or a map is not finite.
            OSError: If the weights or the maps cannot be read.
        """
        settings = self.planned.settings
        device = pick_device(settings.run.device)
        with torch.random.fork_rng(devices=[]):
            model = build_model(settings, bundle.spec, weights=True).to(device)
        began = time.perf_counter()
        found = {}
        for name, dataset in {"train": bundle.train, "validation": bundle.validation, "test": bundle.test}.items():
            with reporter.bar(f"embedding the {name} set", len(dataset)) as bar, arithmetic(device):
                cases: CaseDataset = dataset
                if settings.train.precompute:
                    cases = precompute.precompute(
                        model,
                        dataset,
                        cache_folder("maps", settings.run.cache),
                        batch_size=settings.train.eval_batch_size,
                        device=device,
                    )
                found[name] = embed(model, cases, batch_size=settings.train.eval_batch_size, device=device, bar=bar)
        return found, time.perf_counter() - began


def encoders(planned: Iterable[Planned]) -> tuple[list[Encoder], str]:
    """The encoders with pretrained weights of some runs.

    Args:
        planned: Runs on one dataset.

    Returns:
        Each encoder once, with a run that precomputes its maps if there is one; and, if there is no encoder, the
        reason.
    """
    found: dict[str, Encoder] = {}
    untrained: dict[str, None] = {}
    for run in planned:
        settings = run.settings
        model = registry.models.defaults(settings.run.model) | settings.model
        options = plain({key: model[key] for key in sorted(SHARED["model"]) if key in model})
        if "encoder" not in options:
            continue
        choice = options["encoder"]
        inside = choice if isinstance(choice, dict) else {}
        if options.get("weights", "none") in _NO_WEIGHTS and inside.get("weights", "none") in _NO_WEIGHTS:
            untrained[str(inside.get("name", choice))] = None
            continue
        key = repr((options, settings.train.normalise))
        if key not in found or (settings.train.precompute and not found[key].planned.settings.train.precompute):
            found[key] = Encoder(options, settings.train.normalise, run)
    if found:
        return list(found.values()), ""
    if untrained:
        return [], (
            f"the encoder {', '.join(untrained)} starts without pretrained weights (model.weights=none), so that its "
            "frozen maps are random features"
        )
    return [], "no method has the options encoder and weights"
