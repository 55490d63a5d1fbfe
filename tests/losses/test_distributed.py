"""Two processes with a part of the batch each do what one with the whole batch does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import distributed_cases as cases
from helpers.processes import together
from mmfusion.losses.distributed import global_batch
from mmfusion.tokens import LossInputs
from mmfusion.utils.process_group import gather_rows, n_processes

WHOLE = [list(range(cases.N_CASES))]
HALVES = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
UNEVEN = [[0, 1, 2, 3, 4, 5, 6], [7, 8, 9]]


def test_single_process_gathers_nothing() -> None:
    x = torch.randn(3, 2)
    inputs = LossInputs({}, {"a": x}, {}, {}, {})
    assert n_processes() == 1
    assert gather_rows(x) is x
    assert global_batch(inputs) is inputs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compute", "parts"),
    [
        pytest.param(cases.all_steps, HALVES, id="banks, halves", marks=pytest.mark.exhaustive),
        pytest.param(cases.all_steps, UNEVEN, id="banks, uneven"),
        pytest.param(cases.model_steps, HALVES, id="models, halves"),
    ],
)
def test_two_processes_match_whole_batch(compute: Callable[..., Any], parts: list[list[int]], tmp_path: Path) -> None:
    expected = compute(0, WHOLE)
    for found in together(compute, tmp_path, parts):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    gradients = [bool(value.any()) for name, value in expected.items() if ".grad." in name]
    assert sum(gradients) > 0.9 * len(gradients)


@pytest.mark.slow
def test_gathered_rows_have_gradients(tmp_path: Path) -> None:
    counts = [[2, 3], [4, 1], [0, 2]]
    for rank, found in enumerate(together(cases.all_gathers, tmp_path, counts)):
        for here, of in zip(found, counts, strict=True):
            check_rows(rank, here, of)


def check_rows(rank: int, found: dict[str, Any], counts: list[int]) -> None:
    n, start = sum(counts), sum(counts[:rank])
    assert found["everything"].tolist() == list(range(n))
    assert found["numbers"].tolist() == list(range(n))
    # Rank 0 counts once and rank 1 twice: the gradients of both come back.
    assert found["grad"].tolist() == [3.0 * (i + 1) for i in range(start, start + counts[rank])]
    assert found["a"].tolist() == found["b"].tolist() == [[float(i)] for i in range(n)]
    assert found["b"].dtype == torch.float16
    assert found["label"].tolist() == list(range(n))
    # The first process said which cases have a; the second has all.
    assert found["present"]["a"].tolist() == [i > 0 for i in range(counts[0])] + [True] * counts[1]
    assert found["present"]["b"].all()
    assert found["aux"]["map"][:, 1, 2].tolist() == [0.0] * counts[0] + [1.0] * counts[1]
    assert found["aux"]["scalar"].item() == 5.0
