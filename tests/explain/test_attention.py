import pytest
import torch
from einops import rearrange
from torch.testing import assert_close

import mmfusion as mmf
from helpers.explained import batch_for, left_as_it_was, small_model
from mmfusion.explain import attention, token_shares
from mmfusion.explain.attention import _named, _Recorder
from mmfusion.fusion.tokens.blocks import Attends
from mmfusion.layers.windows import Windows
from mmfusion.models import FusionModel
from mmfusion.pooling import ThroughoutFusion
from mmfusion.tokens import Inputs, Tokens

NAMES = ("image0", "table0")
SOME = torch.tensor([True, False, True])
WITH_ATTENTION = [name for name in mmf.registry.token_fusions.list() if name != "projection"]


@pytest.fixture(scope="module")
def model() -> FusionModel:
    return small_model("cfcml", image_latents=4, table_latents=3, tabular_tokenizer="feature")


@pytest.fixture(scope="module")
def tformer() -> FusionModel:
    return small_model("tformer", images=2, n_heads=2, window=2)


@pytest.fixture(scope="module")
def inputs(model: FusionModel) -> Inputs:
    return batch_for(model)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_token_fusions_name_their_attention_sets(name: str) -> None:
    torch.manual_seed(0)
    fusion = mmf.registry.token_fusions.create(name, ("a", "b", "c"), dim=8).eval()
    tokens = {n: Tokens(torch.randn(2, k, 8)) for n, k in zip("abc", (5, 3, 2), strict=True)}
    with torch.no_grad(), _Recorder() as recorder:
        fusion(tokens)
    found = list(_named("layers.0", fusion, recorder.weights, tokens))
    assert found
    sums: dict[tuple[int, str], torch.Tensor] = {}
    for one in found:
        sums[one.step, one.query] = sums.get((one.step, one.query), torch.zeros(())) + one.weights.sum(3)
        for of, axis in ((one.query, 2), (one.key, 3)):
            if of in tokens:
                assert one.weights.shape[axis] == tokens[of].x.shape[1]
    for total in sums.values():
        assert_close(total, torch.ones_like(total))


@pytest.mark.slow
def test_weights_reproduce_model_output(model: FusionModel, inputs: Inputs) -> None:
    with torch.inference_mode(), left_as_it_was(model):
        found = attention(model, inputs)
    assert [(a.block, a.query, a.key) for a in found] == [
        (f"per_stage.{s}", query, key) for s in range(4) for query, key in (NAMES, NAMES[::-1])
    ]
    tokens = model.tokenize(inputs)[2]
    block = model.per_stage[2]
    layer = block.attention["table0"]  # type: ignore[index, union-attr]  # a submodule, for mypy any module or tensor
    of_table = next(a for a in found if (a.block, a.query) == ("per_stage.2", "table0"))
    values = layer.value(tokens["image0"].x).unflatten(2, (4, 2)).transpose(1, 2)
    expected = layer.out((of_table.weights @ values).transpose(1, 2).flatten(2))
    assert_close(block(tokens)["table0"].x[:, 3:], expected)


def test_missing_tokens_get_no_attention(model: FusionModel, inputs: Inputs) -> None:
    found = attention(model, inputs, {"image0": SOME})
    for one in found:
        assert one.weights[SOME].any()
        assert not one.weights[~SOME].any()


def test_model_without_attention_gives_empty_list() -> None:
    model = small_model("concat")
    assert attention(model, batch_for(model)) == []


def test_token_shares_of_latents_sum_to_one(model: FusionModel, inputs: Inputs) -> None:
    with torch.no_grad(), left_as_it_was(model):
        of_image = token_shares(model, inputs, {"image0": SOME}, name="image0", stage=0)
        of_table = token_shares(model, inputs, name="table0")
    height, width = model.encoders.map_shapes["image0"][0][1:]
    assert of_image.shape == (3, 4, height * width)
    assert_close(of_image.sum(2), SOME.float().unsqueeze(1).expand(3, 4))
    # Four latents pool a quarter each, the second the upper right one.
    quarter = of_image[0, 1].view(height, width).nonzero()
    assert quarter.tolist() == [[i, j] for i in range(height // 2) for j in range(width // 2, width)]
    assert of_table.shape == (3, 3, 4)
    assert_close(of_table.sum(2), torch.ones(3, 3))
    # Three latents of four columns: the first of the first two.
    assert (of_table[:, 0, :2] > 0).all()
    assert not of_table[:, 0, 2:].any()
    with pytest.raises(ValueError, match="with tokens"):
        token_shares(model, inputs, name="photo")
    with pytest.raises(ValueError, match="stage expects one of the 4 of 'image0'"):
        token_shares(model, inputs, name="image0", stage=4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [True, False])
def test_token_shares_of_absent_modality_are_zero(model: FusionModel, inputs: Inputs, name: str, given: bool) -> None:
    rest = inputs if given else {other: x for other, x in inputs.items() if other != name}
    shares = token_shares(model, rest, {name: torch.zeros(3, dtype=torch.bool)}, name=name)
    assert shares.shape == token_shares(model, inputs, name=name).shape
    assert not shares.any()
    if not given:
        with pytest.raises(ValueError, match=f"lacks the modalities .'{name}'"):
            token_shares(model, rest, name=name)


@pytest.mark.slow
def test_tformer_pooling_attention_is_recorded(tformer: FusionModel) -> None:
    inputs = batch_for(tformer)
    with torch.inference_mode(), left_as_it_was(tformer):
        found = attention(tformer, inputs, {"image0": SOME})
    sides = [(a.block, a.query, a.key, a.grid) for a in found]
    assert sides[:4] == [
        ("pooling.stages.0.0", query, key, (4, 4))
        for query, keys in (("image0", ("image0", "image1")), ("image1", ("image1", "image0")))
        for key in keys
    ]
    assert sides[-2:] == [("pooling.query", "table0", name, None) for name in ("image0", "image1")]
    sums: dict[tuple[int, str], torch.Tensor] = {}
    for a in found:
        sums[a.step, a.query] = sums.get((a.step, a.query), torch.zeros(())) + a.weights.sum(3)
        if a.key == "image0":
            assert a.weights[SOME].any()
            assert not a.weights[~SOME].any()
    for (_, query), total in sums.items():
        there = SOME.float() if query == "image0" else torch.ones(3)
        assert_close(total, there[:, None, None].expand_as(total))


@pytest.mark.slow
def test_windowed_weights_reproduce_block_output(tformer: FusionModel) -> None:
    inputs = batch_for(tformer)
    pooling = tformer.pooling
    assert isinstance(pooling, ThroughoutFusion)
    found = [a for a in attention(tformer, inputs) if a.block == "pooling.stages.2.1" and a.query == "image1"]
    assert [a.key for a in found] == ["image1", "image0"]
    torch.manual_seed(1)
    block = pooling.stages[2][1]["image1"]  # type: ignore[index]  # nested lists and dicts, for mypy a module
    n = found[0].weights.shape[3]
    x, other = torch.randn(3, n, 8), torch.randn(3, n, 8)
    with torch.no_grad(), _Recorder() as recorder:
        after = block(x, [other], [None, None])
        named = Attends(("a",), ("a", "b"), block.windows)
        part = type("Part", (), {"attends": lambda _: [named]})()
        mine = list(_named("layer", part, recorder.weights, {"a": Tokens(x), "b": Tokens(other)}))
        attended = sum(
            rearrange(
                a.weights @ rearrange(block.value(block.norm1(of)), "b n (h d) -> b h n d", h=block.n_heads),
                "b h n d -> b n (h d)",
            )
            for a, of in zip(mine, (x, other), strict=True)
        )
        x = x + block.out(attended)
        assert_close(after, x + block.feed_forward(block.norm2(x)))


@pytest.mark.parametrize(("grid", "window", "shift"), [((5, 3), 2, True), ((4, 4), 4, False), ((3, 4, 2), 2, True)])
def test_window_pairs_match_grid_positions(grid: tuple[int, ...], window: int, shift: bool) -> None:
    windows = Windows(grid, window=window, shift=shift)
    n = torch.Size(grid).numel()
    x = torch.randn(2, n, 1)
    cut = windows.cut(x + 10)
    whole = windows.whole((cut @ cut.mT) * windows.visible())
    apart = windows.whole(windows.visible().float())
    assert_close(whole, (x + 10) @ (x + 10).mT * apart)
    assert_close(apart, apart.mT)
    assert (apart.diagonal() == 1).all()
