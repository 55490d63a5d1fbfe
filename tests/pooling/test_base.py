from typing import Any

import pytest
import torch
from torch import Tensor

from mmfusion.pooling import FirstPooling, GranularityMerge, MeanPooling, StagePooling
from mmfusion.tokens import Tokens, TokenShape

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


def shapes(given: list[dict[str, Tokens]]) -> list[dict[str, TokenShape]]:
    return [{name: TokenShape(*tokens.x.shape[1:]) for name, tokens in stage.items()} for stage in given]


SHAPES = shapes(stages())


def built(kind: str) -> Any:
    return {
        "mean": lambda: MeanPooling(),
        "first": lambda: FirstPooling(),
        "stage_pool": lambda: StagePooling(SHAPES, ["a", "b"]),
        "merge": lambda: GranularityMerge(SHAPES, ["a", "b"], n_filters={"a": 3}),
    }[kind]()


KINDS = ["mean", "first", "stage_pool", "merge"]


def test_mean_pooling_averages_present_tokens() -> None:
    x = torch.tensor([[[1.0, 2], [3, 6]], [[5, 5], [NAN, NAN]]])
    tokens = Tokens(x, torch.tensor([[True, True], [True, False]]))
    assert MeanPooling()([{}, {"a": tokens}])["a"].tolist() == [[2, 4], [5, 5]]
    assert MeanPooling()([{"a": Tokens(x[:1])}])["a"].tolist() == [[2, 4]]


def test_first_pooling_takes_first_token() -> None:
    given = stages()
    assert torch.equal(FirstPooling()(given)["a"], given[1]["a"].x[:, 0])


def test_stage_pooling_matches_reference() -> None:
    given, pooling = stages(), built("stage_pool")
    pooled = torch.cat([given[0]["a"].x.mean(1), given[1]["a"].x.mean(1)], 1)
    torch.testing.assert_close(pooling(given)["a"], pooling.project["a"](pooled))


def test_merge_matches_convolution_over_stages() -> None:
    """All stages' tokens through one convolution, then the mean over its filters."""
    given, pooling = stages(), built("merge")
    for name, n_filters, n_tokens in (("a", 3, 5), ("b", 1, 2)):
        merge = pooling.merge[name]
        assert merge.weight.shape == (n_filters, n_tokens, 3)
        together = torch.cat([stage[name].x for stage in given], 1)
        expected = torch.nn.functional.conv1d(together, merge.weight, merge.bias, padding=1).mean(1)
        torch.testing.assert_close(pooling(given)[name], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_modality_is_zeros_whatever_its_content(kind: str) -> None:
    pooling, given = built(kind), stages(3)
    there = torch.tensor([True, False, True])
    whole = pooling(given)
    for content in (0.0, NAN, float("inf")):
        found = pooling(masked(given, there, content))
        assert torch.equal(found["a"][1], torch.zeros(4))
        torch.testing.assert_close(found["a"][there], whole["a"][there])
        assert torch.equal(found["b"], whole["b"])


@pytest.mark.parametrize("kind", KINDS)
def test_absent_modalities_have_finite_gradients(kind: str) -> None:
    pooling = built(kind)
    given = masked(stages(), torch.zeros(2, dtype=torch.bool), NAN)
    for stage in given:
        stage["b"].x.requires_grad_()
    sum(x.sum() for x in pooling(given).values()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in pooling.parameters())
    assert bool(given[-1]["b"].x.grad.isfinite().all())


def test_first_pooling_of_some_modalities() -> None:
    """The others are averaged."""
    given = stages()
    found = FirstPooling(of=["b"])(given)
    assert torch.equal(found["b"], given[1]["b"].x[:, 0])
    torch.testing.assert_close(found["a"], given[1]["a"].x.mean(1))


def test_stage_pooling_accepts_any_token_width() -> None:
    """Each stage has its width; the embedding is as wide as the last stage's tokens unless given."""
    wide = stages()
    wide[1]["b"] = Tokens(torch.randn(2, 1, 6))
    pooling = StagePooling(shapes(wide), ["a", "b"])
    assert (pooling.project["b"].in_features, pooling.project["b"].out_features) == (10, 6)
    assert pooling(wide)["b"].shape == (2, 6)
    assert StagePooling(shapes(wide), ["a", "b"], dim=5)(wide)["b"].shape == (2, 5)


@pytest.mark.parametrize("n_filters", [{"a": 0}, {"x": 2}, {"images": 2}])
def test_merge_invalid_n_filters_raises(n_filters: dict[str, int]) -> None:
    with pytest.raises(
        ValueError, match=r"n_filters(.a expects int from 1| must be for the modalities \('a', 'b'\), got)"
    ):
        GranularityMerge(SHAPES, ["a", "b"], n_filters=n_filters)


def test_merge_filters_by_kind_of_modality() -> None:
    kinds = {"images": ("a",), "tables": ("b",)}
    merge = GranularityMerge(SHAPES, ["a", "b"], kinds, n_filters={"images": 3, "tables": 2}).merge
    assert [len(merge[name].weight) for name in ("a", "b")] == [3, 2]
    # A name goes before its kind.
    merge = GranularityMerge(SHAPES, ["a", "b"], kinds, n_filters={"images": 3, "a": 4}).merge
    assert [len(merge[name].weight) for name in ("a", "b")] == [4, 1]
