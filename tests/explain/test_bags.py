"""Explanations of cases with several images: a map per image, and bags as wholes."""

from functools import cache
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import mmfusion as mmf
from helpers.explained import left_as_it_was
from helpers.marks import EXHAUSTIVE
from helpers.small import TABLE, make_inputs
from mmfusion.explain import (
    Output,
    attention,
    class_activation_map,
    contributions,
    faithfulness,
    grid_regions,
    integrated_gradients,
    modality_contributions,
    occlusion,
    token_shares,
    value_of_knowing,
)
from mmfusion.models import FusionModel
from mmfusion.models.blueprint import part
from mmfusion.spec import DataSpec, Image
from mmfusion.tokens import Bag, Content

MASK = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
OUTPUT = Output(index=1, unit="output")


@cache
def model_of(name: str, bag: int, size: tuple[int, ...] = (16, 16), **options: Any) -> FusionModel:
    torch.manual_seed(0)
    spec = DataSpec({"image0": Image(2, size, bag=bag), "table0": TABLE}, n_classes=3)
    return mmf.create_model(name, spec, dim=8, **options).eval()


def batch(model: FusionModel) -> tuple[dict[str, Content], Bag]:
    assert model.spec is not None
    x = torch.rand(3, 3, *model.spec["image0"].shape, generator=torch.Generator().manual_seed(0))
    x[~MASK] = torch.nan
    bag = Bag(x, MASK)
    return {**make_inputs(model.spec.only("table0"), 3), "image0": bag}, bag


@pytest.mark.parametrize(
    ("name", "method", "at"),
    [
        ("concat", "grad_cam", -1),
        ("film", "layer_cam", 1),
        pytest.param("metablock", "hires_cam", -1, marks=EXHAUSTIVE),
        pytest.param("concat", "score_cam", -1, marks=pytest.mark.slow),
        pytest.param("cfcml", "grad_cam_plus_plus", 2, marks=EXHAUSTIVE),
    ],
)
def test_every_image_of_a_bag_has_a_map(name: str, method: str, at: int) -> None:
    model = model_of(name, 3)
    inputs, bag = batch(model)
    with left_as_it_was(model):
        heat = class_activation_map(model, inputs, method=method, at=at, output=OUTPUT, positive=False)
    assert heat.shape == (3, 3, 16, 16)
    assert not heat[~MASK].any()
    assert heat[MASK].flatten(1).any(1).all()
    # One image alone has the map of the plain model; a map fusion behind the last stage acts on pooled maps.
    plain = model_of(name, 1)
    single = class_activation_map(
        plain, {**inputs, "image0": bag.x[:, 1].nan_to_num()}, method=method, at=at, output=OUTPUT, positive=False
    )
    if name != "metablock":
        assert_close(heat[2, 1], single[2], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_bag_of_volumes_has_maps_with_slices() -> None:
    torch.manual_seed(0)
    spec = DataSpec({"image0": Image(3, (16, 16, 3), bag=3), "table0": TABLE}, n_classes=3)
    model = mmf.create_model(mmf.Blueprint(encoder=part("slices/resnet10t"), dim=8), spec).eval()
    inputs, _ = batch(model)
    heat = class_activation_map(model, inputs, output=OUTPUT, positive=False)
    assert heat.shape == (3, 3, 16, 16, 3)
    assert heat[MASK].flatten(1).any(1).all()
    assert not heat[~MASK].any()


def test_occlusion_changes_one_image_only() -> None:
    pytest.importorskip("captum")
    model = model_of("concat", 3)
    inputs, bag = batch(model)
    with left_as_it_was(model):
        heat = occlusion(model, inputs, window=(16, 16), baseline="zero", output=OUTPUT)
    x = bag.x.clone()
    x[0, 2] = 0
    with torch.no_grad():
        loss = model(inputs).logits - model({**inputs, "image0": Bag(x, MASK)}).logits
    assert_close(heat[0, 2], loss[0, 1].expand(16, 16))
    assert not heat[~MASK].any()


@pytest.mark.slow
def test_integrated_gradients_of_bag_sum_to_output_change() -> None:
    pytest.importorskip("captum")
    model = model_of("concat", 3)
    inputs, _ = batch(model)
    heat = integrated_gradients(model, inputs, baseline="zero", output=OUTPUT, n_steps=40)
    loss = occlusion(model, inputs, window=(16, 16), baseline="zero", output=OUTPUT)
    assert_close(heat.sum((2, 3)), loss[..., 0, 0], atol=2e-3, rtol=2e-2)


def test_bag_has_one_contribution() -> None:
    """An empty bag contributes exactly zero, as an absent image."""
    model = model_of("concat", 3)
    inputs, bag = batch(model)
    with left_as_it_was(model):
        shapley = modality_contributions(model, inputs, output=OUTPUT)
        (first, second, _) = contributions(model, inputs, output=OUTPUT)
    with torch.no_grad():
        logits = model(inputs).logits[:, 1].double()
    assert_close(shapley.bias + shapley.values.sum(1), logits, rtol=0, atol=1e-6)
    assert shapley.values[1, 0] == 0
    assert (first.modalities["image0"] != 0, second.modalities["image0"]) == (True, 0)
    assert_close(first.total, float(logits[0]), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"measured on one image per case, and 'image0' came as a bag: give one image"):
        faithfulness(model, inputs)
    with pytest.raises(ValueError, match=r"regions are of one image per case, and \['image0'\] came as bags"):
        contributions(model, inputs, regions={"image0": grid_regions((16, 16), 2)})
    assert bag.mask is MASK


@pytest.mark.slow
def test_token_shares_of_bag_sum_to_one() -> None:
    model = model_of("cfcml", 3)
    inputs, _ = batch(model)
    shares = token_shares(model, inputs, name="image0")
    assert_close(shares.sum(2)[[0, 2]], torch.ones(2, shares.shape[1]))
    assert not shares[1].any()
    assert attention(model, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["concat", "film"])
def test_empty_bag_counts_as_missing(name: str) -> None:
    model = model_of(name, 3)
    inputs, bag = batch(model)
    reference = {**make_inputs(model.spec.only("table0"), 3, seed=2), "image0": Bag(bag.x, MASK)}  # type: ignore[union-attr]  # it has one
    worths = value_of_knowing(model, inputs, None, reference)
    assert "image0" not in worths[0]
    lacking = {name: content for name, content in inputs.items() if name != "image0"}
    absent = {"image0": torch.zeros(3, dtype=torch.bool)}
    assert value_of_knowing(model, lacking, absent, reference)[1]["image0"].n_donors == 2
