"""Every registered loss, with each option that changes its formula: defined on every batch, exact in lower precision,
blind to what is missing, indifferent to order."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.loss_choices import CHOICES, LABELS, N_CLASSES, OF_LENGTHS, OF_LOGITS, batch, create, every_choice, over
from helpers.marks import EXHAUSTIVE, every_compiler
from mmfusion import registry
from mmfusion.losses import LossBank
from mmfusion.tokens import LossInputs

every_loss = over(CHOICES[: len(registry.losses.list())])
every_own_choice = over([(name, options) for name, options in CHOICES if name != "metric"])
# Roots of distances that are 0 but for rounding, and squares of numbers that float32 does not hold.
UNBOUNDED = ("tiny", "huge", "each_its_scale")


def cast(inputs: LossInputs, dtype: torch.dtype) -> LossInputs:
    """Other numbers; the leaves of a new graph."""

    def to(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x for name, x in tensors.items()
        }

    return LossInputs(
        to(inputs.outputs),
        to(inputs.embeddings),
        inputs.targets,
        inputs.present,
        {k: to({k: v})[k].detach() for k, v in inputs.aux.items()},
    )


def gradients(value: Tensor, inputs: LossInputs) -> dict[str, Tensor]:
    """By the name of an embedding or an output; zero where the loss does not look."""
    leaves = dict(inputs.embeddings) | dict(inputs.outputs)
    grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, grads))


@pytest.mark.slow
@every_choice
def test_finite_on_every_degenerate_batch(name: str, options: dict[str, Any]) -> None:
    """Finite in value and gradient, in float64 and float32, and equal in both; 0 where it is not defined."""
    of_directions = options.get("normalize", True)
    for kind in LABELS:
        if not of_directions and kind in UNBOUNDED:
            continue
        inputs = cast(batch(kind), torch.float64)
        exact = create(name, options)(inputs)
        assert (exact.shape, exact.dtype, exact.requires_grad) == ((), torch.float64, True), kind
        assert bool(exact.isfinite()), kind
        exact_grads = gradients(exact, inputs)
        single = cast(batch(kind), torch.float32)
        value = create(name, options, torch.float32)(single)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact.item(), rel=2e-5, abs=2e-6), kind
        for key, grad in gradients(value, single).items():
            assert bool(exact_grads[key].isfinite().all()), (kind, key)
            assert bool(grad.isfinite().all()), (kind, key)
            # A gradient goes with one over the length: compared in those units, so that all scales count alike.
            size = (inputs.embeddings | inputs.outputs)[key].detach().abs().amax(-1, keepdim=True)
            torch.testing.assert_close(
                grad.double() * size, exact_grads[key] * size, rtol=1e-3, atol=1e-4, msg=lambda m, k=kind: f"{k}: {m}"
            )
        if kind == ("no_label" if name in OF_LOGITS else "nothing_present"):
            assert exact.item() == pytest.approx(0, abs=1e-7)  # the published eps is not nothing
            assert not any(bool(grad.any()) for grad in exact_grads.values())


@every_own_choice
def test_empty_batch_is_zero(name: str, options: dict[str, Any]) -> None:
    inputs = cast(LossInputs(*({key: x[:0] for key, x in part.items()} for part in batch("whole"))), torch.float64)
    value = create(name, options)(inputs)
    assert value.item() == pytest.approx(0, abs=1e-7)
    assert all(len(grad) == 0 for grad in gradients(value, inputs).values())


@every_choice
def test_half_precision_is_computed_in_float32(name: str, options: dict[str, Any]) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        for kind in ("whole", "some_missing"):
            half = cast(batch(kind), dtype)
            value = create(name, options, torch.float32)(half)
            assert value.dtype == torch.float32
            single = cast(half, torch.float32)
            expected = create(name, options, torch.float32)(single)
            assert torch.equal(value, expected), (dtype, kind)
            expected_grads = gradients(expected, single)
            for key, grad in gradients(value, half).items():
                assert grad.dtype == dtype
                torch.testing.assert_close(grad, expected_grads[key].to(dtype))
            with torch.autocast("cpu", dtype=dtype):
                assert torch.equal(create(name, options, torch.float32)(single), expected), (dtype, kind)


@over([(name, options) for name, options in CHOICES if options.get("normalize", True)])
def test_zero_vector_gets_no_gradient(name: str, options: dict[str, Any]) -> None:
    inputs = cast(batch("a_zero_vector"), torch.float64)
    assert not bool(gradients(create(name, options)(inputs), inputs)["a"][1].any())


@every_own_choice
def test_nan_input_gives_nan(name: str, options: dict[str, Any]) -> None:
    inputs = batch("whole")
    for x in (*inputs.embeddings.values(), *inputs.outputs.values()):
        x[0, 0] = torch.nan
    inputs.aux["columns.masked"][:] = True
    assert bool(create(name, options)(inputs).isnan())


@every_choice
@given(content=st.sampled_from([float("nan"), float("inf"), -1e30, 0.0]), seed=st.integers(0, 1000))
@settings(max_examples=6)
def test_missing_inputs_have_no_effect(name: str, options: dict[str, Any], content: float, seed: int) -> None:
    """Bit for bit, in value and gradient: an absent embedding, and the logits of a case without a label."""
    inputs = cast(batch("some_missing", seed), torch.float64)
    inputs.targets["label"][1] = -1
    spoilt = {
        key: torch.where(inputs.present[key].unsqueeze(-1), x.detach(), content).requires_grad_()
        for key, x in inputs.embeddings.items()
    }
    labelled = (inputs.targets["label"] >= 0).unsqueeze(-1)
    outputs = {key: torch.where(labelled, x.detach(), content).requires_grad_() for key, x in inputs.outputs.items()}
    other = inputs._replace(embeddings=spoilt, outputs=outputs)
    one, two = create(name, options)(inputs), create(name, options)(other)
    assert torch.equal(one, two)
    expected = gradients(one, inputs)
    for key, grad in gradients(two, other).items():
        assert torch.equal(grad, expected[key])
        assert not bool(grad[~inputs.present[key] if key in inputs.present else ~labelled.squeeze(-1)].any())


@pytest.mark.slow
@every_choice
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["whole", "some_missing", "unlabelled"]))
@settings(max_examples=6)
def test_invariant_to_case_order_and_scale(name: str, options: dict[str, Any], seed: int, kind: str) -> None:
    g = torch.Generator().manual_seed(seed)
    inputs = batch(kind, seed)
    n = len(inputs.targets["label"])
    expected = create(name, options)(inputs).item()

    def is_the_same(other: LossInputs) -> None:
        assert create(name, options)(other).item() == pytest.approx(expected, rel=1e-9, abs=1e-11)

    order = torch.randperm(n, generator=g)
    is_the_same(LossInputs(*({key: x[order] for key, x in part.items()} for part in inputs)))
    is_the_same(inputs._replace(embeddings=dict(reversed(inputs.embeddings.items()))))
    is_the_same(inputs._replace(outputs={key: x + 50 * torch.randn(n, 1) for key, x in inputs.outputs.items()}))
    if name not in OF_LENGTHS and options.get("normalize", True):
        scales = {key: 10 ** (6 * torch.rand(n, 1, generator=g).double() - 3) for key in inputs.embeddings}
        is_the_same(inputs._replace(embeddings={key: x * scales[key] for key, x in inputs.embeddings.items()}))


@every_choice
def test_invariant_to_class_permutation(name: str, options: dict[str, Any]) -> None:
    inputs, order = batch("whole"), torch.tensor([2, 0, 1])
    before = order.argsort()  # class k becomes order[k]: its labels, its logit, its weight and its count
    outputs = {"label": inputs.outputs["label"][:, before]}
    other = inputs._replace(outputs=outputs, targets={"label": order[inputs.targets["label"]]})
    loss = create(name, options)
    renamed = {key: [options[key][k] for k in before] for key in ("class_weights", "counts") if key in options}
    if "counts" in loss.needs and not renamed:
        renamed = {"counts": [(5, 3, 2)[k] for k in before]}
    assert create(name, options, **renamed)(other).item() == pytest.approx(loss(inputs).item(), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(name, options, marks=EXHAUSTIVE if options else ()) for name, options in CHOICES if name != "metric"],
)
@every_compiler
def test_compiles_without_graph_break(name: str, backend: str, options: dict[str, Any]) -> None:
    inputs = cast(batch("some_missing"), torch.float32)
    loss = create(name, options, torch.float32)
    torch._dynamo.reset()
    value, expected = torch.compile(loss, fullgraph=True, backend=backend)(inputs), loss(inputs)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    expected_grads = gradients(expected, inputs)
    for key, grad in gradients(value, inputs).items():
        torch.testing.assert_close(grad, expected_grads[key], rtol=1e-4, atol=1e-5)


@every_own_choice
def test_runs_on_meta_device(name: str, options: dict[str, Any]) -> None:
    inputs = LossInputs(*({key: x.to("meta") for key, x in part.items()} for part in batch("some_missing")))
    inputs = cast(inputs, torch.float32)
    value = create(name, options, torch.float32).to("meta")(inputs)
    assert value.shape == ()
    assert all(grad.is_meta for grad in gradients(value, inputs).values())


@every_choice
def test_state_dict_round_trip(name: str, options: dict[str, Any]) -> None:
    inputs, loss, other = batch("whole"), create(name, options), create(name, options)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(0.1)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other(inputs), loss(inputs))


@every_loss
def test_bank_sets_n_classes(name: str, options: dict[str, Any]) -> None:
    known = registry.losses.options(name)
    bank = LossBank(
        N_CLASSES, {"it": (0.5, create(name, options, **({"n_classes": None} if "n_classes" in known else {})))}
    )
    inputs = batch("whole")
    assert bank(inputs)["it"].item() == pytest.approx(0.5 * create(name, options)(inputs).item(), rel=1e-12)


@every_loss
def test_invalid_options_and_inputs_raise(name: str, options: dict[str, Any]) -> None:
    inputs = batch("whole")
    with pytest.raises(ValueError, match="has no option 'colour'"):
        create(name, options, colour="red")
    looks_at_embeddings = bool(gradients(create(name, options)(other := cast(inputs, torch.float64)), other)["a"].any())
    if looks_at_embeddings:
        shorter = dict(inputs.embeddings) | {"b": inputs.embeddings["b"][1:]}
        with pytest.raises(ValueError, match=r"(?s)7.*6|6.*7"):
            create(name, options)(inputs._replace(embeddings=shorter))
    try:
        create(name, options)(inputs._replace(targets={}))
    except ValueError:  # it looks at the labels
        with pytest.raises(ValueError, match=r"int64.*torch.float"):
            create(name, options)(inputs._replace(targets={"label": inputs.targets["label"].double()}))
