from typing import Any

import pytest
import torch
from torch import Tensor

from mmfusion.readouts import FirstReadout, GranularityMerge, MeanReadout, StagePool
from mmfusion.tokens import Tokens

NAN = float("nan")


def stages(b: int = 2) -> list[dict[str, Tokens]]:
    """Two stages, a of 2 and 3 tokens, b of 1 and 1, width 4."""
    g = torch.Generator().manual_seed(0)
    return [
        {name: Tokens(torch.randn(b, n, 4, generator=g)) for name, n in sizes.items()}
        for sizes in ({"a": 2, "b": 1}, {"a": 3, "b": 1})
    ]


def masked(given: list[dict[str, Tokens]], there: Tensor, content: float) -> list[dict[str, Tokens]]:
    """The same with modality a missing in some cases, which hold any content."""
    return [
        stage
        | {
            "a": Tokens(
                torch.where(there.view(-1, 1, 1), stage["a"].x, content),
                there.unsqueeze(1).expand(-1, stage["a"].x.shape[1]),
            )
        }
        for stage in given
    ]


def built(kind: str) -> Any:
    readout = {
        "mean": MeanReadout(),
        "first": FirstReadout(),
        "stage_pool": StagePool(["a", "b"], dim=4),
        "merge": GranularityMerge(["a", "b"], n_filters={"a": 3}),
    }[kind]
    if hasattr(readout, "bind"):
        readout.bind(stages())
    return readout


KINDS = ["mean", "first", "stage_pool", "merge"]


def test_mean() -> None:
    x = torch.tensor([[[1.0, 2], [3, 6]], [[5, 5], [NAN, NAN]]])
    tokens = Tokens(x, torch.tensor([[True, True], [True, False]]))
    assert MeanReadout()([{}, {"a": tokens}])["a"].tolist() == [[2, 4], [5, 5]]
    assert MeanReadout()([{"a": Tokens(x[:1])}])["a"].tolist() == [[2, 4]]


def test_first() -> None:
    given = stages()
    assert torch.equal(FirstReadout()(given)["a"], given[1]["a"].x[:, 0])


def test_stage_pool() -> None:
    given, readout = stages(), built("stage_pool")
    pooled = torch.cat([given[0]["a"].x.mean(1), given[1]["a"].x.mean(1)], 1)
    torch.testing.assert_close(readout(given)["a"], readout.project["a"](pooled))


def test_granularity_merge() -> None:
    """All stages' tokens through one convolution, then the mean over its filters."""
    given, readout = stages(), built("merge")
    for name, n_filters, n_tokens in (("a", 3, 5), ("b", 1, 2)):
        merge = readout.merge[name]
        assert merge.weight.shape == (n_filters, n_tokens, 3)
        together = torch.cat([stage[name].x for stage in given], 1)
        expected = torch.nn.functional.conv1d(together, merge.weight, merge.bias, padding=1).mean(1)
        torch.testing.assert_close(readout(given)[name], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_for_what_is_missing_whatever_stands_there(kind: str) -> None:
    readout, given = built(kind), stages(3)
    there = torch.tensor([True, False, True])
    whole = readout(given)
    for content in (0.0, NAN, float("inf")):
        found = readout(masked(given, there, content))
        assert torch.equal(found["a"][1], torch.zeros(4))
        torch.testing.assert_close(found["a"][there], whole["a"][there])
        assert torch.equal(found["b"], whole["b"])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_there_has_finite_gradients(kind: str) -> None:
    readout = built(kind)
    given = masked(stages(), torch.zeros(2, dtype=torch.bool), NAN)
    for stage in given:
        stage["b"].x.requires_grad_()
    sum(x.sum() for x in readout(given).values()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in readout.parameters())
    assert bool(given[-1]["b"].x.grad.isfinite().all())


@pytest.mark.parametrize("kind", ["stage_pool", "merge"])
def test_binding(kind: str) -> None:
    unbound = StagePool(["a", "b"], dim=4) if kind == "stage_pool" else GranularityMerge(["a", "b"])
    with pytest.raises(ValueError, match="not bound yet: put it into a FusionModel, or call bind"):
        unbound(stages())
    readout = built(kind)
    before = {name: value.clone() for name, value in readout.state_dict().items()}
    readout.bind(stages(5))
    assert all(torch.equal(value, before[name]) for name, value in readout.state_dict().items())
    with pytest.raises(ValueError, match="this readout is bound to"):
        readout.bind(stages()[:1])


def test_stage_pool_is_for_tokens_of_its_width() -> None:
    wide = stages()
    wide[1]["b"] = Tokens(torch.zeros(*wide[1]["b"].x.shape[:2], 6))
    with pytest.raises(ValueError, match=r"of the width 4, the stages' are \{'b': \[4, 6\]\}: .* as its dim_out says"):
        StagePool(["a", "b"], dim=4).bind(wide)


@pytest.mark.parametrize("n_filters", [{"a": 0}, {"x": 2}])
def test_merge_refuses(n_filters: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"n_filters must be positive, for the modalities \('a', 'b'\), got"):
        GranularityMerge(["a", "b"], n_filters=n_filters)
