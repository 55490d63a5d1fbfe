"""Accounts and maps of cases, at a cost that fits their images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mmfusion.data.frame import FrameDataset
from mmfusion.experiments.explaining import regions
from mmfusion.experiments.explaining.options import ExplainOptions
from mmfusion.experiments.predictor import Predictor
from mmfusion.explain import Account, Output, Worth, class_activation_map, contributions, value_of_knowing
from mmfusion.explain.coalition_values import known_cells
from mmfusion.models import FusionModel
from mmfusion.tokens import Bag, Content, Inputs, Present, Table
from mmfusion.training import inference

_MOST_REFERENCES = 128
_EXACT = 12
_FEW = 5  # 32 coalitions: no more than orders
_COHORT_ORDERS = 8


class CaseInputs(NamedTuple):
    """What a model reads of some cases, on its device.

    Attributes:
        inputs: By modality.
        present: By modality, shape ``(b,)`` bool, of every modality of the dataset.
    """

    inputs: dict[str, Content]
    present: dict[str, Tensor]


def inputs_of(predictor: Predictor, dataset: FrameDataset, rows: list[int]) -> CaseInputs:
    """The inputs of some cases that the model looks at."""
    cases = dataset.__getitems__(rows)
    moved = inference.move({n: x for n, x in cases.inputs.items() if n in predictor.seen}, predictor.device)
    present = {name: mask for name, mask in cases.present.items() if name in predictor.seen}
    return CaseInputs(moved, inference.move(present, predictor.device))


def account_of(model: FusionModel, case: CaseInputs, output: Output, options: ExplainOptions) -> Account:
    """Columns, enumerated up to 12 where encoders need not run for each coalition, and images as wholes."""
    at_once = 256 if model.tokens_apart else regions.batch_size(positions_of(model))
    orders = options.n_orders or (64 if model.tokens_apart else regions.n_orders(positions_of(model)))
    (account,) = contributions(
        model,
        case.inputs,
        case.present,
        output=output,
        exact=_EXACT,
        n_orders=orders,
        seed=options.seed,
        batch_size=at_once,
    )
    return account


def cohort_account(model: FusionModel, case: CaseInputs, output: Output, options: ExplainOptions) -> Account:
    """As :func:`account_of`, with fewer random orders where such are needed: their errors average out over cases."""
    return account_of(model, case, output, replace(options, n_orders=options.n_orders or _COHORT_ORDERS))


def with_regions(
    model: FusionModel,
    case: CaseInputs,
    account: Account,
    numbers: Mapping[str, Tensor],
    output: Output,
    options: ExplainOptions,
) -> Account:
    """An account whose images are divided into regions; it adds up to the same."""
    (divided,) = contributions(
        model,
        case.inputs,
        case.present,
        output=output,
        regions=dict(numbers),
        baseline=options.baseline,
        exact=_FEW,  # columns are known already
        n_orders=options.n_orders or regions.n_orders(positions_of(model)),
        seed=options.seed,
        batch_size=regions.batch_size(positions_of(model)),
    )
    return replace(
        account,
        parts={**account.parts, **{name: divided.parts[name] for name in numbers}},
        presence={**account.presence, **{name: divided.presence[name] for name in numbers}},
    )


def heat_of(model: FusionModel, case: CaseInputs, image: str, output: Output, options: ExplainOptions) -> Tensor:
    """The map of an image of one case, shape ``size``; of a bag those of its images, ``(k, *size)``.

    Raises:
        ValueError: If there is none at that point of the encoder.
    """
    heat = class_activation_map(
        model,
        case.inputs,
        case.present,
        image=image,
        method=options.map_method,
        at=options.at,
        output=output,
        batch_size=min(32, regions.batch_size(positions_of(model))),
    )
    content = case.inputs[image]
    return heat[0][content.mask[0]] if isinstance(content, Bag) else heat[0]


def missing_of(model: FusionModel, case: CaseInputs) -> tuple[str, ...]:
    """What one case lacks: ``"table.column"``, or a modality."""
    found: list[str] = []
    for name in model.names:
        content = case.inputs.get(name)
        if content is None or not bool(case.present[name][0]):
            found.append(name)
        elif isinstance(content, Table):
            known = known_cells(content)[0].tolist()
            found += [f"{name}.{column}" for column, has in zip(model.columns[name].names, known) if not has]
    return tuple(found)


def worths(
    predictor: Predictor, model: FusionModel, case: CaseInputs, train: FrameDataset, output: Output, seed: int
) -> list[dict[str, Worth]]:
    """What knowing what each case lacks would be worth, by some of the training cases."""
    n = regions.n_references(positions_of(model), _MOST_REFERENCES)
    generator = torch.Generator().manual_seed(seed)
    rows = sorted(torch.randperm(len(train), generator=generator)[:n].tolist())
    reference = inputs_of(predictor, train, rows)
    present: Present = reference.present
    inputs: Inputs = {name: x for name, x in reference.inputs.items() if name in model.names}
    return value_of_knowing(
        model,
        case.inputs,
        case.present,
        inputs,
        present,
        output=output,
        batch_size=regions.batch_size(positions_of(model)),
    )


def positions_of(model: FusionModel) -> int:
    """Pixels or voxels of a case's images together, of as many as it may have."""
    return regions.positions([image.size for image in model.images.values() for _ in range(image.bag)])
