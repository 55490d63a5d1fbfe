import pytest
import torch

from mmfusion.tokens import FusionOutput, Tokens


def test_filled_replaces_masked_tokens() -> None:
    x = torch.tensor([[[1.0, 2.0], [float("nan"), float("inf")]]])
    tokens = Tokens(x, torch.tensor([[True, False]]))
    assert torch.equal(tokens.filled(), torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]))


def test_filled_without_mask_returns_tensor() -> None:
    x = torch.ones(1, 2, 3)
    assert Tokens(x).filled() is x


def test_masked_content_gets_no_gradient() -> None:
    x = torch.tensor([[[1.0], [float("nan")]]], requires_grad=True)
    Tokens(x, torch.tensor([[True, False]])).filled().square().sum().backward()
    assert torch.equal(x.grad, torch.tensor([[[2.0], [0.0]]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_filled_keeps_dtype(dtype: torch.dtype) -> None:
    assert Tokens(torch.ones(1, 1, 1, dtype=dtype), torch.zeros(1, 1, dtype=torch.bool)).filled().dtype == dtype


def test_logits_of_single_target() -> None:
    one = torch.ones(2, 3)
    assert FusionOutput({"label": one}, {}, {}).logits is one


def test_logits_of_several_targets_raises() -> None:
    one = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"one target, this one has \['a', 'b'\].*outputs\[name\]"):
        _ = FusionOutput({"b": one, "a": one}, {}, {}).logits
