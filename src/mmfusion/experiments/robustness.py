"""A model's outputs when cells or modalities are missing from its cases, or exchanged between them.

Every condition is made from the order of the cases, the columns and a seed alone, so that all models of a comparison
meet the same one. The cells that are missing at one share are missing at every larger one too.
"""

import zlib
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mmfusion.data.cases import CaseDataset, Cases, without_images
from mmfusion.metrics.ranking import Floats
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.selective import modalities_of
from mmfusion.spec import DataSpec
from mmfusion.tokens import Content, Table, Tokens
from mmfusion.training import inference
from mmfusion.training.reporter import Bar
from mmfusion.training.whole_tables import whole_tables

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the tables' present cells, that are made missing."""


class Condition(NamedTuple):
    """One change to the cases.

    Attributes:
        kind: ``"cells"``: a share of the cells that the tables have is made missing, all tables together;
            ``"without"``: no case has the modality; ``"permuted"``: each case has another case's, or lacks it as that
            one does.
        modality: Of the last two.
        share: Of the first.
    """

    kind: Literal["cells", "without", "permuted"]
    modality: str | None = None
    share: float | None = None


def conditions(spec: DataSpec) -> list[Condition]:
    """All conditions, in order; no cells without a table."""
    shares = SHARES if any(len(columns) for columns in spec.tables.values()) else ()
    return [
        *(Condition("cells", share=share) for share in shares),
        *(Condition("without", name) for name in spec.names),
        *(Condition("permuted", name) for name in spec.names),
    ]


def exchanged(n: int, name: str, seed: int) -> Tensor:
    """Whose content each case gets, shape ``(n,)``: a random cycle through all cases, so that none keeps its own.

    Args:
        n: Cases; a single one keeps its own.
        name: Of the modality, each of which has its own cycle.
        seed: Of the run.
    """
    order = _generator(seed, name, "exchange").permutation(n)
    source = np.empty(n, dtype=np.int64)
    source[order] = np.roll(order, 1)
    return torch.from_numpy(source)


class Cells:
    """Which cells of which tables go missing, and in which order.

    Args:
        tables: By modality, all cases in their order.
        present: By modality, shape ``(n,)``, bool; True has the table.
        seed: Of the run.
    """

    def __init__(self, tables: Mapping[str, Table], present: Mapping[str, Tensor], seed: int) -> None:
        drawn, filled = [], []
        for name, table in tables.items():
            real = torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1) & present[name].unsqueeze(1)
            filled.append(real.numpy())
            drawn.append(_generator(seed, name, "cells").random(real.shape))
        self.n = int(sum(part.sum() for part in filled))
        drawn = [np.where(real, draw, np.inf).ravel() for real, draw in zip(filled, drawn)]
        flat = np.concatenate([*drawn, np.empty(0)])
        place = np.empty(len(flat), dtype=np.int64)
        place[np.argsort(flat, kind="stable")] = np.arange(len(flat))
        ends = np.cumsum([part.size for part in filled])[:-1]
        self._place = {
            name: torch.from_numpy(part.reshape(real.shape))
            for name, part, real in zip(tables, np.split(place, ends), filled)
        }

    def hide(self, name: str, table: Table, rows: Tensor, share: float) -> Table:
        """A batch of a table at a share of missing cells.

        Args:
            name: The table modality.
            table: The batch, on any device.
            rows: Its cases' positions in the dataset, on the CPU.
            share: Of all present cells, in all tables; rounded to a whole cell.
        """
        hidden = (self._place[name][rows] < round(share * self.n)).to(table.numerical.device)
        numbers, codes = torch.split(hidden, [table.numerical.shape[1], table.categorical.shape[1]], 1)
        return Table(table.numerical.masked_fill(numbers, torch.nan), table.categorical.masked_fill(codes, -1))


class Outputs(NamedTuple):
    """A model's probabilities.

    Attributes:
        base: On the cases as they are, shape ``(n, k)``.
        under: By condition, likewise; or the message of the model's error.
    """

    base: Floats
    under: dict[Condition, Floats | str]


def predict(
    model: nn.Module,
    dataset: CaseDataset,
    target: str,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    seed: int,
    base: Floats | None = None,
    bar: Bar | None = None,
) -> Outputs:
    """Probabilities under every condition, a batch of cases at a time.

    A modality's tokens are computed once for all conditions that leave it unchanged, and once exchanged. Where map
    fusions make maps depend on more than the images, the whole model runs for each condition.
    Modalities that a model ignores cost nothing.

    Args:
        model: A fusion model; evaluated in evaluation mode and left in the mode it was in.
        dataset: The cases; it may hold maps in place of images.
        target: Name of the target.
        batch_size: Cases at a time.
        workers: Processes that read.
        device: Where the model is.
        seed: Of the run.
        base: The probabilities on the cases as they are, if they are known from batches of the same size; None: they
            are computed.
        bar: Receives the progress.
    """
    used = set(modalities_of(model, dataset.spec))
    all_conditions = conditions(dataset.spec)
    idle = {condition for condition in all_conditions if not _touched(condition, dataset.spec, used)}
    read = whole_tables(dataset)
    tables = {name: table for name, (table, _) in read.items()}
    present = {name: row for name, (_, row) in read.items()}
    cells = Cells(tables, present, seed)
    source = {name: exchanged(len(dataset), name, seed) for name in dataset.spec.names}
    images = [name for name in dataset.spec.images if name in used]
    others = [
        inference.loader(
            _with_image(dataset, name),
            [part.tolist() for part in torch.split(source[name], batch_size)],
            workers=workers,
            device=device,
        )
        for name in images
    ]
    logits: dict[Condition | None, list[Tensor]] = {
        condition: [] for condition in all_conditions if condition not in idle
    }
    if base is None:
        logits[None] = []
    errors: dict[Condition | None, str] = {}
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            in_order = inference.in_order(dataset, batch_size, workers=workers, device=device)
            for cases, *exchanged_images in zip(in_order, *others, strict=True):
                batch = _Batch(model, target, cases, device)
                given: dict[str, tuple[Content, Tensor]] = {}
                for name, table in tables.items():
                    rows = source[name][cases.position]
                    part = Table(table.numerical[rows], table.categorical[rows])
                    given[name] = inference.move(part, device), present[name][rows]
                for name, other in zip(images, exchanged_images):
                    given[name] = batch.content(name, other), other.present[name]
                for condition, parts in logits.items():
                    if condition in errors:
                        continue
                    try:
                        parts.append(batch.logits(*_changes(condition, batch.inputs, cases, given, cells)))
                    except ValueError as error:
                        if condition is None:
                            raise
                        errors[condition] = str(error)
                if bar is not None:
                    bar.at(int(cases.position[-1]) + 1, len(dataset))
    finally:
        model.train(training)
    probabilities = {
        condition: torch.softmax(torch.cat(parts).to("cpu", torch.float64), dim=1).numpy()
        for condition, parts in logits.items()
        if condition not in errors
    }
    base = probabilities[None] if base is None else base
    return Outputs(
        base,
        {
            condition: base if condition in idle else errors.get(condition) or probabilities[condition]
            for condition in all_conditions
        },
    )


class _Batch:
    """A batch on the device; what several conditions have in common, tokens or at least maps, is made once."""

    def __init__(self, model: Any, target: str, cases: Cases, device: torch.device) -> None:
        self._model = model
        self._target = target
        self._device = device
        self._apart = isinstance(model, FusionModel) and model.tokens_apart
        self._encoded = not self._apart and isinstance(model, FusionModel) and model.reads_maps
        self._present = cases.present
        self.inputs = self._on_device(cases)
        self._stages: list[dict[str, Tokens]] = []
        if self._apart:
            self._stages = model.tokenize(self.inputs, self._lacking(self._present))

    def content(self, name: str, cases: Cases) -> Content:
        """One image of other cases."""
        return self._on_device(cases._replace(inputs={name: cases.inputs[name]}))[name]

    def logits(self, inputs: Mapping[str, Content], present: Mapping[str, Tensor]) -> Tensor:
        """The model's on this batch, with some of the inputs and of the presence, on the CPU, replaced."""
        present = {**self._present, **present}
        if self._apart:
            output = self._model.predict(self._tokens(inputs, present), self._lacking(present))
        else:
            output = self._model({**self.inputs, **inputs}, self._lacking(present))
        logits: Tensor = output.outputs[self._target]
        return logits

    def _tokens(self, inputs: Mapping[str, Content], present: Mapping[str, Tensor]) -> list[dict[str, Tokens]]:
        """The batch's tokens, with those of the modalities that are replaced made anew."""
        changed = [name for name in self._model.names if name in inputs or name in present]
        if not changed:
            return self._stages
        alone = {name: torch.zeros_like(self._present[name]) for name in self._model.names}
        alone |= {name: present.get(name, self._present[name]) for name in changed}
        content = {name: inputs.get(name, self.inputs[name]) for name in changed}
        replaced = self._model.tokenize(content, self._lacking(alone))
        return [
            {**stage, **{name: tokens[name] for name in changed}}
            for stage, tokens in zip(self._stages, replaced, strict=True)
        ]

    def _lacking(self, present: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        some = {name: row for name, row in present.items() if not bool(row.all())}
        return inference.move(some, self._device) if some else None

    def _on_device(self, cases: Cases) -> dict[str, Content]:
        inputs: dict[str, Content] = inference.move(cases.inputs, self._device)
        if not self._encoded:
            return inputs
        maps: dict[str, Content] = self._model.encode(inputs, self._lacking(cases.present))
        return inputs | maps


def _changes(
    condition: Condition | None,
    inputs: Mapping[str, Content],
    cases: Cases,
    given: Mapping[str, tuple[Content, Tensor]],
    cells: Cells,
) -> tuple[dict[str, Content], dict[str, Tensor]]:
    """What a condition puts in the place of a batch's inputs and presence."""
    if condition is None:
        return {}, {}
    if condition.share is not None:
        tables = {name: content for name, content in inputs.items() if isinstance(content, Table)}
        return {name: cells.hide(name, table, cases.position, condition.share) for name, table in tables.items()}, {}
    name = str(condition.modality)
    if condition.kind == "without":
        return {}, {name: torch.zeros_like(cases.present[name])}
    content, present = given[name]
    return {name: content}, {name: present}


def _touched(condition: Condition, spec: DataSpec, used: Collection[str]) -> bool:
    """Whether a model that looks at these modalities can see the condition."""
    if condition.share is not None:
        return condition.share > 0 and any(name in used for name in spec.tables)
    return condition.modality in used


def _with_image(dataset: CaseDataset, name: str) -> CaseDataset:
    return without_images(dataset, [image for image in dataset.spec.images if image != name])


def _generator(seed: int, name: str, use: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(use.encode())])
