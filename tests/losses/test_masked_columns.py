"""Masked column reconstruction: the formula, what is no target, degenerate batches, number formats."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.anchor_reference import direction
from mmfusion import registry
from mmfusion.losses.masked_columns import MaskedColumnsLoss, masked_columns_loss
from mmfusion.spec import Columns
from mmfusion.tokens import LossInputs, Table

NAN, INF = math.nan, math.inf
COLUMNS = Columns(numerical=("age", "size"), categorical=(("sex", 2), ("place", 4), ("one", 1)))
WIDTH = 2 + 2 + 4 + 1
SPLITS = {
    "both": COLUMNS,
    "numerical": Columns(numerical=("age", "size")),
    "categorical": Columns(categorical=(("sex", 2), ("place", 4))),
}


def reference(predicted: Tensor, table: Table, columns: Columns, masked: Tensor) -> Tensor:
    """A cell at a time."""
    n_numerical = len(columns.numerical)
    numbers, categories = [], []
    for i in range(len(predicted)):
        for j in range(n_numerical):
            truth = table.numerical[i, j].item()
            if masked[i, j] and math.isfinite(truth):
                numbers.append((predicted[i, j] - truth) ** 2)
        start = n_numerical
        for j, n in enumerate(columns.cardinalities):
            truth = int(table.categorical[i, j])
            if masked[i, n_numerical + j] and 0 <= truth < n:
                shares = [predicted[i, start + c].exp() for c in range(n)]
                categories.append(-(shares[truth] / sum(shares)).log())
            start += n
    means = [torch.stack(errors).mean() for errors in (numbers, categories) if errors]
    return sum(means) / len(means) if means else predicted.new_zeros(())


def a_batch(columns: Columns, n: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Table, Tensor]:
    """With missing cells and categories out of range among the masked."""
    g = torch.Generator().manual_seed(seed)
    n_numerical, sizes = len(columns.numerical), columns.cardinalities
    numerical = torch.randn(n, n_numerical, generator=g, dtype=torch.float64)
    numerical[torch.rand(numerical.shape, generator=g) < 0.2] = NAN
    categorical = torch.stack(
        [torch.randint(-1, size + 1, (n,), generator=g) for size in sizes] or [torch.zeros(n).long()], 1
    )[:, : len(sizes)]
    predicted = torch.randn(n, n_numerical + sum(sizes), generator=g, dtype=torch.float64)
    return predicted.to(dtype), Table(numerical, categorical), torch.rand(n, len(columns), generator=g) < 0.5


@pytest.mark.parametrize("split", SPLITS)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 4))
@settings(max_examples=15)
def test_function_matches_reference(split: str, seed: int, n: int) -> None:
    predicted, table, masked = a_batch(SPLITS[split], n, seed)
    predicted.requires_grad_()
    wanted = reference(predicted, table, SPLITS[split], masked)
    found = masked_columns_loss(predicted, table, SPLITS[split], masked)
    assert found.requires_grad
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12, abs=1e-14)
    grads = torch.autograd.grad(wanted + 0 * predicted.sum(), predicted)[0]
    torch.testing.assert_close(torch.autograd.grad(found, predicted)[0], grads, rtol=1e-10, atol=1e-13)


def test_by_hand() -> None:
    predicted = torch.tensor([[1.0, 5.0, 0.0, math.log(3), 0.0, 0.0, 0.0, 0.0, 9.0]])
    table = Table(torch.tensor([[3.0, 4.0]]), torch.tensor([[0, 3, 0]]))
    one_number = torch.tensor([[True, False, False, False, False]])
    both_numbers = torch.tensor([[True, True, False, False, False]])
    categories = torch.tensor([[False, False, True, True, True]])
    means = {"number": 4.0, "numbers": 2.5, "categories": (math.log(4) + math.log(4) + 0) / 3}
    for masked, expected in (
        (one_number, means["number"]),
        (both_numbers, means["numbers"]),
        (categories, means["categories"]),
        (both_numbers | categories, (means["numbers"] + means["categories"]) / 2),
        (~(both_numbers | categories), 0.0),
    ):
        found = masked_columns_loss(predicted, table, COLUMNS, masked)
        assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("cell", [(0, NAN), (1, INF), (1, -INF), (2, -1), (2, 2), (3, 4), (3, -100), (4, 1)])
def test_cell_without_target_is_ignored(cell: tuple[int, float]) -> None:
    """A cell without a target counts as one that is not masked."""
    predicted, table, _ = a_batch(COLUMNS, 3, 0)
    table = Table(torch.zeros(3, 2), torch.zeros(3, 3).long())
    masked = torch.ones(3, 5, dtype=torch.bool)
    column, truth = cell
    (table.numerical if column < 2 else table.categorical)[1, column if column < 2 else column - 2] = truth
    predicted.requires_grad_()
    found = masked_columns_loss(predicted, table, COLUMNS, masked)
    (grad,) = torch.autograd.grad(found, predicted)
    without = masked.clone()
    without[1, column] = False
    assert torch.equal(found, masked_columns_loss(predicted, table, COLUMNS, without))
    starts = [0, 1, 2, 4, 8, 9]
    assert not bool(grad[1, starts[column] : starts[column + 1]].any())
    assert bool(grad[0, :2].all())


@pytest.mark.parametrize("content", [NAN, INF, -INF, 1e30])
def test_predictions_of_unmasked_cells_have_no_effect(content: float) -> None:
    predicted, table, masked = a_batch(COLUMNS, 4, 1)
    masked[:, 4] = False
    of_column = torch.tensor([0, 1, 2, 2, 3, 3, 3, 3, 4])
    spoilt = torch.where(masked[:, of_column], predicted, content)
    values = []
    for x in (predicted, spoilt):
        leaf = x.clone().requires_grad_()
        value = masked_columns_loss(leaf, table, COLUMNS, masked)
        values.append((value, torch.autograd.grad(value, leaf)[0]))
    assert torch.equal(values[0][0], values[1][0])
    assert torch.equal(values[0][1], values[1][1])


def test_nan_prediction_gives_nan() -> None:
    predicted, _, _ = a_batch(COLUMNS, 1, 1)
    table = Table(torch.zeros(1, 2), torch.zeros(1, 3).long())
    for column in (0, 3):
        spoilt = predicted.clone()
        spoilt[0, column] = NAN
        assert bool(masked_columns_loss(spoilt, table, COLUMNS, torch.ones(1, 5).bool()).isnan())


@pytest.mark.parametrize("scale", [1e-20, 1e15])
def test_extreme_predictions_are_precise_in_float32(scale: float) -> None:
    predicted, table, masked = a_batch(COLUMNS, 6, 2)
    predicted = (predicted * scale).float().requires_grad_()
    found = masked_columns_loss(predicted, table, COLUMNS, masked)
    exact = masked_columns_loss(predicted.detach().double(), table, COLUMNS, masked)
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)
    found.backward()
    assert bool(predicted.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    predicted, table, masked = a_batch(COLUMNS, 6, 3)
    half = (300 * predicted).to(dtype)  # 300 squared is beyond float16
    expected = masked_columns_loss(half.float(), table, COLUMNS, masked)
    found = masked_columns_loss(half, table, COLUMNS, masked)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(masked_columns_loss(half.float(), table, COLUMNS, masked), expected)


RIGHT: dict[str, Any] = {
    "predicted": torch.zeros(3, WIDTH),
    "table": Table(torch.zeros(3, 2), torch.zeros(3, 3).long()),
    "columns": COLUMNS,
    "masked": torch.ones(3, 5).bool(),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"predicted": torch.zeros(3, 8)}, r"predicted must be floating point of shape \(3, 9\), got .* \(3, 8\)"),
        ({"predicted": torch.zeros(3, 9).long()}, r"predicted must be floating point .* got torch.int64"),
        ({"predicted": torch.zeros(4, 9)}, r"numerical cells must be floating point of shape \(4, 2\), got"),
        (
            {"table": Table(torch.zeros(3, 3), RIGHT["table"].categorical)},
            r"shape \(3, 2\), got torch.float32 \(3, 3\)",
        ),
        ({"table": Table(RIGHT["table"].numerical, torch.zeros(3, 3))}, r"int64 of shape \(3, 3\), got torch.float32"),
        ({"table": Table(RIGHT["table"].numerical, torch.zeros(3, 2).long())}, r"categorical cells .* \(3, 2\)"),
        ({"masked": torch.ones(3, 5)}, r"masked must be bool of shape \(3, 5\), got torch.float32"),
        ({"masked": torch.ones(3, 9).bool()}, r"masked must be bool of shape \(3, 5\), got torch.bool \(3, 9\)"),
    ],
)
def test_invalid_inputs_raise(wrong: dict[str, Any], message: str) -> None:
    assert masked_columns_loss(**RIGHT).isfinite()
    with pytest.raises(ValueError, match=message):
        masked_columns_loss(**RIGHT | wrong)


# The term

D = 4


def term(dtype: torch.dtype = torch.float64, **options: Any) -> MaskedColumnsLoss:
    torch.manual_seed(1)
    return MaskedColumnsLoss(columns=COLUMNS, dim=D, **options).to(dtype)


def inputs_of(kind: str, seed: int = 0) -> LossInputs:
    n, g = 5, torch.Generator().manual_seed(seed)
    x = torch.randn(3, n, D, generator=g)
    present = torch.ones(3, n, dtype=torch.bool)
    if kind == "some_missing":
        present = torch.tensor([[1, 1, 0, 1, 0], [0, 1, 1, 0, 0], [1, 1, 1, 0, 0]]).bool()
    if kind == "nothing_present":
        present[:] = False
    if kind == "a_zero_vector":
        x[:, 1] = 0
    if kind == "all_zero":
        x[:] = 0
    if kind in ("tiny", "huge"):
        x = x * {"tiny": 1e-20, "huge": 1e20}[kind]
    _, table, masked = a_batch(COLUMNS, n, seed)
    if kind == "nothing_masked":
        masked[:] = False
    aux = dict(zip(("columns.numerical", "columns.categorical", "columns.masked"), (*table, masked)))
    return LossInputs({}, dict(zip("abc", x.double())), {}, dict(zip("abc", present)), aux)


KINDS = ["whole", "some_missing", "nothing_present", "nothing_masked", "a_zero_vector", "all_zero", "tiny", "huge"]


def cast(inputs: LossInputs, dtype: torch.dtype) -> LossInputs:
    leaves = {name: x.detach().to(dtype).requires_grad_() for name, x in inputs.embeddings.items()}
    return inputs._replace(embeddings=leaves)


def value_and_gradients(of: Any, inputs: LossInputs, dtype: torch.dtype = torch.float64) -> tuple[Tensor, list[Tensor]]:
    inputs = cast(inputs, dtype)
    value = of(inputs)
    leaves = list(inputs.embeddings.values())
    return value, list(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))


def decoded(decoder: Any, x: Tensor) -> Tensor:
    for layer in (decoder.hidden, decoder.out):
        if layer is not None:
            x = x if layer is decoder.hidden or decoder.hidden is None else x.clamp(min=0)
            x = torch.stack([layer.bias[o] + sum(layer.weight[o] * x) for o in range(layer.out_features)])
    return x


def reference_of_term(inputs: LossInputs, built: MaskedColumnsLoss) -> Tensor:
    names = list(inputs.embeddings) if built.on is None else [built.on]
    n = len(inputs.aux["columns.masked"])
    rows, seen = [], []
    for i in range(n):
        there = [name for name in names if inputs.present[name][i]]
        vectors = [inputs.embeddings[name][i] for name in there]
        units = [direction(v) if bool(v.any()) else 0 * v for v in vectors]
        mean = sum(units) / len(units) if units else torch.zeros(D, dtype=torch.float64)
        rows.append(decoded(built.decoder, mean * 2))  # the square root of 4
        seen.append(bool(there))
    masked = inputs.aux["columns.masked"] & torch.tensor(seen).unsqueeze(1)
    table = Table(inputs.aux["columns.numerical"], inputs.aux["columns.categorical"])
    return reference(torch.stack(rows), table, COLUMNS, masked)


@pytest.mark.parametrize("options", [{}, {"on": "b"}, {"on": "a", "hidden": 3}], ids=["all", "one", "hidden"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_matches_reference_on_degenerate_batches(kind: str, options: dict[str, Any]) -> None:
    """Value and gradients in float64; finite and the same value in float32."""
    built, inputs = term(**options), cast(inputs_of(kind), torch.float64)
    leaves = [*inputs.embeddings.values(), *built.parameters()]
    wanted = reference_of_term(inputs, built)
    wanted_grads = torch.autograd.grad(wanted + 0 * sum(p.sum() for p in leaves), leaves)
    value = built(inputs)
    torch.testing.assert_close(value, wanted, rtol=1e-11, atol=1e-13)
    assert value.requires_grad
    found = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
    for grad, expected, leaf in zip(found, wanted_grads, leaves):
        size = leaf.detach().abs().amax(-1, keepdim=True) if leaf.shape == (5, D) else 1.0
        torch.testing.assert_close(grad * size, expected * size, rtol=1e-9, atol=1e-11)
    single, grads = value_and_gradients(term(torch.float32, **options), inputs, torch.float32)
    assert single.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-6)
    assert all(bool(grad.isfinite().all()) for grad in grads)


@given(content=st.sampled_from([NAN, INF, -1e30]), on=st.sampled_from([None, "a", "c"]), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_missing_cases_have_no_effect(content: float, on: str | None, seed: int) -> None:
    """Bit for bit; the target of an ignored case has no effect either."""
    inputs = inputs_of("some_missing", seed)
    spoilt = {
        name: torch.where(inputs.present[name].unsqueeze(-1), x, content) for name, x in inputs.embeddings.items()
    }
    aux = dict(inputs.aux)
    seen = torch.stack([inputs.present[name] for name in ([on] if on else "abc")]).any(0).unsqueeze(-1)
    aux["columns.numerical"] = torch.where(seen, aux["columns.numerical"], content)
    one = value_and_gradients(term(on=on), inputs)
    two = value_and_gradients(term(on=on), inputs._replace(embeddings=spoilt, aux=aux))
    assert torch.equal(one[0], two[0])
    for a, b in zip(one[1], two[1]):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_training_lowers_loss() -> None:
    """The table is a function of the direction."""
    torch.manual_seed(0)
    x = torch.randn(64, D)
    unit = x / x.norm(dim=-1, keepdim=True)
    aux = {
        "columns.numerical": torch.stack([unit[:, 0], unit[:, 1] + unit[:, 2]], 1),
        "columns.categorical": torch.stack([(x[:, 3] > 0).long(), (x[:, 0] > 0).long() * 3, 0 * x[:, 0].long()], 1),
        "columns.masked": torch.rand(64, 5) < 0.7,
    }
    built = MaskedColumnsLoss(columns=COLUMNS, dim=D)
    optimizer = torch.optim.Adam(built.parameters(), lr=0.1)
    before = built({"a": x}, aux=aux).item()
    for _ in range(80):
        optimizer.zero_grad()
        built({"a": x}, aux=aux).backward()
        optimizer.step()
    assert built({"a": x}, aux=aux).item() < 0.2 * before


AUX = inputs_of("whole").aux
X = torch.randn(5, D)


@pytest.mark.parametrize(
    ("options", "embeddings", "aux", "message"),
    [
        ({"on": "z"}, {"a": X}, AUX, r"unknown embeddings 'z', expected one of \['a'\]"),
        ({"dim": 3}, {"a": X}, AUX, "built for embeddings of width 3, got 4"),
        ({"hidden": 0}, {"a": X}, AUX, "hidden expects int from 1 to 16384 or none, got 0"),
        ({}, {"a": X}, {}, r"aux lacks \['columns.numerical', 'columns.categorical', 'columns.masked'\]: give"),
        ({}, {"a": X}, {}, r"train\.augment\.table\.mask=0\.3 give them$"),
        ({}, {"a": X}, AUX | {"columns.masked": torch.ones(5, 5)}, r"columns.masked must be bool of shape \(5, 5\)"),
        ({}, {"a": X[1:]}, AUX, r"columns.masked must be bool of shape \(4, 5\), got torch.bool \(5, 5\)"),
        ({}, {"a": X}, AUX | {"columns.numerical": torch.ones(5, 3)}, r"numerical cells .* \(5, 2\), got"),
        ({}, {"a": X, "b": X[1:]}, AUX, r"'b' must be .* \(5, 4\), got torch.float32 \(4, 4\)"),
    ],
)
def test_invalid_options_and_inputs_of_loss_raise(
    options: dict[str, Any], embeddings: dict[str, Tensor], aux: Any, message: str
) -> None:
    right: dict[str, Any] = {"columns": COLUMNS, "dim": D}
    assert MaskedColumnsLoss(**right)({"a": X}, aux=AUX).isfinite()
    with pytest.raises(ValueError, match=message):
        MaskedColumnsLoss(**right | options)(embeddings, aux=aux)


def test_created_by_name() -> None:
    built = registry.losses.create("masked_columns", columns=COLUMNS, dim=D, on="a")
    assert isinstance(built, MaskedColumnsLoss)
    assert "on='a'" in repr(built)
