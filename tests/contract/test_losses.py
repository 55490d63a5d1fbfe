"""What every registered loss keeps on every batch: defined, exact, blind to what is missing, indifferent to order."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.degenerate_batches import degenerate_embeddings
from mmfusion import registry
from mmfusion.losses import LossBank
from mmfusion.spec import Columns
from mmfusion.tokens import LossInputs

NAMES = registry.losses.list()
K, D = 3, 4
COLUMNS = Columns(numerical=("age", "size"), categorical=(("sex", 2), ("place", 4)))
# What a loss has to be told; everything else stands at its default.
PARTS = {"parts": {"a": 1, "b": 2, "c": 1}}
NEEDED: dict[str, dict[str, Any]] = {"metric": {"loss": "SupConLoss"}, "density": PARTS, "leakage": PARTS}
FILLED = {"dim": D, "columns": COLUMNS, "counts": (5, 3, 2)}
ANOTHER_LIBRARYS = ("metric",)
# These compare the sizes of features; all others look at directions.
OF_SIZES = ("density", "leakage")

every_loss = pytest.mark.parametrize("name", NAMES)
OWN = [name for name in NAMES if name not in ANOTHER_LIBRARYS]
every_own_loss = pytest.mark.parametrize("name", OWN)

# modalities a, b, c; name: labels
BATCHES: dict[str, list[int]] = {
    "everything": [0, 1, 2, 1, 0, 2, 0],
    "one_case": [1],
    "one_class": [2, 2, 2],
    "absent_class": [0, 2, 2, 0],
    "some_missing": [0, 1, 2, 1, 0, 2],
    "modality_missing": [0, 1, 2, 1],
    "nothing_present": [0, 1, 2],
    "duplicates": [0, 1, 0, 1],
    "identical": [0, 1, 2, 0],
    "a_zero_vector": [0, 1, 2, 0],
    "a_zero_modality": [0, 1, 2, 0],
    "all_zero": [0, 1, 2, 0],
    "tiny": [0, 1, 2, 0],
    "huge": [0, 1, 2, 0],
    "each_its_scale": [0, 1, 2, 0, 1],
}


def build(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    known = registry.losses.options(name)
    options = NEEDED.get(name, {}) | {key: value for key, value in FILLED.items() if key in known}
    if "n_classes" in known:
        options["n_classes"] = K
    term: nn.Module = registry.losses.create(name, **options)
    return term.to(dtype)


def batch(kind: str, seed: int = 0) -> LossInputs:
    """Everything that a loss may look at, in float64 with values that float32 holds too."""
    labels = BATCHES[kind]
    n, g = len(labels), torch.Generator().manual_seed(seed)
    x, present = degenerate_embeddings(kind, n, D, g)
    return LossInputs(
        {"label": torch.randn(n, K, generator=g).double()},
        {name: x[i] for i, name in enumerate("abc")},
        {"label": torch.tensor(labels)},
        {name: present[i] for i, name in enumerate("abc")},
        {
            "columns.numerical": torch.randn(n, 2, generator=g).double(),
            "columns.categorical": torch.stack([torch.randint(0, k, (n,), generator=g) for k in (2, 4)], 1),
            "columns.masked": torch.rand(n, 4, generator=g) < 0.5,
        },
    )


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
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found))


@every_loss
@pytest.mark.parametrize("kind", BATCHES)
def test_defined_on_every_batch(name: str, kind: str) -> None:
    """Finite in value and gradient, in float64 and float32, and the same number in both."""
    inputs = cast(batch(kind), torch.float64)
    exact = build(name)(inputs)
    assert exact.shape == ()
    assert exact.dtype == torch.float64
    assert exact.requires_grad
    assert bool(exact.isfinite())
    exact_grads = gradients(exact, inputs)
    single = cast(batch(kind), torch.float32)
    value = build(name, torch.float32)(single)
    assert value.item() == pytest.approx(exact.item(), rel=2e-5, abs=2e-6)
    for key, grad in gradients(value, single).items():
        assert bool(exact_grads[key].isfinite().all()), key
        assert bool(grad.isfinite().all()), key
        size = (inputs.embeddings | inputs.outputs)[key].detach().abs().amax(-1, keepdim=True)
        torch.testing.assert_close(grad.double() * size, exact_grads[key] * size, rtol=1e-3, atol=1e-4)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "kind",
    ["everything", "some_missing", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("one_case", "all_zero"))],
)
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype, kind: str) -> None:
    half = cast(batch(kind), dtype)
    value = build(name, torch.float32)(half)
    assert value.dtype == torch.float32
    single = cast(half, torch.float32)
    expected = build(name, torch.float32)(single)
    assert torch.equal(value, expected)
    for key, grad in gradients(value, half).items():
        assert grad.dtype == dtype
        assert bool(grad.isfinite().all())
        torch.testing.assert_close(grad, gradients(expected, single)[key].to(dtype)) if key == "a" else None
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(build(name, torch.float32)(single), expected)


@every_loss
def test_a_zero_vector_has_no_gradient(name: str) -> None:
    inputs = cast(batch("a_zero_vector"), torch.float64)
    grads = gradients(build(name)(inputs), inputs)
    assert not bool(grads["a"][1].any())


@every_loss
@given(content=st.sampled_from([float("nan"), float("inf"), -1e30, 0.0]), seed=st.integers(0, 1000))
@settings(max_examples=6)
def test_what_is_missing_has_no_effect(name: str, content: float, seed: int) -> None:
    """Bit for bit, in value and gradient."""
    inputs = cast(batch("some_missing", seed), torch.float64)
    spoilt = {
        key: torch.where(inputs.present[key].unsqueeze(-1), x.detach(), content).requires_grad_()
        for key, x in inputs.embeddings.items()
    }
    other = inputs._replace(embeddings=spoilt)
    one, two = build(name)(inputs), build(name)(other)
    assert torch.equal(one, two)
    expected = gradients(one, inputs)
    for key, grad in gradients(two, other).items():
        assert torch.equal(grad, expected[key])
        if key in inputs.present:
            assert not bool(grad[~inputs.present[key]].any())


@every_loss
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["everything", "some_missing"]))
@settings(max_examples=6)
def test_order_and_length_do_not_matter(name: str, seed: int, kind: str) -> None:
    g = torch.Generator().manual_seed(seed)
    inputs, term = batch(kind, seed), build(name)
    n = len(inputs.targets["label"])
    expected = term(inputs).item()

    def is_the_same(other: LossInputs) -> None:
        assert build(name)(other).item() == pytest.approx(expected, rel=1e-9, abs=1e-11)

    order = torch.randperm(n, generator=g)
    is_the_same(LossInputs(*({key: x[order] for key, x in part.items()} for part in inputs)))
    is_the_same(inputs._replace(embeddings=dict(reversed(inputs.embeddings.items()))))
    if name in OF_SIZES:
        return
    scales = {key: 10 ** (6 * torch.rand(n, 1, generator=g).double() - 3) for key in inputs.embeddings}
    is_the_same(inputs._replace(embeddings={key: x * scales[key] for key, x in inputs.embeddings.items()}))


@every_loss
def test_the_names_of_the_classes_do_not_matter(name: str) -> None:
    inputs, order = batch("everything"), torch.tensor([2, 0, 1])
    # Class k becomes order[k]: its labels, its logit and, where the loss has them, its count.
    outputs = {"label": inputs.outputs["label"][:, order.argsort()]}
    other = inputs._replace(outputs=outputs, targets={"label": order[inputs.targets["label"]]})
    term = build(name)
    if "counts" in term.needs:
        term.set_counts(torch.tensor(FILLED["counts"])[order.argsort()])
    assert term(other).item() == pytest.approx(build(name)(inputs).item(), rel=1e-9, abs=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_compiles_without_a_break(name: str) -> None:
    inputs = cast(batch("some_missing"), torch.float32)
    term = build(name, torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(term, fullgraph=True, backend="aot_eager")
    value, expected = compiled(inputs), term(inputs)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    wanted = gradients(expected, inputs)
    for key, grad in gradients(value, inputs).items():
        torch.testing.assert_close(grad, wanted[key], rtol=1e-4, atol=1e-5)


@every_own_loss
def test_the_meta_device(name: str) -> None:
    inputs = LossInputs(*({key: x.to("meta") for key, x in part.items()} for part in batch("everything")))
    leaves = {key: x.float().requires_grad_() for key, x in inputs.embeddings.items()}
    outputs = {key: x.float().requires_grad_() for key, x in inputs.outputs.items()}
    value = build(name, torch.float32).to("meta")(inputs._replace(embeddings=leaves, outputs=outputs))
    assert value.shape == ()
    value.backward()


@every_loss
def test_state_dict_round_trip(name: str) -> None:
    inputs = batch("everything")
    term = build(name)
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.add_(0.1)
    other = build(name)
    other.load_state_dict(term.state_dict())
    assert torch.equal(other(inputs), term(inputs))


@every_loss
def test_in_a_bank_which_tells_the_classes(name: str) -> None:
    torch.manual_seed(0)
    known = registry.losses.options(name)
    options = NEEDED.get(name, {}) | {key: value for key, value in FILLED.items() if key in known}
    term = registry.losses.create(name, **options).double()
    bank = LossBank(K, {"it": (0.5, term)})
    inputs = batch("everything")
    assert bank(inputs)["it"].item() == pytest.approx(0.5 * build(name)(inputs).item(), rel=1e-12)


@every_loss
def test_refuses(name: str) -> None:
    inputs = batch("everything")
    with pytest.raises(ValueError, match="has no option 'colour'"):
        registry.losses.create(name, colour="red", **NEEDED.get(name, {}))
    looks_at_embeddings = bool(gradients(build(name)(other := cast(inputs, torch.float64)), other)["a"].any())
    if looks_at_embeddings:
        shorter = dict(inputs.embeddings) | {"b": inputs.embeddings["b"][1:]}
        with pytest.raises(ValueError, match=r"(?s)7.*6|6.*7"):
            build(name)(inputs._replace(embeddings=shorter))
    try:
        build(name)(inputs._replace(targets={}))
    except ValueError:  # it looks at the labels
        with pytest.raises(ValueError, match=r"int64.*torch.float"):
            build(name)(inputs._replace(targets={"label": inputs.targets["label"].double()}))
