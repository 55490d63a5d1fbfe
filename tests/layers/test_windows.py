"""Windows of a map against a search over positions, and attention within them against loops over scalars."""

import itertools
import math
from typing import Any

import pytest
import torch

from helpers import attention_reference as ref
from mmfusion.layers.windows import WindowCrossBlock, Windows

GRIDS: list[tuple[tuple[int, ...], int]] = [
    ((4, 4), 2),
    ((5, 3), 2),
    ((3, 3), 7),
    ((7, 1), 3),
    ((1, 1), 2),
    ((3, 4, 2), 2),
    ((6,), 4),
]


def sees(grid: tuple[int, ...], window: int, shift: bool) -> dict[tuple[int, int], int]:
    """By definition: which positions see each other, with the way from one to the other. Two do along an axis if their
    windows, moved by half, are the same; what the move took over the edge is a window of its own.
    """
    sizes = [min(window, n) for n in grid]
    places = list(itertools.product(*map(range, grid)))

    def cell(p: tuple[int, ...]) -> tuple[int, ...]:
        moved = [shift and n > s for n, s in zip(grid, sizes, strict=True)]
        return tuple((c - s // 2) // s if m else c // s for c, s, m in zip(p, sizes, moved, strict=True))

    found = {}
    for i, j in itertools.product(range(len(places)), repeat=2):
        if cell(places[i]) == cell(places[j]):
            way = 0
            for a, b, s in zip(places[i], places[j], sizes, strict=True):
                way = way * (2 * s - 1) + a - b + s - 1
            found[i, j] = way
    return found


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(("grid", "window"), GRIDS)
def test_window_mask_matches_search(grid: tuple[int, ...], window: int, shift: bool) -> None:
    windows = Windows(grid, window=window, shift=shift)
    n = len(windows.place)
    found = {}
    for w, rows in enumerate(windows.visible().tolist()):
        for a, b in itertools.product(range(windows.n_positions), repeat=2):
            i, j = int(windows.position[w, a]), int(windows.position[w, b])
            if rows[a][b]:
                assert n not in (i, j)
                found[i, j] = int(windows.offset[a, b])
    assert found == sees(grid, window, shift)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(("grid", "window"), GRIDS)
def test_cut_join_round_trip(grid: tuple[int, ...], window: int, shift: bool) -> None:
    windows = Windows(grid, window=window, shift=shift)
    x = torch.randn(2, len(windows.place), 3)
    assert torch.equal(windows.join(windows.cut(x)), x)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(("grid", "window"), [((5, 3), 2), ((3, 3), 7)])
def test_window_block_matches_loops(grid: tuple[int, ...], window: int, shift: bool) -> None:
    """Two maps; case 0 has both, case 1 lacks the other."""
    torch.manual_seed(0)
    windows, heads, dim = Windows(grid, window=window, shift=shift), 2, 4
    block = WindowCrossBlock(windows, dim=dim, n_heads=heads).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    n = len(windows.place)
    x, y = torch.randn(2, 2, n, dim, dtype=torch.float64)
    out = block(x, [y], [None, torch.tensor([True, False])])
    state, visible = ref.plain(block.state_dict()), sees(grid, window, shift)
    for case in range(2):
        own, other = ([ref.norm(ref.under(state, "norm1"), row) for row in m[case].tolist()] for m in (x, y))
        for i in range(n):
            keys = [j for j in range(n) if (i, j) in visible]
            rows = [own[j] for j in keys] + ([other[j] for j in keys] if case == 0 else [])
            ways = [visible[i, j] for j in keys] * (2 if case == 0 else 1)
            found = biased(state, own[i], rows, ways, heads)
            row = [a + b for a, b in zip(x[case, i].tolist(), found, strict=True)]
            after = ref.feed_forward(ref.under(state, "feed_forward"), ref.norm(ref.under(state, "norm2"), row))
            expected = [a + b for a, b in zip(row, after, strict=True)]
            assert out[case, i].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def biased(state: dict[str, Any], query: ref.Row, rows: ref.Rows, ways: list[int], n_heads: int) -> ref.Row:
    """Multi-head attention of one row with a bias a way and head."""
    q = ref.linear(ref.under(state, "query"), query)
    keys = [ref.linear(ref.under(state, "key"), row) for row in rows]
    values = [ref.linear(ref.under(state, "value"), row) for row in rows]
    width, heads = len(q) // n_heads, []
    for h in range(n_heads):
        part = range(h * width, (h + 1) * width)
        scores = [
            math.exp(sum(q[i] * k[i] for i in part) / math.sqrt(width) + state["bias"][way][h])
            for k, way in zip(keys, ways, strict=True)
        ]
        heads += [sum(s * v[i] for s, v in zip(scores, values, strict=True)) / sum(scores) for i in part]
    return ref.linear(ref.under(state, "out"), heads)


def test_absent_map_has_no_effect() -> None:
    """Not a bit of the others changes; a case without any map gives finite numbers."""
    windows = Windows((4, 4), window=2, shift=True)
    block = WindowCrossBlock(windows, dim=4, n_heads=2)
    x, y = torch.randn(2, 3, 16, 4)
    has = torch.tensor([True, False, True])
    clean = block(x, [torch.where(has.view(-1, 1, 1), y, 0.0)], [None, has])
    other = block(x, [torch.where(has.view(-1, 1, 1), y, 5.0)], [None, has])
    assert torch.equal(clean, other)
    nobody = block(x, [y], [torch.zeros(3).bool(), torch.zeros(3).bool()])
    assert bool(nobody.isfinite().all())


def test_invalid_options_raise() -> None:
    with pytest.raises(ValueError, match=r"grid and window must be positive, got \(4, 4\) and 0"):
        Windows((4, 4), window=0)
    with pytest.raises(ValueError, match="n_heads must divide dim"):
        WindowCrossBlock(Windows((4, 4), window=2), dim=4, n_heads=3)
