import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import ttest_1samp
from torch import Tensor

import mmfusion as mmf
from helpers.explained import batch_for, image_of, left_as_it_was, small_model
from helpers.small import make_inputs, make_spec
from mmfusion.explain import Faithfulness, FaithfulnessTest, Output, class_activation_map, faithfulness
from mmfusion.explain.heat_maps import METHODS, maps_of
from mmfusion.explain.outputs import Score
from mmfusion.models import FusionModel
from mmfusion.tokens import Inputs, Present

QUICK: dict[str, Any] = {"n_steps": 3, "n_random": 1, "n_randomizations": 1, "n_noises": 1}
FEW = QUICK | {"n_random": 2}
SLOW = pytest.mark.slow


def given(heat: Tensor) -> Any:
    """A method whose maps are always these, whatever the model."""

    def fixed(
        model: FusionModel, inputs: Inputs, present: Present | None = None, /, *, image: str, output: Output
    ) -> Tensor:
        return heat[: len(image_of(inputs, image))]

    return fixed


def brightness(
    model: FusionModel, inputs: Inputs, present: Present | None = None, /, *, image: str, output: Output
) -> Tensor:
    """Maps that do not look at the model, but at the image."""
    return image_of(inputs, image).mean(1)


@SLOW
@pytest.mark.parametrize("name", ["concat", "cfcml", "film", "mbt"])
@pytest.mark.parametrize("size", [(16, 16), (8, 8, 4)])
def test_measuring_leaves_model_unchanged(name: str, size: tuple[int, ...]) -> None:
    model = small_model(name, size=size, images=2)
    inputs = dict(batch_for(model, 3))
    present = {"image0": torch.tensor([True, False, True]), "image1": torch.tensor([True, True, False])}
    inputs["image0"] = image_of(inputs).clone()
    inputs["image0"][1] = torch.nan  # type: ignore[index]  # a tensor
    masks = torch.zeros((3, *size), dtype=torch.bool)
    masks[:2, :4] = True
    options: dict[str, Any] = {"image": "image0", "masks": masks, "method": partial(class_activation_map, at=0)}
    model.train()
    with left_as_it_was(model), torch.inference_mode():
        here = {key: mask.clone() for key, mask in present.items()}
        measured = faithfulness(model, inputs, here, **options, **QUICK)
    model.eval()
    assert list(measured.tests) == ["deletion", "insertion", "random_weights", "noise", "pointing", "energy"]
    assert measured.method == "class_activation_map"
    assert measured.rows.tolist() == [0, 2]
    assert measured.heat.shape == (2, *size)
    assert measured.areas == {0: masks[0].double().mean().item()}
    assert measured.tests["energy"].rows.tolist() == [0]
    for test in measured.tests.values():
        assert test.values.isfinite().all()
        assert test.reference.isfinite().all()
    assert measured.tests["energy"].passed is None
    assert (measured.n_forwards, measured.n_maps) == (2 * (2 + 2 * 2 * 2), 2 * 3)
    again = faithfulness(model, inputs, present, **options, **QUICK)
    assert again.to_dict() == measured.to_dict()
    assert json.loads(json.dumps(measured.to_dict()))["tests"]["noise"]["passed"] == measured.tests["noise"].passed


def test_number_of_forwards_matches() -> None:
    model = small_model("concat")
    seen = []
    hook = model.head.register_forward_hook(lambda part, args, out: seen.append(len(out["label"])))  # type: ignore[union-attr]  # it has a head
    try:
        measured = faithfulness(model, batch_for(model, 2), method=given(torch.rand(2, 16, 16)), **FEW)
    finally:
        hook.remove()
    assert sum(seen) == measured.n_forwards + 2  # which class it is
    assert measured.n_forwards == 2 * (2 + 2 * 2 * 3)


@SLOW
def test_default_cost_matches_docstring() -> None:
    model = small_model("concat")
    measured = faithfulness(model, batch_for(model, 2))
    assert (measured.n_forwards, measured.n_maps) == (2 * 92, 2 * 6)


def test_exact_map_passes_and_its_negative_fails() -> None:
    """A model that adds the pixels: the exact answer is known."""
    model, inputs, heat = adding(6)
    good = faithfulness(model, inputs, method=given(heat), **FEW, baseline="zero", output=Output(unit="output"))
    bad = faithfulness(model, inputs, method=given(-heat), **FEW, baseline="zero", output=Output(unit="output"))
    for test in ("deletion", "insertion"):
        assert good.tests[test].passed
        assert "better than random maps" in good.tests[test].reason
        assert not bad.tests[test].passed
        assert bad.tests[test].gain.high is not None
        assert bad.tests[test].gain.high < 0
    total = (image_of(inputs).double().flatten(1) * 1).sum(1)
    for i, curves in enumerate(good.curves):
        assert curves.deletion[0, 0].item() == pytest.approx(total[i].item(), rel=1e-5)
        assert curves.deletion[0, -1].item() == 0
        assert (curves.deletion[0] <= curves.deletion[1:] + 1e-4).all()


def adding(n: int) -> tuple[FusionModel, Inputs, Tensor]:
    """Its output is the sum of the pixels."""
    model = small_model("concat")
    inputs = {"image0": batch_for(model, n)["image0"], "table0": batch_for(model, n)["table0"]}

    class Adding(FusionModel):
        def forward(self, inputs: Inputs, present: Present | None = None) -> Any:
            x = image_of(inputs).flatten(1).sum(1, keepdim=True)
            return SimpleNamespace(outputs={"label": torch.cat([x, x - 1, x - 2], 1)})

    other = Adding.__new__(Adding)
    other.__dict__.update(model.__dict__)
    return other, inputs, image_of(inputs).sum(1)


def test_model_independent_maps_fail() -> None:
    model = small_model("concat")
    measured = faithfulness(model, batch_for(model, 3), method=brightness, **QUICK)
    test = measured.tests["random_weights"]
    assert test.values.tolist() == [1, 1, 1]
    assert measured.ssim.tolist() == pytest.approx([1, 1, 1])
    assert measured.passed is False
    assert any("does not change when weights are randomized" in flag for flag in measured.flags)
    assert measured.method == "brightness"


def test_nonfinite_map_of_random_weights_is_ignored() -> None:
    model = small_model("concat")

    def method(
        here: FusionModel, inputs: Inputs, present: Present | None = None, /, *, image: str, output: Output
    ) -> Tensor:
        return image_of(inputs).mean(1) / torch.tensor(float(here is model))

    measured = faithfulness(model, batch_for(model, 2), method=method, **QUICK)
    assert measured.tests["random_weights"].values.tolist() == [0, 0]
    assert measured.ssim.isfinite().all()


def test_constant_maps_are_flagged() -> None:
    model = small_model("concat")
    masks = torch.zeros((3, 16, 16), dtype=torch.bool)
    masks[:, :4] = True
    heat = torch.zeros(3, 16, 16)
    heat[1] = 0.3 + 1e-9 * torch.rand(16, 16).double().float()
    measured = faithfulness(model, batch_for(model, 3), method=given(heat), masks=masks, **QUICK)
    assert measured.n_constant == 3
    assert measured.flags[-1] == "3 of 3 maps are constant"
    for name in ("pointing", "energy"):
        assert measured.tests[name].values.tolist() == pytest.approx([0.25] * 3)
        assert measured.tests[name].passed is False
        assert measured.tests[name].gain.mean == pytest.approx(0)
    assert measured.tests["random_weights"].passed is False
    assert measured.tests["noise"].value.mean == 0


def test_single_case_has_no_verdict() -> None:
    model = small_model("concat")
    measured = faithfulness(model, batch_for(model, 1), **QUICK)
    for test in measured.tests.values():
        assert test.passed is None
        assert test.gain[1:4] == (None, None, None)
        assert test.reason.startswith("one case gives no verdict")
    assert measured.passed is None
    json.dumps(measured.to_dict())


def test_verdicts_match_t_test() -> None:
    g = torch.Generator().manual_seed(0)
    rows, values, reference = torch.arange(9), torch.randn(9, generator=g).double() + 1, torch.zeros(9).double()
    expected = ttest_1samp(values.numpy(), 0).confidence_interval(0.9)
    better = FaithfulnessTest("insertion", rows, values, reference, 0.9)
    assert better.gain[2:4] == pytest.approx((expected.low, expected.high))
    worse = FaithfulnessTest("deletion", rows, values, reference, 0.9)
    assert worse.gain[2:4] == pytest.approx((-expected.high, -expected.low))
    assert (better.passed, worse.passed) == (True, False)
    assert FaithfulnessTest("deletion", rows, reference, reference).passed is False


def test_baseline_tensor_stays_with_its_case() -> None:
    model, inputs, heat = adding(3)
    nothing = torch.tensor([0.0, torch.nan, 1.0]).view(3, 1, 1, 1).expand(3, 2, 16, 16)
    present = {"image0": torch.tensor([True, False, True])}
    output = Output(unit="output")
    measured = faithfulness(model, inputs, present, method=given(heat), baseline=nothing, output=output, **QUICK)
    assert [curves.deletion[0, -1].item() for curves in measured.curves] == [0, 512]
    assert [curves.insertion[0, 0].item() for curves in measured.curves] == [0, 512]


def test_class_is_fixed_by_unchanged_case() -> None:
    model = small_model("concat")
    inputs = batch_for(model, 3)
    asked: list[tuple[int, int]] = []

    def method(
        model: FusionModel, inputs: Inputs, present: Present | None = None, /, *, image: str, output: Output
    ) -> Tensor:
        assert output.index is not None
        asked.append((output.index, len(image_of(inputs))))
        return image_of(inputs).mean(1) * (output.index + 1)

    heat = maps_of(method, model, inputs, None, "image0", Score("label", torch.tensor([2, 0, 2]), True))
    assert asked == [(0, 1), (2, 2)]
    expected = image_of(inputs).mean(1) * torch.tensor([3.0, 1.0, 3.0])[:, None, None]
    torch.testing.assert_close(heat.float(), expected, atol=1e-5, rtol=1e-5)


@SLOW
def test_methods_by_name() -> None:
    model = small_model("cfcml", size=(8, 8, 8))
    inputs = batch_for(model, 2)
    for name in METHODS:
        if name in ("integrated_gradients", "occlusion"):
            pytest.importorskip("captum")
        with left_as_it_was(model):
            measured: Faithfulness = faithfulness(model, inputs, method=name, cascade=name == "grad_cam", **QUICK)
        assert measured.method == name
        assert measured.heat.shape == (2, 8, 8, 8)
        if measured.cascade:
            assert next(iter(measured.cascade)) == "head"
            assert list(measured.cascade)[-1] == "encoders"
            assert torch.equal(measured.cascade["encoders"], measured.tests["random_weights"].values)
            assert measured.n_maps == 2 * (2 + len(measured.cascade))


@SLOW
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_are_finite(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = mmf.create_model("concat", make_spec(), dim=8).to(dtype)
    inputs = make_inputs(make_spec(), 2)
    inputs["image0"] = image_of(inputs).to(dtype)
    measured = faithfulness(model, inputs, method="hires_cam", baseline="blur", **QUICK)
    assert all(test.values.isfinite().all() for test in measured.tests.values())


def test_invalid_inputs_raise() -> None:
    model = small_model("concat")
    inputs = batch_for(model, 2)
    nan = torch.full((2, 16, 16), torch.nan)
    for options, message in (
        ({"method": "eigen_cam"}, "grad_cam_plus_plus, .* or a function, got 'eigen_cam'"),
        ({"image": "photo"}, "image0"),
        ({"n_steps": 1}, "n_steps"),
        ({"noise": 0}, "noise"),
        ({"masks": torch.zeros(2, 8, 8, dtype=torch.bool)}, r"masks expects \(2, 16, 16\) torch.bool"),
        ({"masks": torch.zeros(2, 16, 16)}, "float32"),
        ({"method": given(nan)}, r"\[0, 1\], of those that have the image, have NaN"),
        ({"method": given(torch.zeros(2, 4, 4))}, r"maps of shape \(\d, 16, 16\)"),
    ):
        with pytest.raises(ValueError, match=message):
            faithfulness(model, inputs, **{**QUICK, **options})
    with pytest.raises(ValueError, match="give the pixels"):
        faithfulness(model, dict(inputs) | model.encode(inputs))
    with pytest.raises(ValueError, match="no case of the batch has the image 'image0'"):
        faithfulness(model, inputs, {"image0": torch.zeros(2, dtype=torch.bool)})
    tables = small_model("tabular", images=0)
    with pytest.raises(ValueError, match="heat maps need a model with images"):
        faithfulness(tables, batch_for(tables))
