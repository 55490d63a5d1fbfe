"""Several images per case: what every model keeps, and the arithmetic of the pools."""

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE
from helpers.small import TABLE, make_inputs
from mmfusion.models import FusionModel
from mmfusion.models.bags import BagLayout
from mmfusion.spec import DataSpec, Image
from mmfusion.tokens import Bag, Content

# Between them: maps of every stage, no map fusion, images linked inside the encoder, tables inside it, statistics of
# the batch behind it, and convolutions of each case's own.
USUAL = {"cfcml", "concat", "hyperfusion", "film", "metablock", "mmtm"}
QUICK = {"concat", "film"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "planar": {"size": (16, 16), "others": 1},
    "volume": {"size": (8, 8, 8), "others": 0},
}
MASK = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, True, False]])
N, K = MASK.shape


def spec_of(bag: int, layout: str) -> DataSpec:
    """``image0`` in bags, then others of one image each, and a table."""
    size, others = LAYOUTS[layout]["size"], LAYOUTS[layout]["others"]
    images = {"image0": Image(2, size, bag=bag), **{f"image{i + 1}": Image(2, size) for i in range(others)}}
    return DataSpec({**images, "table0": TABLE}, n_classes=3)


@cache
def pair(name: str, layout: str, bag: str = "mean") -> tuple[FusionModel, FusionModel]:
    """A model of bags and the same model of one image per case."""
    torch.manual_seed(0)
    blueprint = mmf.Blueprint(reads=("images",), encoder={"name": "convnet", "bag": bag})
    model = name if bag == "mean" else blueprint
    bagged = mmf.create_model(model, spec_of(4, layout)).eval()
    plain = mmf.create_model(model, spec_of(1, layout)).eval()
    plain.load_state_dict(bagged.state_dict())
    return bagged, plain


def batch(layout: str) -> tuple[dict[str, Content], Tensor]:
    """Inputs without the bag, and its images."""
    spec = spec_of(1, layout)
    x = torch.rand(N, K, *spec["image0"].shape, generator=torch.Generator().manual_seed(1))
    return {name: value for name, value in make_inputs(spec, N).items() if name != "image0"}, x


def _marks(name: str, layout: str) -> Any:
    if name not in USUAL or layout != "planar":
        return EXHAUSTIVE
    return () if name in QUICK else pytest.mark.slow


def over_models() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("name", "layout"),
        [pytest.param(name, layout, marks=_marks(name, layout)) for layout in LAYOUTS for name in mmf.list_models()],
    )


def usual(inputs: dict[str, Content], bagged: FusionModel) -> dict[str, Content]:
    return {name: value for name, value in inputs.items() if name in bagged.names or name in bagged.ignored}


@torch.no_grad()
@over_models()
def test_model_output_invariances(name: str, layout: str) -> None:
    """Padding, order, a bag of one, an empty bag, a batch of one, and half precision."""
    bagged, plain = pair(name, layout)
    inputs, x = batch(layout)
    whole = bagged({**inputs, "image0": Bag(x, MASK)})
    spoilt = x.clone()
    spoilt[~MASK] = torch.nan
    assert torch.equal(bagged({**inputs, "image0": Bag(spoilt, MASK)}).logits, whole.logits)
    order = torch.tensor([2, 0, 1])
    turned = bagged({**inputs, "image0": Bag(x[:, order], MASK[:, order])})
    torch.testing.assert_close(turned.logits, whole.logits, rtol=0, atol=1e-5)
    # One image: the plain model, bit by bit, as a bag or as an image, behind padding too.
    expected = plain({**inputs, "image0": x[:, 1]})
    only = torch.tensor([False, True, False]).expand(N, K)
    for one in (Bag(x[:, 1:2], torch.ones(N, 1, dtype=torch.bool)), x[:, 1], Bag(x, only)):
        assert torch.equal(bagged({**inputs, "image0": one}).logits, expected.logits)
    # An empty bag is an absent image, whatever its content, and whether or not it is said so.
    some = torch.tensor([True, False, True, True])
    expected = bagged({**inputs, "image0": Bag(x, MASK)}, {"image0": some})
    for mask, present in (
        (MASK & some[:, None], {}),
        (MASK & some[:, None], {"image0": some}),
        (MASK, {"image0": some}),
    ):
        assert torch.equal(bagged({**inputs, "image0": Bag(spoilt, mask)}, present).logits, expected.logits)
    none = bagged({**inputs, "image0": Bag(spoilt, torch.zeros_like(MASK))})
    absent = bagged(inputs, {"image0": torch.zeros(N, dtype=torch.bool)})
    assert torch.equal(none.logits, absent.logits)
    # Alone, each case is as in the batch.
    for i in (0, 1):
        alone = {
            n: type(v)(*(t[i : i + 1] for t in v)) if isinstance(v, tuple) else v[i : i + 1] for n, v in inputs.items()
        }
        out = bagged({**alone, "image0": Bag(x[i : i + 1], MASK[i : i + 1])}).logits
        torch.testing.assert_close(out, whole.logits[i : i + 1], rtol=0, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert bagged({**inputs, "image0": Bag(x, MASK)}).logits.isfinite().all()


@over_models()
def test_gradients_match_finite_differences(name: str, layout: str) -> None:
    """In float64, of each real image; padding has none."""
    bagged, _ = pair(name, layout)
    inputs, x = batch(layout)
    bagged.double()
    try:
        x = x.double()
        if "image0" not in bagged.names or "image0" in bagged.ignored:
            pytest.skip("it reads no image")

        def total(images: Tensor) -> Tensor:
            logits = bagged({**inputs, "image0": Bag(images, MASK)}).logits
            return (logits * torch.arange(1.0, 4.0, dtype=torch.float64)).sum()

        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(total(leaf), leaf)
        assert not gradient[~MASK].any()
        assert all(bool(one.any()) for one in gradient[MASK])
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        with torch.no_grad():
            for place in MASK.nonzero()[:3].tolist():
                step = torch.zeros_like(x)
                step[tuple(place)] = 1e-8 * direction[tuple(place)]
                difference = (total(x + step) - total(x - step)) / 2
                torch.testing.assert_close(difference, (gradient * step).sum(), rtol=1e-3, atol=1e-13)
    finally:
        bagged.float()


def test_equal_images_share_the_gradient() -> None:
    """Of equal images each gets an equal share, which together equal the gradient of the single image."""
    bagged, plain = pair("concat", "planar")
    inputs, x = batch("planar")
    one = x[:, 0].double()
    bagged.double(), plain.double()
    try:
        alone = one.clone().requires_grad_()
        (expected,) = torch.autograd.grad(plain({**inputs, "image0": alone}).logits.sum(), alone)
        several = one[:, None].repeat(1, K, 1, 1, 1).requires_grad_()
        (found,) = torch.autograd.grad(bagged({**inputs, "image0": Bag(several, MASK)}).logits.sum(), several)
    finally:
        bagged.float(), plain.float()
    shares = (expected / MASK.sum(1).view(-1, 1, 1, 1)).unsqueeze(1).expand_as(found)
    torch.testing.assert_close(found[MASK], shares[MASK], rtol=0, atol=1e-12)


def test_batch_statistics_ignore_padding() -> None:
    """A bag of one image trains as the image."""
    inputs, x = batch("planar")
    torch.manual_seed(0)
    bagged = mmf.create_model("metablock", spec_of(4, "planar")).train()
    twin = mmf.create_model("metablock", spec_of(4, "planar")).train()
    twin.load_state_dict(bagged.state_dict())
    spoilt = x.clone()
    spoilt[~MASK] = 1e9
    torch.manual_seed(1)
    bagged({**inputs, "image0": Bag(x, MASK)})
    torch.manual_seed(1)
    twin({**inputs, "image0": Bag(spoilt, MASK)})
    buffers = dict(bagged.named_buffers())
    assert buffers
    assert all(torch.equal(buffers[name], value) for name, value in twin.named_buffers())


@torch.no_grad()
def test_pooled_maps_by_hand() -> None:
    """Mean and maximum of the maps of each image encoded alone."""
    inputs, x = batch("planar")
    for how in ("mean", "max"):
        bagged, plain = pair("image", "planar", how)
        maps = bagged.encode({"image0": Bag(x, MASK)})["image0"].stages[-1]
        single = plain.encode({"image0": x.flatten(0, 1)})["image0"].stages[-1].unflatten(0, (N, K))
        for i in range(N):
            real = single[i][MASK[i]]
            expected = real.mean(0) if how == "mean" else real.amax(0)
            torch.testing.assert_close(maps[i], expected, rtol=0, atol=1e-6)
    assert inputs


@torch.no_grad()
@pytest.mark.parametrize("name", ["concat", pytest.param("cfcml", marks=pytest.mark.slow), "metablock"])
def test_precomputed_maps_replace_bags(name: str) -> None:
    """Precomputed maps are pooled ones; map fusions after the last stage act on those."""
    bagged, _ = pair(name, "planar")
    inputs, x = batch("planar")
    given: dict[str, Content] = {**inputs, "image0": Bag(x, MASK)}
    encoded = bagged.encode(given)
    assert torch.equal(bagged({**given, **encoded}).logits, bagged(given).logits)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3).filter(any), min_size=1, max_size=5), st.data())
def test_layout_round_trip(places: list[list[bool]], data: st.DataObject) -> None:
    mask = torch.tensor(places)
    x = torch.randn(*mask.shape, 2, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    layout = BagLayout.of(mask)
    images = layout.images(x)
    assert len(images) == int(mask.sum()) == sum(layout.sizes)
    assert torch.equal(layout.put(images), torch.where(mask[..., None], x, 0.0))
    assert torch.equal(layout.cases().bincount(), mask.sum(1))
    static = BagLayout(mask, None, None, ())
    padded = static.images(torch.where(mask[..., None], x, torch.nan))
    assert torch.equal(static.put(padded), layout.put(images))
    for how in ("mean", "max"):
        expected = torch.stack([(each[m].mean(0) if how == "mean" else each[m].amax(0)) for each, m in zip(x, mask)])
        torch.testing.assert_close(layout.pool(images, how), expected)
        torch.testing.assert_close(static.pool(padded, how), expected)
    assert layout.pool(images.half() * 0 + 6e4, "mean").isfinite().all()  # the sum would be infinite in half precision


def test_invalid_bags_raise() -> None:
    bagged, plain = pair("concat", "planar")
    inputs, x = batch("planar")
    mask = MASK.clone()
    with pytest.raises(ValueError, match=r"'image0' has one image per case, got a Bag: build the model for Image"):
        plain({**inputs, "image0": Bag(x, mask)})
    with pytest.raises(
        ValueError, match=r"the mask of the bag 'image0' must be bool of shape \(b, k\), got torch.int64"
    ):
        bagged({**inputs, "image0": Bag(x, mask.long())})
    with pytest.raises(
        ValueError, match=r"expects a mask of shape \(4, 3\), of at most 4 images a case .*got \(4, 2\)"
    ):
        bagged({**inputs, "image0": Bag(x, mask[:, :2])})
    with pytest.raises(ValueError, match=r"at most 4 images a case"):
        bagged({**inputs, "image0": Bag(torch.cat([x, x], 1), torch.cat([mask, mask], 1))})
    with pytest.raises(ValueError, match=r"images of the bag 'image0' must be floating point .*by x.float\(\) / 255"):
        bagged({**inputs, "image0": Bag(x.byte(), mask)})
    with pytest.raises(ValueError, match=r"got torch.float32 \(4, 3, 2, 16, 16\); several images .*Bag\(x, mask\)"):
        bagged({**inputs, "image0": x})
    bagged.check({**inputs, "image0": Bag(x[:, :0], mask[:, :0])})
    wrong = x.clone()
    wrong[1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"'image0' has a pixel that is NaN or infinite in 1 of 4 cases, .* is case 1"):
        bagged({**inputs, "image0": Bag(wrong, mask)})
    wrong[1, 0] = 3.0
    with pytest.raises(ValueError, match=r"'image0' has pixels from .* to 3 in 1 of 4 cases, the first is case 1"):
        bagged.check({**inputs, "image0": Bag(wrong, mask)})
    wrong = torch.where(mask.view(N, K, 1, 1, 1), x, torch.nan)
    bagged.check({**inputs, "image0": Bag(wrong, mask)})
    with pytest.raises(ValueError, match=r"bag expects one of mean, max, got 'median'"):
        mmf.Blueprint(encoder={"name": "convnet", "bag": "median"})
