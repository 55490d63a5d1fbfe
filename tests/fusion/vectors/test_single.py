import pytest
import torch

from mmfusion.fusion.vectors import Single


def test_single_returns_named_embedding() -> None:
    fusion, x = Single(["latents"], dim=4), torch.randn(2, 4)
    assert fusion({"latents": x, "t": torch.randn(2, 4)}) is x
    assert fusion.dim_out == 4


def test_invalid_options_raise() -> None:
    with pytest.raises(ValueError, match=r"'single' reads one embedding, got \['a', 'b'\]: name it by of="):
        Single(["a", "b"], dim=4)
    with pytest.raises(ValueError, match="Single: dim expects int"):
        Single(["a"], dim=1.5)
