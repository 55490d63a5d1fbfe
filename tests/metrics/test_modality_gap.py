from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.losses import alignment_loss, anchor_set, uniformity_loss
from mmfusion.metrics.bootstrap import resample
from mmfusion.metrics.modality_gap import GapNumber, gap_differences, gap_numbers

RNG = np.random.default_rng(0)
N = 40
Y = np.arange(N) % 3
A = RNG.normal(size=(N, 5)) + np.eye(5)[Y]
B = RNG.normal(size=(N, 5)) + 2


def by_key(found: list[GapNumber]) -> dict[tuple[str, tuple[str, ...]], GapNumber]:
    return {(one.measure, one.of): one for one in found}


def values(*arguments: Any, **options: Any) -> dict[tuple[str, tuple[str, ...]], float]:
    found = gap_numbers(*arguments, n_resamples=0, **options)
    assert all(np.isnan([one.low, one.high]).all() for one in found)
    return {key: one.value for key, one in by_key(found).items()}


def reference(a: Any, b: Any, y: Any, w: Any = None, group: Any = None, alpha: float = 2, t: float = 2) -> Any:
    """The definitions, pair by pair of cases."""
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    w = np.ones(len(y)) if w is None else w
    group = np.arange(len(y)) if group is None else group

    def product(x: Any, z: Any, rows: Any) -> float:
        pairs = [(i, j) for i in rows for j in rows if group[i] != group[j]]
        weights = np.array([w[i] * w[j] for i, j in pairs])
        return float(weights @ [x[i] @ z[j] for i, j in pairs] / weights.sum()) if weights.any() else np.nan

    def class_share(x: Any) -> float:
        classes = [c for c in np.unique(y) if len(set(group[y == c])) > 1]
        rows = np.flatnonzero(np.isin(y, classes))
        total = product(x, x, rows)
        squares = [w[y == c].sum() / w[rows].sum() * product(x, x, np.flatnonzero(y == c)) for c in classes]
        return (sum(squares) - total) / (1 - total)

    def apart(rows: Any) -> float:
        lengths = [product(x, x, rows) for x in (u, v)]
        cosine = product(u, v, rows) / np.sqrt(np.prod(lengths)) if min(lengths) > 0 else np.nan
        return float(np.sqrt(2 - 2 * np.clip(cosine, -1, 1)))

    def uniformity(x: Any) -> float:
        pairs = [(i, j) for i in range(len(y)) for j in range(len(y)) if group[i] != group[j]]
        weights = np.array([w[i] * w[j] for i, j in pairs])
        return float(np.log(weights @ [np.exp(-t * ((x[i] - x[j]) ** 2).sum()) for i, j in pairs] / weights.sum()))

    every, both = range(len(y)), ("a", "b")
    square = product(u - v, u - v, every)
    return {
        ("distance", both): np.sqrt(max(square, 0)),
        ("modality_share", both): square / 4 / (1 - product((u + v) / 2, (u + v) / 2, every)),
        ("alignment", both): float(w @ np.linalg.norm(u - v, axis=1) ** alpha / w.sum()),
        ("prototype_distance", both): float(np.nanmean([apart(np.flatnonzero(y == c)) for c in np.unique(y)])),
        ("class_share", both): class_share((u + v) / 2),
        ("uniformity", ("a",)): uniformity(u),
        ("class_share", ("a",)): class_share(u),
        ("uniformity", ("b",)): uniformity(v),
        ("class_share", ("b",)): class_share(v),
    }


def test_numbers_match_losses_and_definitions() -> None:
    found = values({"a": A, "b": B}, Y, alpha=1.5, t=3)
    expected = reference(A, B, Y, alpha=1.5, t=3)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-12)
    x, both = torch.from_numpy(np.stack([A, B])), torch.ones(N, dtype=torch.bool)
    assert found["alignment", ("a", "b")] == pytest.approx(alignment_loss(x[0], x[1], both, alpha=1.5).item())
    assert found["uniformity", ("a",)] == pytest.approx(uniformity_loss(x[:1], both[None], t=3).item())


def test_numbers_of_many_cases_match_class_means() -> None:
    rng, n = np.random.default_rng(1), 1200
    y = np.arange(n) % 3
    a, b = rng.normal(size=(n, 4)) + 2 * np.eye(4)[y], rng.normal(size=(n, 4)) + np.eye(4)[3]
    found = values({"a": a, "b": b}, y)
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    prototypes = anchor_set(torch.from_numpy(np.stack([a, b])), torch.from_numpy(y), 3).prototypes.unimodal
    expected = {
        ("distance", ("a", "b")): np.linalg.norm(u.mean(0) - v.mean(0)),
        ("modality_share", ("a", "b")): share(np.concatenate([u, v]), np.repeat([0, 1], n)),
        ("prototype_distance", ("a", "b")): (prototypes[0] - prototypes[1]).norm(dim=-1).mean().item(),
        ("class_share", ("a", "b")): share(np.concatenate([u, v]), np.concatenate([y, y])),
        ("class_share", ("a",)): share(u, y),
        ("class_share", ("b",)): share(v, y),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=5e-3)


def share(x: Any, groups: Any) -> float:
    """Between-group sum of squares over the total one."""
    within = sum(((x[groups == g] - x[groups == g].mean(0)) ** 2).sum() for g in np.unique(groups))
    return float(1 - within / ((x - x.mean(0)) ** 2).sum())


def test_gap_is_unbiased_in_number_of_cases() -> None:
    """Of one distribution, two sets explain nothing on average, nor do classes; their sample means seem to."""
    rng = np.random.default_rng(2)
    squares, shares, plain = [], [], []
    for _ in range(100):
        a, b, y = rng.normal(size=(10, 8)), rng.normal(size=(10, 8)), np.arange(10) % 2
        found = values({"a": a, "b": b}, y)
        shares.append([found["modality_share", ("a", "b")], found["class_share", ("a",)]])
        squares.append(found["distance", ("a", "b")])
        u = a / np.linalg.norm(a, axis=1, keepdims=True)
        plain.append(share(u, y))
    assert np.mean(shares, 0) == pytest.approx([0, 0], abs=0.03)
    assert np.median(squares) < 0.25
    assert np.mean(plain) > 0.09


def test_absent_and_zero_embeddings_are_ignored() -> None:
    kept = np.r_[0:30]
    present = {"a": np.arange(N) < 32, "b": np.ones(N, dtype=bool)}
    a, b = A.copy(), B.copy()
    a[32:] = np.nan
    b[30:32] = 0
    b[32:] *= np.where(np.arange(8) % 2, 1e300, 1e-300)[:, None]
    found, expected = values({"a": a, "b": b}, Y, present), values({"a": A[kept], "b": B[kept]}, Y[kept])
    pair = {key: value for key, value in expected.items() if len(key[1]) == 2}
    assert {key: found[key] for key in pair} == pytest.approx(pair, abs=1e-12)
    numbers = by_key(gap_numbers({"a": a, "b": b}, Y, present, n_resamples=0))
    assert [numbers["uniformity", (name,)].n_cases for name in "ab"] == [32, 38]
    assert numbers["distance", ("a", "b")].n_cases == 30


def test_intervals_match_resamples() -> None:
    groups = [str(i // 2) for i in range(N)]
    found = by_key(gap_numbers({"a": A, "b": B}, Y, groups=groups, n_resamples=5, seed=3))
    (weights,) = resample(Y, groups, n_resamples=5, seed=3)
    drawn = [reference(A, B, Y, row, np.asarray(groups)) for row in weights]
    point = reference(A, B, Y, None, np.asarray(groups))
    for key, one in found.items():
        low, high = np.quantile([numbers[key] for numbers in drawn], [0.025, 0.975])
        assert (one.value, one.low, one.high) == pytest.approx((point[key], low, high), abs=1e-10)


def test_differences_are_paired_by_resample() -> None:
    first, second = {"a": A, "b": B}, {"a": A, "b": -B}
    one, other = values(first, Y), values(second, Y)
    found = gap_differences(first, second, Y, n_resamples=50)
    for number in found:
        key = number.measure, number.of
        assert number.value == pytest.approx(other[key] - one[key], abs=1e-12)
        if number.of != ("a", "b"):  # mirrored: nothing has changed, and so it is in every resample
            assert (number.low, number.high) == pytest.approx((0, 0), abs=1e-12)
    assert all(one.value == one.low == one.high == 0 for one in gap_differences(first, first, Y, n_resamples=5))
    with pytest.raises(ValueError, match="the same sets"):
        gap_differences(first, {"a": A}, Y)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_ranges_and_invariances(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), rng.integers(0, 3, n)
    found = values({"a": a, "b": b}, y)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    length = rng.uniform(1e-3, 1e3, (n, 1))
    turned = values({"a": a @ turn * length, "b": b @ turn}, y)
    assert found == pytest.approx(turned, abs=1e-9, nan_ok=True)
    for (measure, _), value in found.items():
        low, high = {"uniformity": (-8, 0), "alignment": (0, 4)}.get(measure, (0, 2))
        assert np.isnan(value) or (value <= 1 + 1e-9 if "share" in measure else low - 1e-9 <= value <= high + 1e-9)


def test_degenerate_cases() -> None:
    one = values({"a": A[:1], "b": B[:1]}, Y[:1])
    u, v = (x[0] / np.linalg.norm(x[0]) for x in (A, B))
    assert one.pop(("alignment", ("a", "b"))) == pytest.approx(((u - v) ** 2).sum())
    assert np.isnan(list(one.values())).all()
    (same_group,) = {value for value in values({"a": A, "b": B}, Y, None, ["one"] * N).values() if value >= 0}
    assert same_group == pytest.approx(values({"a": A, "b": B})["alignment", ("a", "b")])
    same = values({"a": np.ones((4, 2)), "b": np.ones((4, 2))}, np.array([0, 0, 1, 1]))
    for measure in ("distance", "alignment", "prototype_distance"):
        assert same[measure, ("a", "b")] == pytest.approx(0, abs=1e-7)
    assert same["uniformity", ("a",)] == pytest.approx(0)
    assert np.isnan([same["modality_share", ("a", "b")], same["class_share", ("a",)]]).all()
    apart = values({"a": np.tile([1.0, 0], (4, 1)), "b": np.tile([0, 2.0], (4, 1))}, np.array([0, 0, 1, 1]))
    assert [apart["distance", ("a", "b")], apart["prototype_distance", ("a", "b")]] == pytest.approx([2**0.5] * 2)
    assert apart["modality_share", ("a", "b")] == pytest.approx(1)
    none = values({"a": A, "b": B}, Y, {"b": np.zeros(N, dtype=bool)})
    assert all(np.isnan(value) == ("b" in of) for (_, of), value in none.items())
    far = values({"a": np.array([[1.0, 0], [-1, 0], [0, 1]])}, t=1000.0)
    assert far["uniformity", ("a",)] == pytest.approx(-2000 + np.log(2 / 3))


def test_absent_class_and_unlabeled_cases() -> None:
    alone = np.where(np.arange(N) == 0, 7, Y)  # of a class with a single case there is no pair
    without = values({"a": A[1:], "b": B[1:]}, Y[1:])
    with_it = values({"a": A, "b": B}, alone)
    for key in with_it:
        if key[0] in ("class_share", "prototype_distance"):
            assert with_it[key] == pytest.approx(without[key], abs=1e-12)
    y = np.where(Y == 1, -1, Y)
    found = values({"a": A, "b": B}, y)
    labeled = values({"a": A[y >= 0], "b": B[y >= 0]}, y[y >= 0])
    for key, value in found.items():
        if key[0] in ("class_share", "prototype_distance"):
            assert value == pytest.approx(labeled[key], abs=1e-12)
    assert {measure for measure, _ in values({"a": A, "b": B})} == {
        *("distance", "modality_share", "alignment", "uniformity")
    }
    low_and_high = by_key(gap_numbers({"a": A, "b": B}, y, n_resamples=20))["class_share", ("a",)]
    assert low_and_high.low < low_and_high.high


def test_sets_of_unequal_widths_have_no_pair() -> None:
    found = values({"a": A, "b": B, "wide": np.concatenate([A, B], 1)}, Y)
    assert {of for _, of in found} == {("a", "b"), ("a",), ("b",), ("wide",)}
    assert {of for _, of in values({"a": A, "b": B}, Y, pairs=[])} == {("a",), ("b",)}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (({},), {}, r"embeddings expect \(n, d\)"),
        (({"a": A, "b": B[:3]},), {}, r"of the same cases by set, got .* \(3, 5\)"),
        (({"a": A[:0]},), {}, "at least one"),
        (({"a": np.where(Y[:, None] == 0, np.nan, A)},), {}, "'a' are not finite in 14 of 40 cases: where a case"),
        (({"a": A}, Y[:3]), {}, r"labels expect shape \(40,\)"),
        (({"a": A}, Y - 2), {}, "class indices or -1"),
        (({"a": A}, Y, {"c": Y > 0}), {}, r"present has \['c'\]"),
        (({"a": A}, Y, {"a": Y}), {}, r"present\['a'\] expects bool"),
        (({"a": A, "b": B[:, :2]}, Y), {"pairs": [("a", "b")]}, "two sets of one width"),
        (({"a": A}, Y), {"pairs": [("a", "c")]}, "two sets of one width"),
        (({"a": A}, Y), {"alpha": 0}, "alpha and t expect positive"),
        (({"a": A}, Y), {"t": float("nan")}, "alpha and t expect positive"),
        (({"a": A}, Y, None, ["p"]), {}, "groups expects one per case, got 1 groups and 40 cases"),
    ],
)
def test_invalid_options_and_inputs_raise(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gap_numbers(*arguments, **options)
