"""A model's probabilities for every case of a dataset."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader

from mmfusion.data.cases import CaseDataset, Cases, StoredCases, collate
from mmfusion.data.frame import as_floats
from mmfusion.tokens import Bag, Maps, Table
from mmfusion.training import processes
from mmfusion.utils.process_group import gather_rows


def loader(dataset: CaseDataset, batches: Any, *, workers: int, device: torch.device) -> DataLoader[Cases]:
    """A DataLoader that reads a batch at a time; images may come as they are stored, see :func:`move`.

    Args:
        dataset: The cases.
        batches: A batch sampler.
        workers: Processes that read.
        device: Where the batches go; memory is pinned for CUDA.
    """
    return DataLoader(
        dataset.stored() if isinstance(dataset, StoredCases) else dataset,  # type: ignore[arg-type]  # a protocol of ours, map-style as torch wants it
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        # Of its own: how often it would draw from torch's depends on whether its workers persist.
        generator=torch.Generator(),
    )


def in_order(
    dataset: CaseDataset, batch_size: int, *, workers: int, device: torch.device, cases: range | None = None
) -> DataLoader[Cases]:
    """A :func:`loader` that goes once through the cases, in their order; or through the given ones."""
    order = BatchSampler(range(len(dataset)) if cases is None else cases, batch_size, drop_last=False)
    return loader(dataset, order, workers=workers, device=device)


def lacking(cases: Cases) -> dict[str, Tensor] | None:
    """``present`` of the modalities that some case lacks, for the model; None where nothing is missing.

    To be asked before the batch goes to the device: the answer would have to be read back from it.
    """
    return {name: mask for name, mask in cases.present.items() if not bool(mask.all())} or None


def move(value: Any, device: torch.device) -> Any:
    """Tensors, tables, cases and dictionaries of them on a device, without waiting for the copy.

    Images in bytes or half precision, as a dataset stores them, become floats there.
    """
    if isinstance(value, Tensor):
        moved = value.to(device, non_blocking=True)
        return as_floats(moved) if value.dtype in (torch.uint8, torch.float16) else moved
    if isinstance(value, Bag):
        return Bag(move(value.x, device), move(value.mask, device))
    if isinstance(value, Table):
        return Table(*(move(part, device) for part in value))
    if isinstance(value, Maps):
        return Maps(tuple(move(stage, device) for stage in value.stages))
    if isinstance(value, Cases):
        return Cases(*(move(part, device) for part in value))
    if isinstance(value, Mapping):
        return {name: move(part, device) for name, part in value.items()}
    return value


def predict(model: nn.Module, batches: Iterable[Cases], target: str, device: torch.device) -> NDArray[np.float64]:
    """Class probabilities of every case.

    Args:
        model: A fusion model; evaluated in evaluation mode and left in the mode it was in.
        batches: At least one, in the order of the rows that come back; from :func:`in_order`, say.
        target: Name of the target.
        device: Where the model is.

    Returns:
        Shape ``(n, k)`` in the dataset's order; the softmax is taken in float64.
    """
    training = model.training
    model.eval()
    logits: list[Tensor] = []
    try:
        with torch.inference_mode():
            for cases in batches:
                present = lacking(cases)
                output = model(move(cases.inputs, device), move(present, device))
                # It stays on the device until the part is through, so that no step waits for one.
                logits.append(output.outputs[target])
    finally:
        model.train(training)
    return torch.softmax(torch.cat(logits).to("cpu", torch.float64), dim=1).numpy()


class Evaluation:
    """A model's probabilities for a dataset, computed at each call.

    Of several processes that train together each predicts its share of the cases, and all get all probabilities: every
    process must ask.

    Args:
        dataset: The cases.
        target: Name of the target.
        batch_size: Cases at a time.
        workers: Processes that read.
        device: Where the models are.
    """

    def __init__(
        self, dataset: CaseDataset, target: str, batch_size: int, *, workers: int, device: torch.device
    ) -> None:
        self._target = target
        self._device = device
        self._n_classes = dataset.spec.targets[target].n_out
        self._cases = processes.share(len(dataset))
        self._batches = in_order(dataset, batch_size, workers=workers, device=device, cases=self._cases)

    def probabilities(self, model: nn.Module) -> NDArray[np.float64]:
        """:func:`predict` for the whole dataset, shape ``(n, k)``, in its order."""
        probabilities = np.zeros((0, self._n_classes))
        if len(self._cases):
            probabilities = predict(model, self._batches, self._target, self._device)
        together: NDArray[np.float64] = gather_rows(torch.from_numpy(probabilities)).numpy()
        return together
