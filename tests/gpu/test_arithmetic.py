"""What float32 and TF32 are on the GPU itself, by the error against float64."""

import pytest
import torch
import torch.nn.functional as F

from mmfusion.training.arithmetic import arithmetic

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
GPU = torch.device("cuda")


@pytest.mark.parametrize("operation", ["convolution", "product"])
def test_float32_and_tf32_errors_against_float64(operation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 64, 24, 24, generator=generator, dtype=torch.float64).to(GPU)
    weight = torch.randn(64, 64, 3, 3, generator=generator, dtype=torch.float64).to(GPU)

    def computed(dtype: torch.dtype) -> torch.Tensor:
        if operation == "product":
            return (x.flatten(0, 1).flatten(1).to(dtype).mT @ x.flatten(0, 1).flatten(1).to(dtype)).double()
        return F.conv2d(x.to(dtype), weight.to(dtype)).double()

    exact = computed(torch.float64)
    errors = []
    for tf32 in (False, True):
        with arithmetic(GPU, tf32=tf32):
            errors.append(((computed(torch.float32) - exact).norm() / exact.norm()).item())
    assert errors[0] < 1e-5
    if torch.version.hip is None and torch.cuda.get_device_capability()[0] >= 8:
        assert 5e-5 < errors[1] < 5e-3
