"""Dtypes and values at every entrance of a model: cast, or refused with one line."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from helpers.small import TABLE, make_inputs
from mmfusion import backbones, losses, tokenizers
from mmfusion.fusion.vectors import Concat
from mmfusion.heads import MLPHead
from mmfusion.models import FusionModel, ImageEncoders
from mmfusion.pooling import MeanPooling
from mmfusion.spec import Classes, DataSpec, Image
from mmfusion.tokens import LossInputs, Maps, Table

N = 4
SPEC = DataSpec({"photo": Image(3, (16, 16)), "scan": Image(1, (8, 8, 8)), "meta": TABLE}, n_classes=3)
WHOLE = [torch.uint8, torch.int64, torch.int8, torch.bool, torch.complex64]
FLOATING = [torch.float64, torch.float16, torch.bfloat16]


def build(dtype: torch.dtype = torch.float32) -> FusionModel:
    torch.manual_seed(0)
    encoders = ImageEncoders(
        SPEC.images,
        {
            "photo": backbones.ConvNet(widths=(4, 8)),
            "scan": backbones.ConvNet(widths=(4, 8), n_axes=3, in_channels=1),
        },
    )
    return FusionModel(
        encoders=encoders,
        tokenizers={
            "photo": tokenizers.Pool(SPEC["photo"], encoders.map_shapes["photo"], dim=8),
            "scan": tokenizers.Pool(SPEC["scan"], encoders.map_shapes["scan"], dim=8),
            "meta": tokenizers.FeatureTokenizer(TABLE, dim=8),
        },
        pooling=MeanPooling(),
        vectors=Concat(SPEC.names, dim=8),
        head=MLPHead(SPEC.targets, dim=24),
    ).to(dtype)


@cache
def evaluated() -> FusionModel:
    return build().eval()


def converted(value: Any, dtype: torch.dtype) -> Any:
    """One entrance in another dtype: of a table the numbers."""
    if isinstance(value, Maps):
        return Maps(tuple(stage.to(dtype) for stage in value.stages))
    return value._replace(numerical=value.numerical.to(dtype)) if isinstance(value, Table) else value.to(dtype)


def batch(entrance: str) -> tuple[dict[str, Any], str]:
    """Inputs, and the modality that the entrance is of."""
    inputs: dict[str, Any] = dict(make_inputs(SPEC, N))
    if entrance == "maps":
        with torch.no_grad():
            return {**inputs, **evaluated().encode({"photo": inputs["photo"]})}, "photo"
    return inputs, entrance


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("entrance", ["photo", "scan", "meta", "maps"])
def test_other_floating_dtype_is_cast(entrance: str, dtype: torch.dtype) -> None:
    inputs, name = batch(entrance)
    given = {**inputs, name: converted(inputs[name], dtype)}
    expected = {**inputs, name: converted(given[name], torch.float32)}
    model = evaluated()
    model.check(given)
    with torch.no_grad():
        output = model(given).logits
        assert output.dtype == torch.float32
        assert torch.equal(output, model(expected).logits)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_float32_is_cast_to_dtype_of_model(dtype: torch.dtype) -> None:
    inputs, model = make_inputs(SPEC, N), build(dtype).eval()
    with torch.no_grad():
        assert model(inputs).logits.dtype == dtype
        assert {stage.dtype for maps in model.encode(inputs).values() for stage in maps.stages} == {dtype}


def test_encoder_casts_input() -> None:
    x = make_inputs(SPEC, N)["photo"]
    encoder = backbones.ConvNet(widths=(4, 8)).eval()
    with torch.no_grad():
        for maps, expected in zip(encoder(x.double()), encoder(x), strict=True):
            assert torch.equal(maps, expected)


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("entrance", ["photo", "scan", "meta", "maps"])
def test_integer_inputs_raise_with_their_name(entrance: str, dtype: torch.dtype) -> None:
    inputs, name = batch(entrance)
    given = {**inputs, name: converted(inputs[name], dtype)}
    for call in (evaluated(), evaluated().check):
        with pytest.raises(ValueError, match=rf"^[^\n]*'{name}'[^\n]*{dtype}|^the maps of 'photo' must be floating"):
            call(given)


CATEGORIES = torch.zeros(N, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "present", "message"),
    [
        *(
            (
                {"meta": Table(torch.zeros(N, 2), CATEGORIES.to(dtype))},
                None,
                f"'meta': categorical cells .*int64.*{dtype} ",
            )
            for dtype in (torch.int32, torch.uint8, torch.float32, torch.bool)
        ),
        (
            {"meta": Table([[0.0, 0.0]] * N, CATEGORIES)},
            None,
            "'meta': numerical cells must be float.*got list",
        ),
        ({"meta": (torch.zeros(N, 2), CATEGORIES)}, None, "'meta' must be a Table.*got tuple"),
        ({"meta": None}, None, "'meta' must be a Table.*got NoneType"),
        ({"photo": [[0.0]]}, None, "'photo' must be floating point .*got list$"),
        ({"photo": torch.zeros(N, 3, 16, 16).numpy()}, None, "'photo' must be floating point .*got ndarray$"),
        ({"photo": Maps(([0.0], [0.0]))}, None, "the maps of 'photo' must be floating point .*got list"),
        ({"photo": Maps(())}, None, "the maps of 'photo' must be 2, one per stage, got 0"),
        ({}, {"photo": torch.ones(N)}, r"present\['photo'\] must be bool .*got torch.float32"),
        ({}, {"photo": torch.ones(N, dtype=torch.uint8)}, r"present\['photo'\] must be bool .*got torch.uint8"),
        ({}, {"photo": None}, r"present\['photo'\] must be bool .*got NoneType"),
        ({}, torch.ones(N, dtype=torch.bool), "present must be a dictionary by modality.*got Tensor$"),
        ({}, [True] * N, "present must be a dictionary by modality.*got list$"),
    ],
)
def test_wrong_input_types_raise(change: dict[str, Any], present: Any, message: str) -> None:
    for call in (evaluated(), evaluated().check):
        with pytest.raises(ValueError, match=message):
            call({**make_inputs(SPEC, N), **change}, present)


@pytest.mark.parametrize("inputs", [torch.zeros(N, 3, 16, 16), [1], None])
def test_inputs_not_a_dict_raise(inputs: Any) -> None:
    with pytest.raises(ValueError, match=r"inputs must be a dictionary by modality, .*'photo', 'scan', 'meta'"):
        evaluated()(inputs)


def changed(change: Callable[[torch.Tensor], torch.Tensor], case: int | None = None) -> dict[str, Any]:
    inputs: dict[str, Any] = dict(make_inputs(SPEC, N))
    x = inputs["photo"]
    inputs["photo"] = change(x)
    if case is not None:
        inputs["photo"] = torch.where((torch.arange(N) == case).view(-1, 1, 1, 1), inputs["photo"], x)
    return inputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize(
    ("change", "case", "message"),
    [
        (lambda x: x * 255, None, r"'photo' has pixels from \S+ to 25\S+ in 4 of 4 cases, the first is case 0"),
        (lambda x: x * 255, 2, "in 1 of 4 cases, the first is case 2.*Divide values of 0 to 255 by 255"),
        (lambda x: x * 2 - 1, None, r"pixels from -\S+ to \S+ in 4 of 4 cases.*standardized=\[name\]"),
        (lambda x: x / x.amax() * 1.01, 3, "the first is case 3"),
    ],
)
def test_check_out_of_range_pixels_raise(change: Any, case: int | None, message: str, dtype: torch.dtype) -> None:
    inputs = changed(change, case)
    inputs["photo"] = inputs["photo"].to(dtype)
    model = evaluated()
    with pytest.raises(ValueError, match=message):
        model.check(inputs)
    model.check(inputs, standardized=["photo"])
    absent = {"photo": torch.zeros(N, dtype=torch.bool) if case is None else torch.arange(N) != case}
    model.check(inputs, absent)


def test_standardized_images_have_any_range() -> None:
    """Scans have no fixed range; rounding errors are allowed; constant images of 0 or 1 are in range."""
    inputs: dict[str, Any] = dict(make_inputs(SPEC, N))
    for x in (torch.zeros(N, 3, 16, 16), torch.ones(N, 3, 16, 16), torch.full((N, 3, 16, 16), 1.0004)):
        evaluated().check({**inputs, "photo": x, "scan": inputs["scan"] * 4000 - 1000})
    with pytest.raises(
        ValueError, match=r"standardized names \['meta'\]; the image modalities are \['photo', 'scan'\]"
    ):
        evaluated().check(inputs, standardized=["meta"])


@pytest.mark.parametrize(
    "labels", [torch.zeros(N), torch.zeros(N).int(), torch.zeros(N).bool(), torch.zeros(N, 1).long(), [0] * N]
)
def test_labels_of_wrong_dtype_raise(labels: Any) -> None:
    logits = torch.randn(N, 3)
    for call in (
        lambda: losses.cross_entropy_loss(logits, labels),
        lambda: losses.Objective({"label": Classes(3)})(LossInputs({"label": logits}, {}, {"label": labels}, {}, {})),
    ):
        with pytest.raises(ValueError, match=r"(labels|targets) must be .*int64.* of shape \(4,\), got [^\n]*$"):
            call()
