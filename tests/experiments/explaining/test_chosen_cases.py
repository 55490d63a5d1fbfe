import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.experiments.explaining.chosen_cases import Chosen, choose, requests_of

IDS = ["a", "b", "c", "d", "worst", "e,f"]
LOSSES = np.array([0.1, 3.0, np.nan, 0.1, 2.0, 0.5])


def positions(cases: str | list[str], n: int = 6, seed: int = 0) -> list[int]:
    return [one.position for one in choose(cases, IDS, LOSSES, n=n, seed=seed)]


def test_the_worst_have_the_highest_loss_and_unlabelled_cases_are_none() -> None:
    assert positions("worst", 3) == [1, 4, 5]
    assert positions("best", 3) == [0, 3, 5]
    assert 2 not in positions("worst")
    assert choose("best,worst", IDS, LOSSES, n=3, seed=0) == [
        Chosen(0, "lowest loss"),
        Chosen(3, "lowest loss"),
        Chosen(1, "highest loss"),
    ]


def test_named_cases_are_all_taken_and_the_rest_is_shared() -> None:
    assert positions(["d", "a", "d"], 1) == [3, 0]
    found = choose("d,worst,random", IDS, LOSSES, n=4, seed=0)
    assert [one.why for one in found] == ["named", "highest loss", "highest loss", "drawn at random"]
    assert len({one.position for one in found}) == 4
    assert positions("worst,d") == [3, 1, 4, 5, 0]


def test_names_that_are_requests_or_have_commas() -> None:
    assert positions(["e,f"]) == [5]
    assert positions("id:worst", 1) == [4]
    assert positions(["worst"], 1) == [1]


@given(st.integers(0, 99), st.integers(1, 9))
def test_random_cases_are_those_of_the_seed(seed: int, n: int) -> None:
    found = positions("random", n, seed)
    assert found == positions("random", n, seed)
    assert len(set(found)) == len(found) == min(n, len(IDS))
    assert set(found) <= set(range(len(IDS)))


def test_unknown_names_are_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'test-1' \(near: 'test-1[23]', .*'zzz' \(the first is 'test-12'\)"):
        choose("test-1,zzz", ["test-12", "test-13"], None, n=1, seed=0)


@pytest.mark.parametrize("losses", [None, np.full(6, np.nan)])
def test_best_and_worst_need_labels(losses: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="cases=best needs labels"):
        choose("a,best", IDS, losses, n=2, seed=0)
    assert len(choose("random", IDS, losses, n=2, seed=0)) == 2


@pytest.mark.parametrize("cases", ["", " , ", [], [""]])
def test_nothing_asked_for_is_an_error(cases: str | list[str]) -> None:
    with pytest.raises(ValueError, match="cases expects worst, best, random or names"):
        requests_of(cases)


def test_an_empty_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is none"):
        choose("random", [], None, n=1, seed=0)
