"""One case alone in training: where its statistics are undefined the running ones are used, and stay as they are."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from timm.layers import BatchNormAct2d, EvoNorm2dB0
from torch import Tensor, nn

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.layers.batch_statistics import for_one_case

NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(4), (4,)),
    "2d": (lambda: nn.BatchNorm2d(4), (4, 1, 1)),
    "3d": (lambda: nn.BatchNorm3d(4), (4, 1, 1, 1)),
    "timm": (lambda: BatchNormAct2d(4), (4, 1, 1)),
    "evonorm": (lambda: EvoNorm2dB0(4), (4, 1, 1)),
    "no affine": (lambda: nn.BatchNorm2d(4, affine=False), (4, 1, 1)),
}


def same_state(module: nn.Module, before: dict[str, Tensor]) -> None:
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("kind", NORMS)
def test_single_value_per_channel_uses_running_statistics(kind: str) -> None:
    """As in evaluation mode, behind a layer that had seen the case already, and with dropout as in training."""
    make, shape = NORMS[kind]
    wide = nn.BatchNorm1d(shape[0])
    module = nn.Sequential(wide, nn.Flatten(), nn.Unflatten(1, shape), make()).train()
    for x in torch.randn(3, 6, shape[0], 1, dtype=torch.float32).unbind():
        module(x)
    one, before = torch.randn(1, shape[0], 1, requires_grad=True), copied(module)
    made = for_one_case(partial(module, one), module, one)
    same_state(module, before)
    assert all(part.training for part in module.modules())
    made.sum().backward()
    assert one.grad is not None
    assert bool(one.grad.isfinite().all())
    assert bool(one.grad.any())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())
    torch.testing.assert_close(module.eval()(one), made, rtol=0, atol=0)


def test_map_of_several_positions_uses_batch_statistics() -> None:
    """A map of several positions has statistics, and the running ones move."""
    norm = nn.BatchNorm2d(2).train()
    x = torch.randn(1, 2, 2, 2)
    made = for_one_case(partial(norm, x), norm, x)
    torch.testing.assert_close(made.mean((2, 3)), torch.zeros(1, 2), rtol=0, atol=1e-6)
    assert int(norm.num_batches_tracked) == 1


def test_dropout_stays_in_training_mode() -> None:
    module = nn.Sequential(nn.BatchNorm1d(64), nn.Dropout(0.5)).train()
    made = for_one_case(partial(module, torch.ones(1, 64)), module, 1)
    assert 0 < int((made == 0).sum()) < 64


@pytest.mark.parametrize("order", [(1, 5), (5, 1), (1, 1), (5, 1, 5)])
def test_several_passes_in_one_step_keep_their_gradients(order: tuple[int, ...]) -> None:
    """A later pass moves the statistics, and an earlier one keeps those that it had for its gradient."""
    norm, once = (nn.BatchNorm1d(3).train() for _ in range(2))
    batches = [torch.randn(n, 3, requires_grad=True) for n in order]
    total = torch.stack([for_one_case(partial(norm, x), norm, x).square().sum() for x in batches]).sum()
    total.backward()
    for x in batches:
        alone = x.detach().requires_grad_()
        (once.eval() if len(x) == 1 else once.train())(alone).square().sum().backward()
        torch.testing.assert_close(x.grad, alone.grad, rtol=0, atol=0)
    torch.testing.assert_close(norm.state_dict(), once.state_dict(), rtol=0, atol=0)


def test_other_errors_are_not_swallowed() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2)).train()
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        for_one_case(partial(module, torch.ones(1, 2, 1, 1)), module, 1)
    untracked = nn.BatchNorm1d(2, track_running_stats=False)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        for_one_case(partial(untracked, torch.ones(1, 2)), untracked, 1)
    assert module[0].training


@pytest.mark.parametrize("size", [(4, 4), (4, 4, 4)])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.slow
def test_single_image_in_batch_matches_evaluation(size: tuple[int, ...], checkpointing: bool) -> None:
    """The encoder's maps of that case are those of evaluation; statistics stay; the other cases are as without it."""
    spec = make_spec(images=2, size=size)
    model = mmf.create_model("concat", spec, dropout=0.0, shared_encoder=False)
    model.encoders.set_grad_checkpointing(checkpointing)
    inputs = make_inputs(spec, 4)
    model.train()(inputs)
    before = copied(model.encoders)
    one = torch.tensor([False, True, False, False])
    nobody = torch.zeros(4, dtype=torch.bool)
    output = model(inputs, {"image0": one, "image1": nobody})
    same_state(model.encoders, before)
    output.logits.sum().backward()
    grads = [p.grad for p in model.encoders.backbones[model.encoders.routes["image0"]].parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in grads)
    again = model(inputs, {"image0": one, "image1": nobody})
    assert torch.equal(again.logits, output.logits)
    without = model(inputs, {"image0": nobody, "image1": nobody})
    torch.testing.assert_close(output.logits[~one], without.logits[~one])
    torch.testing.assert_close(model.eval()(inputs, {"image0": one, "image1": nobody}).logits, output.logits)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_single_image_in_lower_precision_has_finite_gradients(dtype: torch.dtype) -> None:
    spec = make_spec(images=1, size=(4, 4))
    model, inputs = mmf.create_model("concat", spec, dropout=0.0).train(), make_inputs(spec, 1)
    before = copied(model.encoders)
    with torch.autocast("cpu", dtype):
        output = model(inputs)
    same_state(model.encoders, before)
    output.logits.float().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.slow
def test_one_image_then_two_have_finite_gradients() -> None:
    """timm's norms, at one position, with timm's own checkpointing."""
    spec = make_spec(images=1, channels=3, size=(32, 32))
    model = mmf.create_model("concat", spec, encoder="efficientnet_lite0", dropout=0.0).train()
    model.encoders.set_grad_checkpointing()
    before = copied(model.encoders)
    model(make_inputs(spec, 1)).logits.sum().backward()
    same_state(model.encoders, before)
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    model(make_inputs(spec, 2)).logits.sum().backward()
    assert any(not torch.equal(value, before[key]) for key, value in model.encoders.state_dict().items())
