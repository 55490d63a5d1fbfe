from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import mmfusion as mmf
from helpers.explained import batch_for, left_as_it_was, small_model
from helpers.marks import EXHAUSTIVE
from helpers.small import make_inputs, make_spec
from mmfusion.explain import Output, class_activation_map
from mmfusion.explain.class_activation import FORMULAS, resized
from mmfusion.models.blueprint import part
from mmfusion.models.registration import blueprint_of
from mmfusion.spec import Regression
from mmfusion.tokens import Maps

SOME = torch.tensor([True, False, True])
WITH_IMAGES = [name for name in mmf.registry.models.list() if not name.startswith("tabular")]
FEW = {"cfcml", "film", "mmtm"}
SLOW = pytest.mark.slow
exhaustive = pytest.mark.exhaustive


def test_weights_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    gradient = torch.tensor([[[[1.0, -0.5]], [[0.0, 2.0]]]])
    weights = {name: formula(maps, gradient).flatten().tolist() for name, formula in FORMULAS.items()}
    assert weights["grad_cam"] == [0.25, 1.0]
    # g^2 / (2 g^2 + sum(A) g^3), times the positive part of g: 1 / (2 + 3), and 4 / (8 + 3 * 8) * 2.
    assert weights["grad_cam_plus_plus"] == pytest.approx([0.2, 0.25])
    assert weights["hires_cam"] == [1.0, -0.5, 0.0, 2.0]
    assert weights["layer_cam"] == [1.0, 0.0, 0.0, 2.0]


@pytest.mark.parametrize("layout", ["image", pytest.param("volume", marks=EXHAUSTIVE)], ids=lambda layout: layout)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in FEW else EXHAUSTIVE) for n in WITH_IMAGES]
)
def test_maps_of_every_model_leave_it_unchanged(name: str, layout: str) -> None:
    torch.manual_seed(0)
    spec = make_spec(size=(16, 16) if layout == "image" else (8, 8, 8))
    model = mmf.create_model(name, spec, encoder="tiny_convnet").train()
    inputs = make_inputs(spec, 3, missing_cells=True)
    present = {"image0": SOME}
    with torch.inference_mode():
        inputs = {key: value + 0 if isinstance(value, Tensor) else value for key, value in inputs.items()}
        with left_as_it_was(model):
            maps = {m: class_activation_map(model, inputs, present, method=m, positive=False) for m in FORMULAS}
    for heat in maps.values():
        assert heat.shape == (3, *spec.images["image0"].size)
        assert heat.isfinite().all()
        assert heat[SOME].flatten(1).any(1).all()
        assert not heat[~SOME].any()
    early = class_activation_map(model, inputs, present, method="layer_cam", at=0)
    assert early[SOME].flatten(1).any(1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cfcml", "film", "mmtm"])
def test_trace_matches_model_output(name: str) -> None:
    model = small_model(name, images=2)
    inputs = batch_for(model)
    present = {"image1": SOME}
    output, maps, _ = model.trace(inputs, present)
    assert_close(output.logits, model(inputs, present).logits)
    assert {key: len(of_image) for key, of_image in maps.items()} == dict.fromkeys(maps, model.encoders.n_stages + 1)
    assert len(maps["image1"][0]) == 2


def test_heat_of_linear_model_sums_to_output() -> None:
    model = small_model("image", hidden=(), dropout=0.0)
    inputs = batch_for(model)
    output = Output(index=1, unit="output")
    points = model.trace(inputs).points
    nothing = {"image0": Maps(tuple(torch.zeros_like(x) for x in points["image0"][1:]))}
    expected = (model(inputs).logits - model(nothing).logits)[:, 1]
    for method in ("hires_cam", "grad_cam"):
        heat = class_activation_map(model, inputs, method=method, output=output, positive=False)
        # Linear interpolation of the one position that 16 pixels leave keeps the mean.
        n = points["image0"][-1][0, 0].numel()
        assert_close(heat.flatten(1).mean(1) * n, expected)


@pytest.mark.slow
def test_grad_cam_matches_captum() -> None:
    attributions = pytest.importorskip("captum.attr")
    model = small_model("concat", size=(32, 32))
    inputs = dict(batch_for(model))
    layer = model.encoders.backbones["image0"].stages[-1]  # type: ignore[index, union-attr]  # a submodule, for mypy any module or tensor

    def forward(x: Tensor) -> Tensor:
        logits: Tensor = model(inputs | {"image0": x}).logits
        return logits

    expected = attributions.LayerGradCam(forward, layer).attribute(inputs["image0"], target=2, relu_attributions=True)
    heat = class_activation_map(model, inputs, output=Output(index=2, unit="output"))
    assert_close(heat, resized(expected, (32, 32)).squeeze(1).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_detached_stage_has_same_map() -> None:
    maps = []
    for detach in (False, True):
        torch.manual_seed(0)
        model = mmf.create_model("cfcml", make_spec(), detach_stages=detach).train()
        heat = class_activation_map(model, make_inputs(make_spec(), 2), method="layer_cam", at=1)
        maps.append(heat)
    assert maps[0].any()
    assert torch.equal(*maps)


def test_frozen_encoder_has_same_map() -> None:
    torch.manual_seed(0)
    model = mmf.create_model("concat", make_spec(), dim=8).eval()
    inputs = make_inputs(make_spec(), 2)
    free = class_activation_map(model, inputs, at=0)
    model.encoders.freeze("all")
    with left_as_it_was(model):
        assert torch.equal(class_activation_map(model, inputs, at=0), free)


@pytest.mark.slow
def test_score_cam_by_hand() -> None:
    model = small_model("concat")
    inputs = dict(batch_for(model, 2))
    output = Output(index=0, unit="output")
    with torch.no_grad(), left_as_it_was(model):
        heat = class_activation_map(model, inputs, method="score_cam", at=0, output=output, batch_size=3)
    maps = model.trace(inputs)[1]["image0"][0]
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    masks = resized((maps - low) / (high - low).where(high > low, torch.tensor(1.0)), (16, 16))
    logits = [model(inputs | {"image0": inputs["image0"] * mask[:, None]}).logits[:, 0] for mask in masks.unbind(1)]
    black = model(inputs | {"image0": torch.zeros_like(inputs["image0"])}).logits[:, 0]
    weights = torch.stack([x - black for x in logits], 1).softmax(1)
    expected = resized((weights[:, :, None, None] * maps).sum(1, keepdim=True).relu(), (16, 16))[:, 0]
    assert_close(heat, expected.detach())


@exhaustive
def test_slices_share_heat_by_attention_weight() -> None:
    torch.manual_seed(0)
    spec = make_spec(tables=0, size=(16, 16, 3), channels=3)
    blueprint = blueprint_of("image", spec, hidden=(), dim=8)
    encoder = part("slices/resnet10t", n_stages=2)
    model = mmf.create_model(replace(blueprint, encoder=encoder), spec).eval()
    inputs = make_inputs(spec, 2)
    output = Output(index=1, unit="output")
    heat = class_activation_map(model, inputs, method="hires_cam", positive=False, output=output)
    points = model.trace(inputs).points
    nothing = {"image0": Maps(tuple(torch.zeros_like(x) for x in points["image0"][1:]))}
    expected = (model(inputs).logits - model(nothing).logits)[:, 1]
    assert heat.shape == (2, 16, 16, 3)
    assert_close(heat.sum(3).flatten(1).mean(1) * points["image0"][-1][0, 0].numel(), expected)
    with pytest.raises(ValueError, match="cannot be taken apart"):
        class_activation_map(model, inputs, at=1)


def test_maps_of_other_targets() -> None:
    spec = mmf.DataSpec(make_spec().modalities, targets={"size": Regression(2), "kind": mmf.Labels(3)})
    torch.manual_seed(0)
    model = mmf.create_model("concat", spec, dim=8).eval()
    inputs = make_inputs(spec, 1)
    for output in (Output("size", 1), Output("kind", 2), Output("kind")):
        assert class_activation_map(model, inputs, output=output, positive=False).any()
    for wrong, message in ((Output(), "one of"), (Output("age"), "one of"), (Output("kind", 3), "0 to 2")):
        with pytest.raises(ValueError, match=message):
            class_activation_map(model, inputs, output=wrong)


def test_invalid_options_raise() -> None:
    model = small_model("concat")
    inputs = batch_for(model, 1)
    for options, message in (
        ({"image": "photo"}, "image0"),
        ({"method": "eigen"}, "grad_cam"),
        ({"at": 5}, "points 0 to"),
    ):
        with pytest.raises(ValueError, match=message):
            class_activation_map(model, inputs, **options)
    with pytest.raises(ValueError, match="pixels"):
        class_activation_map(model, dict(inputs) | model.encode(inputs))
