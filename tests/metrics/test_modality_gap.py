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


def test_numbers_are_those_of_the_losses_and_of_their_definitions() -> None:
    found = values({"a": A, "b": B}, Y, alpha=1.5, t=3)
    assert list(found)[:5] == [
        (name, ("a", "b")) for name in ("distance", "modality_share", "alignment", "prototype_distance", "class_share")
    ]
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (A, B))
    x, both = torch.from_numpy(np.stack([A, B])), torch.ones(N, dtype=torch.bool)
    together, names = np.concatenate([u, v]), np.concatenate([Y, Y])
    prototypes = anchor_set(x, torch.from_numpy(Y), 3).prototypes.unimodal
    expected = {
        ("distance", ("a", "b")): np.linalg.norm(u.mean(0) - v.mean(0)),
        ("modality_share", ("a", "b")): share(together, np.repeat([0, 1], N)),
        ("alignment", ("a", "b")): alignment_loss(x[0], x[1], both, alpha=1.5).item(),
        ("prototype_distance", ("a", "b")): (prototypes[0] - prototypes[1]).norm(dim=-1).mean().item(),
        ("class_share", ("a", "b")): share(together, names),
        ("uniformity", ("a",)): uniformity_loss(x[:1], both[None], t=3).item(),
        ("class_share", ("a",)): share(u, Y),
        ("uniformity", ("b",)): uniformity_loss(x[1:], both[None], t=3).item(),
        ("class_share", ("b",)): share(v, Y),
    }
    assert found == pytest.approx(expected, abs=1e-12)


def share(x: Any, groups: Any) -> float:
    """Between-group sum of squares over the total one."""
    within = sum(((x[groups == g] - x[groups == g].mean(0)) ** 2).sum() for g in np.unique(groups))
    return float(1 - within / ((x - x.mean(0)) ** 2).sum())


def test_what_is_absent_or_has_no_direction_does_not_count() -> None:
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


def test_resampling_a_case_twice_is_weighing_it_twice() -> None:
    """Intervals of groups are those of the resamples, computed one by one."""
    groups = [str(i // 2) for i in range(N)]
    found = by_key(gap_numbers({"a": A, "b": B}, Y, groups=groups, n_resamples=25, seed=3))
    (weights,) = resample(Y, groups, n_resamples=25, seed=3)
    drawn: dict[Any, list[float]] = {}
    for row in weights.astype(int):
        rows = np.repeat(np.arange(N), row)
        for key, value in values({"a": A[rows], "b": B[rows]}, Y[rows]).items():
            drawn.setdefault(key, []).append(value)
    for key, one in found.items():
        if key[0] != "uniformity":  # there a case is no pair with its copy
            assert (one.low, one.high) == pytest.approx(tuple(np.quantile(drawn[key], [0.025, 0.975])), abs=1e-10)
    u = A / np.linalg.norm(A, axis=1, keepdims=True)
    near = np.exp(-2 * ((u[:, None] - u[None]) ** 2).sum(-1)) * (1 - np.eye(N))
    pairs = np.einsum("rn,rm->rnm", weights, weights) * (1 - np.eye(N))
    uniformity = np.log((pairs * near).sum((1, 2)) / pairs.sum((1, 2)))
    one = found["uniformity", ("a",)]
    assert (one.low, one.high) == pytest.approx(tuple(np.quantile(uniformity, [0.025, 0.975])), abs=1e-10)


def test_differences_are_of_the_same_resamples() -> None:
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
        low, high = (-8, 0) if measure == "uniformity" else (0, 4 if measure == "alignment" else 2)
        assert np.isnan(value) or low - 1e-9 <= value <= (1 if "share" in measure else high) + 1e-9


def test_degenerate_cases() -> None:
    one = values({"a": A[:1], "b": B[:1]}, Y[:1])
    u, v = (x[0] / np.linalg.norm(x[0]) for x in (A, B))
    gap = np.linalg.norm(u - v)
    assert one["distance", ("a", "b")] == pytest.approx(gap)
    assert one["alignment", ("a", "b")] == pytest.approx(gap**2)
    assert one["prototype_distance", ("a", "b")] == pytest.approx(gap)
    assert one["modality_share", ("a", "b")] == pytest.approx(1)
    assert np.isnan([one["class_share", ("a", "b")], one["uniformity", ("a",)], one["class_share", ("a",)]]).all()
    same = values({"a": np.ones((4, 2)), "b": np.ones((4, 2))}, np.array([0, 0, 1, 1]))
    assert [same["distance", ("a", "b")], same["alignment", ("a", "b")]] == pytest.approx([0, 0])
    assert same["uniformity", ("a",)] == pytest.approx(0)
    assert np.isnan([same["modality_share", ("a", "b")], same["class_share", ("a",)]]).all()
    none = values({"a": A, "b": B}, Y, {"b": np.zeros(N, dtype=bool)})
    assert all(np.isnan(value) == ("b" in of) for (_, of), value in none.items())
    far = values({"a": np.array([[1.0, 0], [-1, 0], [0, 1]])}, t=1000.0)
    assert far["uniformity", ("a",)] == pytest.approx(-2000 + np.log(2 / 3))


def test_class_that_is_absent_and_cases_without_a_label() -> None:
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


def test_sets_of_other_widths_have_no_pair() -> None:
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
        (({"a": A}, Y, None, ["p"]), {"n_resamples": 2}, "one group per case"),
    ],
)
def test_refuses(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gap_numbers(*arguments, **options)
