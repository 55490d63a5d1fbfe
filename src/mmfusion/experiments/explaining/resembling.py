"""Training cases that a case resembles, and the prototypes of the classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.cases import Cases
from mmfusion.data.frame import FrameDataset
from mmfusion.experiments.explaining import regions
from mmfusion.experiments.explaining.case_set import drawn
from mmfusion.experiments.explaining.planes import shades
from mmfusion.experiments.explaining.sheet import Neighbor
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor
from mmfusion.explain import Embedded, embedded, nearest_cases, prototype_similarities
from mmfusion.explain.resemblance import joined
from mmfusion.explain.undisturbed import undisturbed
from mmfusion.losses import LossBank
from mmfusion.losses.anchor_loss import AnchorLoss
from mmfusion.models import FusionModel, create_loss
from mmfusion.tokens import Inputs
from mmfusion.training import inference
from mmfusion.training.arithmetic import arithmetic

_THUMBNAIL = 96


@dataclass(frozen=True)
class Training:
    """Training cases with their embeddings.

    Attributes:
        dataset: Those that are compared with.
        embedded: Of these.
        labels: Their classes, shape ``(n,)`` int64.
        n: All cases of the training set.
    """

    dataset: FrameDataset
    embedded: Embedded
    labels: Tensor
    n: int


def training_of(predictor: Predictor, train: FrameDataset, seed: int) -> Training:
    """The training cases, or some of them, with their embeddings.

    Raises:
        ValueError: If the model gives no embeddings.
    """
    size = regions.positions([image.size for image in predictor.spec.images.values() for _ in range(image.bag)])
    some = train.subset(drawn(len(train), regions.n_embedded(size), seed))
    return Training(some, embeddings_of(predictor, some), some.labels(predictor.target), len(train))


def embeddings_of(predictor: Predictor, dataset: FrameDataset) -> Embedded:
    """Embeddings of all cases of a dataset, on the CPU, in float32.

    Raises:
        ValueError: If the model gives no embeddings.
    """
    device = predictor.device
    batches = inference.in_order(dataset, predictor.batch_size, workers=0, device=device)
    with torch.no_grad(), arithmetic(device):
        return joined([_on_cpu(_embedded(predictor, cases)) for cases in batches])


def neighbors(predictor: Predictor, training: Training, cases: Embedded, k: int) -> list[tuple[Neighbor, ...]]:
    """For each case the training cases with the most similar fused embeddings."""
    if not k:
        return [()] * len(cases.fused)
    found = nearest_cases(cases.fused, training.embedded.fused, k)
    names, ids = class_names(predictor.kind), training.dataset.ids
    image = next((name for name in predictor.seen if name in predictor.spec.images), None)
    return [
        tuple(
            Neighbor(ids[i], names[int(training.labels[i])], similarity, _thumbnail(training.dataset, image, i))
            for i, similarity in zip(rows, similarities, strict=True)
        )
        for rows, similarities in zip(found.rows.tolist(), found.similarity.tolist(), strict=True)
    ]


def prototypes(predictor: Predictor, training: Training, cases: Embedded) -> list[dict[str, dict[str, float]]]:
    """For each case, by modality and across them, its cosine with the prototype of each class."""
    names = class_names(predictor.kind)
    found = prototype_similarities(cases, training.embedded, training.labels, predictor.kind.n)
    return [
        {row: dict(zip(names, values[i].tolist(), strict=True)) for row, values in found.items()}
        for i in range(len(cases.fused))
    ]


def has_anchors(predictor: Predictor) -> bool:
    """Whether the model was trained with losses that draw embeddings to prototypes."""
    model = predictor.model
    if not isinstance(model, FusionModel) or model.blueprint is None:
        return False
    with torch.random.fork_rng(devices=[]):
        banks = [part for part in create_loss(model).modules() if isinstance(part, LossBank)]
    return any(isinstance(term, AnchorLoss) for bank in banks for term in bank.terms.values())


def _embedded(predictor: Predictor, cases: Cases) -> Embedded:
    """Of a fusion model; of another one those that it returns, side by side as the fused one."""
    inputs: Inputs = inference.move(cases.inputs, predictor.device)
    present = inference.move(inference.lacking(cases), predictor.device)
    if isinstance(predictor.model, FusionModel):
        return embedded(predictor.model, inputs, present)
    with undisturbed(predictor.model):
        output = predictor.model(inputs, present)
    if not output.embeddings:
        raise ValueError(f"{type(predictor.model).__name__} gives no embeddings: it returns logits alone")
    every = torch.ones(len(cases.position), dtype=torch.bool, device=predictor.device)
    has = {name: (present or {}).get(name, every) for name in output.embeddings}
    of_modalities = {
        name: torch.where(has[name].unsqueeze(1), x.detach(), 0.0) for name, x in output.embeddings.items()
    }
    return Embedded(of_modalities, has, torch.cat(list(of_modalities.values()), 1))


def _on_cpu(parts: Embedded) -> Embedded:
    return Embedded(
        {name: x.float().cpu() for name, x in parts.modalities.items()},
        {name: x.cpu() for name, x in parts.present.items()},
        parts.fused.float().cpu(),
    )


def _thumbnail(dataset: FrameDataset, image: str | None, i: int) -> NDArray[np.uint8] | None:
    """A case's image, small; of a volume its middle slice."""
    if image is None or not bool(dataset.present(image)[i]):
        return None
    rgb: NDArray[Any] = shades(np.asarray(dataset.pixels(image, slice(i, i + 1))[0]))  # of a bag the first
    if rgb.ndim == 4:
        rgb = rgb[:, :, rgb.shape[2] // 2]
    step = max(1, min(rgb.shape[:2]) // _THUMBNAIL)
    return np.ascontiguousarray(rgb[::step, ::step])
