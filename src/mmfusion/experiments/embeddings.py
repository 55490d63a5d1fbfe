"""Embeddings of a frozen encoder: the pooled maps of its last stage, one row per case."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmfusion.data.cases import CaseDataset
from mmfusion.metrics.ranking import Floats
from mmfusion.tokens import Maps
from mmfusion.training import inference
from mmfusion.training.arithmetic import arithmetic
from mmfusion.training.model_protocols import Encoding
from mmfusion.training.reporter import Bar


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a dataset's cases.

    Attributes:
        values: Shape ``(n, d)``, the images' embeddings one after another; NaN where a case lacks the image.
        present: Shape ``(n, m)``, which of the images a case has.
    """

    values: Floats
    present: NDArray[np.bool_]


def embed(
    model: nn.Module, dataset: CaseDataset, *, batch_size: int, device: torch.device, bar: Bar | None = None
) -> Embeddings:
    """Mean over the positions of the last stage's maps, of every image that the model looks at.

    Args:
        model: A :class:`~mmfusion.models.FusionModel` on ``device``; only its encoders are used, in evaluation mode.
        dataset: The cases, with images or with their :class:`~mmfusion.tokens.Maps`.
        batch_size: Cases at a time.
        device: Where the model is.
        bar: Receives the progress.

    Returns:
        One row per case, in the order of the dataset. Images that a case lacks are not encoded.

    Raises:
        ValueError: If the model has no image encoder, or an embedding is not finite.
    """
    if not isinstance(model, Encoding) or not (names := list(model.encoders.images)):
        raise ValueError("embeddings need a model with an image encoder")
    pooled: dict[str, list[Tensor]] = {name: [] for name in names}
    present: dict[str, list[Tensor]] = {name: [] for name in names}
    training, done = model.training, 0
    model.eval()
    try:
        with torch.inference_mode(), arithmetic(device):
            for cases in inference.in_order(dataset, batch_size, workers=0, device=device):
                contents = {name: cases.inputs[name] for name in names}
                maps = {name: content for name, content in contents.items() if isinstance(content, Maps)}
                if images := {name: content for name, content in contents.items() if name not in maps}:
                    lacking = {name: row for name, row in (inference.lacking(cases) or {}).items() if name in images}
                    maps |= model.encode(inference.move(images, device), inference.move(lacking, device))
                for name in names:
                    pooled[name].append(maps[name].stages[-1].flatten(2).mean(2).double().cpu())
                    present[name].append(cases.present[name])
                done += len(cases.position)
                if bar is not None:
                    bar.at(done, len(dataset))
    finally:
        model.train(training)
    rows = torch.stack([torch.cat(present[name]) for name in names], 1)
    blocks = [torch.where(rows[:, [i]], torch.cat(pooled[name]), torch.nan) for i, name in enumerate(names)]
    for i, (name, block) in enumerate(zip(names, blocks)):
        if n := int((~block[rows[:, i]].isfinite()).any(1).sum()):
            raise ValueError(f"the encoder's maps of {name!r} are not finite for {n} of {len(dataset)} cases")
    return Embeddings(torch.cat(blocks, 1).numpy(), rows.numpy())
