import pytest
import torch

from mmfusion.utils.precision import as_bits, from_bits, full_precision, without_autocast


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_full_precision_dtype(given: torch.dtype, expected: torch.dtype) -> None:
    assert full_precision(torch.ones(2, dtype=given)).dtype == expected


def test_without_autocast_computes_in_float32() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with without_autocast(x):
            assert (x @ x).dtype == torch.float32
        with without_autocast(x.to("meta")):
            assert (x.to("meta") @ x.to("meta")).dtype == torch.float32


def test_bits_survive_module_cast() -> None:
    """Any float32, NaN and infinities included, whatever dtype its module is cast to."""
    x = torch.tensor([0.1, -1e-30, 3e38, float("inf"), float("nan")])
    module = torch.nn.Module()
    module.register_buffer("x", as_bits(x))
    found = from_bits(module.to(torch.bfloat16).double().x)
    assert found.dtype == torch.float32
    assert torch.equal(found.nan_to_num(7.0), x.nan_to_num(7.0))
