import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.images.intensity import Intensity


def scans(n: int = 70, channels: int = 2) -> torch.Tensor:
    """Values around a channel's own level, with some far out."""
    generator = torch.Generator().manual_seed(0)
    x = 300 * torch.rand(n, channels, 3, 4, 5, generator=generator) + 400
    x[:, 1:] += 200
    x[0, 0, 0, 0, 0], x[1, 0, 0, 0, 0] = 9000, -50
    return x


def test_default_is_identity():
    assert Intensity().idle
    x = scans()
    assert Intensity()(x) is x
    assert Intensity().fit(x) == Intensity()


def test_image_standardization_matches_reference():
    x = scans(4, 1)
    men = Intensity("image", clip=(0, 1200))
    out = men(x)
    for case in range(4):
        clipped = x[case].clamp(0, 1200).double()
        assert torch.allclose(out[case].double(), (clipped - clipped.mean()) / clipped.std(correction=0), atol=1e-5)
    assert men.fit(x) is men


def test_image_standardization_keeps_channel_differences():
    out = Intensity("image")(scans())
    assert out.flatten(1).mean(1).abs().max() < 1e-5
    assert (out[:, 1].mean() - out[:, 0].mean()) > 0.5


def test_sequence_standardization_uses_training_statistics():
    x = scans()
    present = torch.arange(70) % 3 != 0
    fitted = Intensity("sequence", clip=(0, 1200)).fit(x, present)
    kept = x[present].clamp(0, 1200).double().transpose(0, 1).flatten(1)
    assert fitted.mean == pytest.approx(kept.mean(1).tolist(), rel=1e-12)
    assert fitted.std == pytest.approx(kept.std(1, correction=0).tolist(), rel=1e-9)
    out = fitted(x[present]).transpose(0, 1).flatten(1)
    assert out.mean(1).abs().max() < 1e-5
    assert torch.allclose(out.std(1, correction=0), torch.ones(2), atol=1e-5)
    # What absent cases hold is not looked at.
    spoilt = x.clone()
    spoilt[~present] = torch.nan
    assert Intensity("sequence", clip=(0, 1200)).fit(spoilt, present) == fitted


@given(st.sampled_from([0.1, 1 / 3, 1199.9, 5000.0, -7.7]), st.sampled_from(["image", "sequence"]))
def test_constant_volume_gives_zeros(value, standardize):
    x = torch.full((3, 1, 5, 6, 7), value)
    for clip in (None, (0, 1200)):
        intensity = Intensity(standardize, clip=clip).fit(x)
        out = intensity(x)
        assert out.isfinite().all()
        assert out.abs().max() < 1e-3
        if standardize == "image":
            assert not out.any()


@pytest.mark.parametrize("standardize", ["none", "image", "channel", "sequence"])
def test_absent_image_has_no_effect(standardize):
    x = scans()
    intensity = Intensity(standardize, clip=(0, 1200)).fit(x)
    spoilt = x.clone()
    spoilt[3], spoilt[4] = torch.nan, torch.inf
    others = torch.tensor([i for i in range(70) if i not in (3, 4)])
    assert torch.equal(intensity(spoilt)[others], intensity(x)[others])


def test_byte_images_are_scaled_to_unit_range():
    x = torch.randint(0, 256, (40, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(Intensity()(x), x.float() / 255)
    fitted = Intensity("sequence").fit(x)
    assert fitted.mean == pytest.approx((x.double() / 255).mean(dim=(0, 2, 3)).tolist(), abs=1e-7)


@pytest.mark.parametrize(("dtype", "out"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_output_dtype_by_input_dtype(dtype, out):
    assert Intensity("image")(scans(3).to(dtype)).dtype == out


@pytest.mark.parametrize(
    "intensity",
    [Intensity(), Intensity("image", clip=(0, 1200)), Intensity("sequence"), Intensity("sequence").fit(scans())],
)
def test_json_round_trip_is_exact(intensity):
    assert Intensity.from_dict(json.loads(json.dumps(intensity.to_dict()))) == intensity


def test_json_of_older_runs_is_read():
    """The key keeps the spelling that run folders have."""
    packed = {"standardise": "channel", "clip": [0.0, 9.0], "mean": [], "std": []}
    intensity = Intensity("channel", clip=(0, 9))
    assert intensity.to_dict() == packed
    assert Intensity.from_dict(packed) == intensity


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Intensity("zscore"), "standardize expects one of none, image, channel, sequence, got 'zscore'"),
        (lambda: Intensity(clip=(1, 0)), "clip expects .* in ascending order"),
        (lambda: Intensity(clip=(1,)), "clip expects"),
        (lambda: Intensity("sequence", mean=(1.0,)), "a mean and a std"),
        (lambda: Intensity("sequence", mean=(1.0,), std=(0.0,)), "std expects .* above 0"),
        (lambda: Intensity("image", mean=(1.0,), std=(1.0,)), "only for standardize='sequence'"),
        (lambda: Intensity("sequence")(scans()), "is not fitted, the images have 2"),
        (lambda: Intensity("sequence").fit(scans())(scans(channels=1)), "is fitted for 2 channels, the images have 1"),
        (lambda: Intensity("sequence").fit(scans()[:0]), "needs training images"),
        (lambda: Intensity("sequence").fit(scans(), torch.zeros(70, dtype=torch.bool)), "needs training images"),
        (lambda: Intensity("sequence").fit(scans() * torch.nan), "needs finite values"),
    ],
)
def test_invalid_options_and_inputs_raise(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_channel_standardization_matches_reference():
    images = torch.rand(3, 2, 4, 4, 2) * torch.tensor([1.0, 900.0]).view(1, 2, 1, 1, 1)
    result = Intensity("channel")(images)
    for i in range(3):
        expected = Intensity("image")(images[i].unsqueeze(1))[:, 0]
        torch.testing.assert_close(result[i], expected)
    assert torch.equal(Intensity("channel")(images[:, :1]), Intensity("image")(images[:, :1]))
