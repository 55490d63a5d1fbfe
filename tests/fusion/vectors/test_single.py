import pytest
import torch

from mmfusion.fusion.vectors import Single


def test_one_of_the_embeddings() -> None:
    fusion, x = Single(["latents"], dim=4), torch.randn(2, 4)
    assert fusion({"latents": x, "t": torch.randn(2, 4)}) is x
    assert fusion.dim_out == 4


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"'single' reads one embedding, got \['a', 'b'\]: name it by of="):
        Single(["a", "b"], dim=4)
    with pytest.raises(ValueError, match="Single: dim expects int"):
        Single(["a"], dim=1.5)
