import pytest
import torch

from mmfusion.fusion.vectors import Concat


def test_concatenates_by_name() -> None:
    """By name: the order of the dict has no effect."""
    fusion = Concat(("x", "t"), dim=2)
    x, t = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    assert fusion({"t": t, "x": x, "other": t}).tolist() == [[1, 2, 3, 4]]
    assert fusion.dim_out == 4
    assert not list(fusion.parameters())


def test_absent_modality_is_zeros_whatever_its_content() -> None:
    fusion = Concat(("x", "t"), dim=2)
    x, t = torch.ones(2, 2), torch.full((2, 2), float("nan"), requires_grad=True)
    fused = fusion({"x": x, "t": t}, {"t": torch.zeros(2, dtype=torch.bool)})
    assert fused.tolist() == [[1, 1, 0, 0]] * 2
    fused.sum().backward()
    assert t.grad is not None
    assert not bool(t.grad.any())


def test_zero_embeddings_do_not_mean_absent() -> None:
    """A present modality counts as it is."""
    x = torch.zeros(2, 2, requires_grad=True)
    Concat(("x",), dim=2)({"x": x}, {"x": torch.ones(2, dtype=torch.bool)}).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.all())


def test_missing_modality_raises() -> None:
    with pytest.raises(KeyError, match="t"):
        Concat(("x", "t"), dim=4)({"x": torch.randn(2, 4)})


def test_negative_dim_raises() -> None:
    with pytest.raises(ValueError, match="Concat: dim expects int from 1 to 16384, got -1"):
        Concat(("x",), dim=-1)
