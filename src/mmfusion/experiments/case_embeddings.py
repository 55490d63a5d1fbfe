"""Embeddings of new cases: what a trained model's encoders make of each modality."""

from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from mmfusion.data.cases import CaseDataset
from mmfusion.experiments.predictor import Predictor
from mmfusion.training import inference
from mmfusion.training.arithmetic import arithmetic


def embed(
    predictor: Predictor, frame: pd.DataFrame, image_root: Path | None, missing_images: Literal["error", "absent"]
) -> pd.DataFrame:
    """The embeddings that the model fuses, one row per case, computed in float32.

    Args:
        predictor: Of the run.
        frame: One row per case.
        image_root: The folder that the image names are relative to; None: the working folder.
        missing_images: What a missing image file or image column means.

    Returns:
        With the frame's index and columns ``(modality, number)``; NaN where a case lacks the modality.

    Raises:
        ValueError: If the model gives no embeddings, or as for predictions.
        FileNotFoundError: As for predictions.
    """
    dataset = predictor.read(frame, image_root, missing_images)
    return of_dataset(predictor, dataset).set_axis(frame.index)


def of_dataset(predictor: Predictor, dataset: CaseDataset) -> pd.DataFrame:
    """As :func:`embed`, of cases that are read already; the index counts from 0.

    Raises:
        ValueError: If the model gives no embeddings.
    """
    device = predictor.device
    parts: dict[str, list[Tensor]] = {}
    with torch.inference_mode(), arithmetic(device):
        for cases in inference.in_order(dataset, predictor.batch_size, workers=0, device=device):
            present = inference.lacking(cases)
            output = predictor.model(inference.move(cases.inputs, device), inference.move(present, device))
            for name, values in output.embeddings.items():
                rows = cases.present.get(name, torch.ones(len(values), dtype=torch.bool))
                parts.setdefault(name, []).append(torch.where(rows[:, None], values.cpu(), torch.nan))
    if not parts:
        raise ValueError(f"{type(predictor.model).__name__} gives no embeddings: it returns logits alone")
    frames = {name: pd.DataFrame(torch.cat(rows).numpy()) for name, rows in parts.items()}
    return pd.concat(frames, axis=1)
