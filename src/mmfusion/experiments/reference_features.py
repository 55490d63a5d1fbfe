"""Features that reference rows are fitted to: a table, a frozen encoder's embeddings, or both."""

from dataclasses import dataclass

import numpy as np
import torch

from mmfusion.data.cases import CaseDataset
from mmfusion.experiments.embeddings import Embeddings
from mmfusion.metrics.ranking import Floats
from mmfusion.spec import Columns
from mmfusion.tokens import Table
from mmfusion.training.whole_tables import whole_tables

TABLE, EMBEDDINGS = "table", "embeddings"
"""Kinds of inputs."""


@dataclass(frozen=True)
class Layout:
    """Columns of an array of features, in this order.

    Attributes:
        numbers: Columns of numbers; NaN is missing.
        cardinalities: Categories of each column of codes; NaN is missing.
        embedded: Columns of embeddings; NaN in all columns of an absent image.
        images: Columns of 1 for a present and 0 for an absent image.
    """

    numbers: int = 0
    cardinalities: tuple[int, ...] = ()
    embedded: int = 0
    images: int = 0

    @property
    def columns(self) -> dict[str, list[int]]:
        """Positions of each kind: ``numbers``, ``categories``, ``embeddings``, ``images``."""
        sizes = (self.numbers, len(self.cardinalities), self.embedded, self.images)
        ends = np.cumsum(sizes).tolist()
        kinds = ("numbers", "categories", "embeddings", "images")
        return {kind: list(range(end - size, end)) for kind, size, end in zip(kinds, sizes, ends)}


def features(table: Table) -> Floats:
    """A table as one array, numbers then codes, shape ``(n, n_num + n_cat)``; NaN is missing in both."""
    codes = table.categorical.double()
    codes = torch.where(codes < 0, torch.nan, codes)
    return torch.cat([table.numerical.double(), codes], 1).numpy()


def table_of(dataset: CaseDataset) -> tuple[Columns, Table]:
    """The only table of a dataset, of all its cases; all cells of a case that lacks it are missing.

    Raises:
        ValueError: If it has none, or several.
    """
    tables = dataset.spec.tables
    if len(tables) != 1:
        raise ValueError(f"the reference rows need a single table, the dataset has {sorted(tables)}")
    [(name, columns)] = tables.items()
    table, row = whole_tables(dataset)[name]
    present = row.unsqueeze(1)
    numerical = torch.where(present, table.numerical, torch.nan)
    return columns, Table(numerical, torch.where(present, table.categorical, -1))


def combined(table: tuple[Columns, Table] | None = None, embeddings: Embeddings | None = None) -> tuple[Layout, Floats]:
    """Features of the given inputs.

    Args:
        table: From :func:`table_of`; None: without a table.
        embeddings: Of the same cases; None: without images.

    Returns:
        The layout, and the array ``(n, columns)``.
    """
    numbers, cardinalities, blocks = 0, tuple[int, ...](), list[Floats]()
    if table is not None:
        columns, rows = table
        numbers, cardinalities = len(columns.numerical), tuple(columns.cardinalities)
        blocks.append(features(rows))
    if embeddings is None:
        return Layout(numbers, cardinalities), np.concatenate(blocks, 1)
    blocks += [embeddings.values, embeddings.present.astype(np.float64)]
    layout = Layout(numbers, cardinalities, embeddings.values.shape[1], embeddings.present.shape[1])
    return layout, np.concatenate(blocks, 1)
