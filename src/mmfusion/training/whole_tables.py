"""All rows of a dataset's tables, without reading images where the dataset can do without."""

import torch
from torch import Tensor

from mmfusion.data.cases import CaseDataset, without_images
from mmfusion.tokens import Table
from mmfusion.training import inference

_BATCH = 1024


def whole_tables(dataset: CaseDataset) -> dict[str, tuple[Table, Tensor]]:
    """By table modality, all rows in the order of the cases, and which cases have it, shape ``(n,)`` bool."""
    names = list(dataset.spec.tables)
    if not names:
        return {}
    cases = without_images(dataset, dataset.spec.images)
    batches = list(inference.in_order(cases, _BATCH, workers=0, device=torch.device("cpu")))
    tables = {}
    for name in names:
        parts = [table for batch in batches if isinstance(table := batch.inputs[name], Table)]
        rows = Table(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        tables[name] = rows, torch.cat([batch.present[name] for batch in batches])
    return tables
