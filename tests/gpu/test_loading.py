"""Stored pixels become the same floats on the GPU as on the CPU."""

import pytest
import torch

from mmfusion.data.frame import as_floats
from mmfusion.training import inference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def test_stored_pixels_on_gpu_equal_cpu() -> None:
    device = torch.device("cuda")
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    for stored in (torch.arange(256, dtype=torch.uint8), halves[halves.isfinite()]):
        found = inference.move({"image": stored}, device)["image"]
        assert found.device.type == "cuda"
        assert found.dtype == torch.float32
        assert torch.equal(found.cpu(), as_floats(stored))
