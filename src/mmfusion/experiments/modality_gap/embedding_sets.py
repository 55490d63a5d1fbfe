"""Embeddings of all cases of a dataset: one set per modality, and the fused one."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmfusion.data.cases import CaseDataset, Cases
from mmfusion.explain.resemblance import embedded
from mmfusion.explain.undisturbed import undisturbed
from mmfusion.metrics.ranking import Floats
from mmfusion.models import FusionModel
from mmfusion.training import inference
from mmfusion.training.arithmetic import arithmetic


class EmbeddingSets(NamedTuple):
    """Embeddings of n cases.

    Attributes:
        modalities: By modality, shape ``(n, d)``.
        present: By modality, which cases have it, ``(n,)`` bool.
        fused: What the head reads, shape ``(n, d')``; None for a model that fuses outputs, or is no
            :class:`~mmfusion.models.FusionModel`.
    """

    modalities: dict[str, Floats]
    present: dict[str, NDArray[np.bool_]]
    fused: Floats | None


def fused_name(sets: EmbeddingSets) -> str:
    """What the fused embeddings are called: ``"fused"``, or if a modality is called so, something longer."""
    name = "fused"
    while name in sets.modalities:
        name += " embedding"
    return name


def all_sets(sets: EmbeddingSets) -> dict[str, Floats]:
    """The modalities' embeddings, and the fused ones where there are any, by name."""
    return sets.modalities | ({} if sets.fused is None else {fused_name(sets): sets.fused})


def sets_of(model: nn.Module, dataset: CaseDataset, batch_size: int, device: torch.device) -> EmbeddingSets:
    """Embed all cases, in their order, in float32 and evaluation mode.

    Raises:
        ValueError: If the model gives no embeddings.
    """
    modalities: dict[str, list[Tensor]] = {}
    present: dict[str, list[Tensor]] = {}
    fused: list[Tensor] = []
    with torch.no_grad(), arithmetic(device):
        for cases in inference.in_order(dataset, batch_size, workers=0, device=device):
            of_modalities, of_all = _of_batch(model, cases, device)
            for name, x in of_modalities.items():
                modalities.setdefault(name, []).append(x.cpu())
                everyone = torch.ones(len(x), dtype=torch.bool)
                present.setdefault(name, []).append(cases.present.get(name, everyone))
            fused += [] if of_all is None else [of_all.cpu()]
    if not modalities:
        raise ValueError(f"{type(model).__name__} gives no embeddings: it returns logits alone")
    return EmbeddingSets(
        {name: torch.cat(parts).double().numpy() for name, parts in modalities.items()},
        {name: torch.cat(parts).numpy() for name, parts in present.items()},
        torch.cat(fused).double().numpy() if fused else None,
    )


def _of_batch(model: nn.Module, cases: Cases, device: torch.device) -> tuple[dict[str, Tensor], Tensor | None]:
    inputs = inference.move(cases.inputs, device)
    present = inference.move(inference.lacking(cases), device)
    if isinstance(model, FusionModel):
        found = embedded(model, inputs, present)
        return found.modalities, None if model.vectors is None else found.fused
    with undisturbed(model):
        return dict(model(inputs, present).embeddings), None
