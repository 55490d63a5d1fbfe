"""Tokens of all modalities at one scale."""

import pytest
import torch

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.layers.token_norm import normalized
from mmfusion.tokens import Table, Tokens

WITH_IT = ("amf", "cfcml", "concat", "gmu", "late", "lmf", "max")


def test_tokens_have_mean_zero_and_variance_one() -> None:
    x = torch.randn(2, 3, 16, dtype=torch.float64) * torch.tensor([1e-2, 1.0, 1e3], dtype=torch.float64)[:, None] + 7
    found = normalized(Tokens(x, None)).x
    torch.testing.assert_close(found.mean(-1), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=1e-12)
    expected = x.var(-1, correction=0) / (x.var(-1, correction=0) + 1e-5)
    torch.testing.assert_close(found.var(-1, correction=0), expected)


def test_zero_token_stays_zero_with_finite_gradient() -> None:
    x = torch.zeros(1, 2, 8, requires_grad=True)
    mask = torch.tensor([[True, False]])
    tokens = normalized(Tokens(x, mask))
    assert tokens.mask is mask
    assert not tokens.x.any()
    tokens.x.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_IT)
def test_modalities_have_one_scale_and_absent_ones_are_zero(name: str) -> None:
    spec = make_spec(images=2)
    torch.manual_seed(0)
    model = mmf.create_model(name, spec, token_norm=True).eval()
    inputs = make_inputs(spec, 4)
    for tokens in model.tokenize(inputs):
        for one in tokens.values():
            torch.testing.assert_close(one.x.var(-1, correction=0), torch.ones(one.x.shape[:2]), rtol=0.1, atol=0)
    present = {"image1": torch.tensor([True, False, True, True]), "table0": torch.tensor([False, True, True, True])}
    before = model(inputs, present).logits
    other = dict(inputs)
    other["image1"] = inputs["image1"].clone()
    other["image1"][1] = 0.5
    table = inputs["table0"]
    assert isinstance(table, Table)
    other["table0"] = Table(table.numerical.clone(), table.categorical.clone())
    other["table0"].numerical[0] += 3
    assert torch.equal(model(other, present).logits, before)


@pytest.mark.slow
def test_default_leaves_tokens_unchanged() -> None:
    spec = make_spec()
    torch.manual_seed(0)
    plain = mmf.create_model("concat", spec).eval()
    torch.manual_seed(0)
    scaled = mmf.create_model("concat", spec, token_norm=True).eval()
    inputs = make_inputs(spec, 3)
    ([one], [other]) = (model.tokenize(inputs) for model in (plain, scaled))
    for name in spec.names:
        torch.testing.assert_close(normalized(one[name]).x, other[name].x)
        assert not torch.allclose(one[name].x, other[name].x)
