"""Contributions over many cases: by class, by error, by subgroup and by scanner."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfusion.data.schema.subgroups import in_order
from mmfusion.experiments.explaining import accounts, regions
from mmfusion.experiments.explaining.case_set import CaseSet, drawn
from mmfusion.experiments.explaining.cell_texts import category_of, number_of
from mmfusion.experiments.explaining.sheets import SheetMaker
from mmfusion.explain import Account, Means, Output, mean_contributions
from mmfusion.metrics.classification import reported
from mmfusion.metrics.ranking import Floats
from mmfusion.models import FusionModel
from mmfusion.spec import Columns
from mmfusion.tokens import Table
from mmfusion.training.reporter import Reporter

ALL, CLASS, ERROR, EXPLAINED = "all", "class", "decision", "explained class"
RIGHT, WRONG, UNLABELLED = "right", "wrong", "without a label"


@dataclass(frozen=True)
class Dependence:
    """What a column adds, by its value.

    Attributes:
        table: Its modality.
        column: Its name.
        values: Shape ``(n,)``: numbers in the column's unit, or codes; NaN where the cell is missing.
        categories: Names of the codes; empty for a number.
        unit: Of a number.
        added: Contributions, shape ``(n,)``.
    """

    table: str
    column: str
    values: Floats
    categories: tuple[str, ...]
    unit: str
    added: Floats


@dataclass(frozen=True)
class CohortMeans:
    """Contributions of cases drawn from the set.

    Attributes:
        n: Cases.
        total: Of the set.
        names: Modalities.
        columns: ``(table, column)``.
        classes: Class of each case, the true one or without labels the decided one; shape ``(n,)``.
        labelled: Whether these are true ones.
        explained: The class that contributions are of; empty where it differs between cases.
        modalities: By grouping (``all``, ``class``, ``decision``, subgroups), by group, means over the modalities.
        parts: Likewise over ``columns``.
        pairs: Pairs of modalities.
        interaction: Likewise over ``pairs``.
        dependence: One per column.
    """

    n: int
    total: int
    names: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    labelled: bool
    explained: str
    modalities: Mapping[str, Mapping[str, Means]]
    parts: Mapping[str, Mapping[str, Means]]
    pairs: tuple[tuple[str, str], ...]
    interaction: Mapping[str, Mapping[str, Means]]
    dependence: tuple[Dependence, ...]

    def to_dict(self) -> dict[str, Any]:
        """All means, for JSON; without the cases."""
        kinds = {"modalities": self.names, "columns": self.columns, "interaction": self.pairs}
        tables = {"modalities": self.modalities, "columns": self.parts, "interaction": self.interaction}
        return {
            "n": self.n,
            "total": self.total,
            "explained": self.explained,
            **{
                kind: {
                    "of": [list(name) if isinstance(name, tuple) else name for name in names],
                    "means": {
                        by: {group: _means(of_group) for group, of_group in groups.items()}
                        for by, groups in tables[kind].items()
                    },
                }
                for kind, names in kinds.items()
            },
        }


def cohort_of(maker: SheetMaker, reporter: Reporter) -> CohortMeans | str:
    """Means over cases of the set; or why there are none, as the end of a sentence."""
    model, cases, options = maker.model, maker.cases, maker.options
    if model is None:
        return maker.no_model
    if not options.n_cohort:
        return "none was asked for"
    sound = np.flatnonzero(np.isfinite(cases.probabilities).all(1)).tolist()
    most = regions.n_in_cohort(accounts.positions_of(model), options.n_cohort, apart=model.tokens_apart)
    rows = [sound[i] for i in drawn(len(sound), most, options.seed)]
    if not rows:
        return "the model's output is finite for no case"
    found: list[Account] = []
    cells: dict[str, list[list[float]]] = {name: [] for name in model.columns}
    explained = [maker.explained(cases.probabilities[row]) for row in rows]
    with reporter.bar("explaining the cohort", len(rows)) as bar:
        for row, k in zip(rows, explained, strict=True):
            case = accounts.inputs_of(maker.predictor, cases.dataset, [row])
            try:
                output = Output(maker.predictor.target, k)
                found.append(accounts.cohort_account(model, case, output, options))
            except ValueError as error:
                return " ".join(str(error).split())
            for name, of_table in cells.items():
                of_table.append(_cells(model.columns[name], case, name))
            bar.advance()
    groupings = _groupings(maker, cases, rows)
    if len(set(explained)) > 1:
        groupings[EXPLAINED] = [maker.names[k] for k in explained]
    pairs = tuple(itertools.combinations(model.names, 2))
    columns = tuple((name, column) for name, table in model.columns.items() for column in table.names)
    of_columns = _column_values(model, found)
    values = {
        "modalities": torch.tensor([[one.modalities[name] for name in model.names] for one in found]),
        "interaction": torch.tensor([[_pair(one, pair) for pair in pairs] for one in found]).view(len(found), -1),
    }
    by = {
        kind: {name: _sorted(mean_contributions(x, groups), maker.names) for name, groups in groupings.items()}
        for kind, x in {**values, "parts": of_columns}.items()
    }
    return CohortMeans(
        len(rows),
        len(cases.labels),
        model.names,
        columns,
        tuple(groupings[CLASS]),
        bool((cases.labels[rows] >= 0).any()),
        maker.names[explained[0]] if len(set(explained)) == 1 else "",
        by["modalities"],
        by["parts"],
        pairs,
        by["interaction"],
        _dependence(model, cells, of_columns),
    )


def _groupings(maker: SheetMaker, cases: CaseSet, rows: list[int]) -> dict[str, list[str]]:
    decided = maker.locked.labels(cases.probabilities[rows]).tolist()
    labels = cases.labels[rows].tolist()
    known = any(label >= 0 for label in labels)
    shown = [maker.names[a] if a >= 0 else UNLABELLED for a in labels] if known else [maker.names[d] for d in decided]
    groupings = {ALL: [ALL] * len(rows), CLASS: shown}
    if known:
        groupings[ERROR] = [
            UNLABELLED if a < 0 else RIGHT if a == d else WRONG for a, d in zip(labels, decided, strict=True)
        ]
    for name, groups in cases.groups.items():
        key = name if name not in groupings else f"{name} of the case"
        groupings[key] = [groups[row] for row in rows]
    return groupings


def _sorted(found: dict[str, Means], classes: Sequence[str]) -> dict[str, Means]:
    """Classes in their order, others by name, bands from the lowest."""
    return dict(
        sorted(found.items(), key=lambda one: (classes.index(one[0]) if one[0] in classes else 0, in_order(one[0])))
    )


def _pair(account: Account, pair: tuple[str, str]) -> float:
    found = account.interaction.get(pair)
    return account.interaction[pair[::-1]] if found is None else found


def _column_values(model: FusionModel, found: Sequence[Account]) -> Tensor:
    """Contributions of all columns, shape ``(n, p)``; 0 of a table that the case lacks."""
    rows = []
    for account in found:
        row = [
            account.parts[name].values if name in account.parts else torch.zeros(len(table), dtype=torch.float64)
            for name, table in model.columns.items()
        ]
        rows.append(torch.cat(row) if row else torch.zeros(0, dtype=torch.float64))
    return torch.stack(rows)


def _cells(columns: Columns, case: accounts.CaseInputs, name: str) -> list[float]:
    """Numbers in their unit and codes; NaN for what is missing."""
    table = case.inputs.get(name)
    if not isinstance(table, Table) or not bool(case.present[name][0]):
        return [float("nan")] * len(columns)
    numbers = [number_of(columns, j, value) for j, value in enumerate(table.numerical[0].tolist())]
    return numbers + [float(code) if code >= 0 else float("nan") for code in table.categorical[0].tolist()]


def _dependence(model: FusionModel, cells: Mapping[str, list[list[float]]], added: Tensor) -> tuple[Dependence, ...]:
    found, start = [], 0
    for name, columns in model.columns.items():
        values = np.array(cells[name], dtype=np.float64).reshape(-1, len(columns))
        for j, column in enumerate(columns.names):
            kinds: tuple[str, ...] = ()
            if j >= len(columns.numerical):
                kinds = tuple(
                    category_of(columns, j, c) for c in range(columns.cardinalities[j - len(columns.numerical)])
                )
            unit = columns.wordings[j].unit if columns.wordings else ""
            found.append(Dependence(name, column, values[:, j], kinds, unit, added[:, start + j].numpy()))
        start += len(columns)
    return tuple(found)


def _means(of_group: Means) -> dict[str, Any]:
    return {
        "n": of_group.n,
        **{key: [reported(float(x)) for x in getattr(of_group, key)] for key in ("mean", "error", "absolute")},
    }
