"""Augmentation on the GPU against the same on the CPU: the random numbers are the CPU's on both."""

import pytest
import torch

from mmfusion.data import Augment, Cases, TableAugment
from mmfusion.tokens import Table
from mmfusion.training import inference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
# Noise is left out: it is drawn by the device.
EVERYTHING = Augment(
    flips=True, rotate=20, scale=0.1, translate=0.1, shear=5, crop=0.3, aspect=0.2, brightness=0.2, contrast=0.2,
    saturation=0.2, hue=0.1, gamma=0.3, bias=0.3, gain=0.1, shift=0.1, erase=0.5,
    table=TableAugment(corrupt=0.2, mask=0.2, cutmix=0.2),
)  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 24, 24)])
def test_augmentation_on_gpu_matches_cpu(shape: tuple[int, ...]) -> None:
    table = Table(torch.rand(6, 3), torch.randint(0, 4, (6, 2)))
    present = {"image": torch.ones(6, dtype=torch.bool), "meta": torch.arange(6) != 2}
    cases = Cases({"image": torch.rand(6, *shape), "meta": table}, present, {}, torch.arange(6))
    augment = EVERYTHING.fit({"meta": table})
    outs = [
        augment(inference.move(cases, torch.device(device)), torch.Generator().manual_seed(3))
        for device in ("cpu", "cuda")
    ]
    assert outs[1].inputs["image"].is_cuda
    host, device = (inference.move(out, torch.device("cpu")) for out in outs)
    torch.testing.assert_close(host.inputs["image"], device.inputs["image"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(host.inputs["meta"].numerical, device.inputs["meta"].numerical, equal_nan=True)
    assert torch.equal(host.inputs["meta"].categorical, device.inputs["meta"].categorical)
    assert torch.equal(host.aux["columns.masked"], device.aux["columns.masked"])
