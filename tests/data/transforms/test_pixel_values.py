import colorsys

import pytest
import torch

from mmfusion.data.transforms import pixel_values


def colours(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 4, 5)


def test_brightness_contrast_and_saturation_by_hand():
    image, factor = colours(), torch.tensor([0.5, 1.2])
    by = factor.view(2, 1, 1, 1)
    assert torch.allclose(pixel_values.brightness(image, factor), image * by)
    assert torch.allclose(pixel_values.gain(image, factor), image * by)
    mean = torch.stack([case.mean() for case in image]).view(2, 1, 1, 1)
    assert torch.allclose(pixel_values.contrast(image, factor), mean + by * (image - mean), atol=1e-6)
    grey = (0.299 * image[:, 0] + 0.587 * image[:, 1] + 0.114 * image[:, 2]).unsqueeze(1)
    assert torch.allclose(pixel_values.saturation(image, factor), grey + by * (image - grey), atol=1e-6)


@pytest.mark.parametrize("function", [pixel_values.saturation, pixel_values.hue])
def test_color_changes_leave_gray_image_unchanged(function):
    grey = torch.rand(2, 1, 4, 4)
    assert function(grey, torch.tensor([0.2, 0.3])) is grey
    three = grey.expand(-1, 3, -1, -1)
    assert torch.allclose(function(three, torch.tensor([0.2, 0.3])), three, atol=1e-5)


def test_hue_is_close_to_hsv_rotation():
    pure = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(3, 3, 1, 1)
    # A third of the circle, either way.
    turned = [
        pixel_values.hue(pure, torch.full((3,), turn)).clamp(0, 1).flatten(1).tolist() for turn in (1 / 3, -1 / 3)
    ]
    for out in turned:
        for before, after in zip(pure.flatten(1).tolist(), out):
            distance = abs(colorsys.rgb_to_hsv(*after)[0] - colorsys.rgb_to_hsv(*before)[0]) % 1
            assert min(distance, 1 - distance) == pytest.approx(1 / 3, abs=0.09)
    assert turned[0][0].index(max(turned[0][0])) != turned[1][0].index(max(turned[1][0]))


def test_hue_keeps_luma_and_is_invertible():
    image = colours().double()
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    out = pixel_values.hue(image, torch.tensor([0.13, 0.4]))
    assert torch.allclose(torch.einsum("bchw,c->bhw", out, luma), torch.einsum("bchw,c->bhw", image, luma))
    assert torch.allclose(pixel_values.hue(out, torch.tensor([-0.13, 0.6])), image)


def test_gamma_acts_on_range_of_each_channel():
    volume = 10 * torch.rand(2, 2, 3, 4, 5) - 5
    volume[1, 1] = 3.0
    out = pixel_values.gamma(volume, torch.tensor([2.0, 0.5]))
    for case, power in enumerate((2.0, 0.5)):
        for channel in range(2):
            x = volume[case, channel]
            low, high = x.min(), x.max()
            wanted = x if low == high else low + (high - low) * ((x - low) / (high - low)) ** power
            assert torch.allclose(out[case, channel], wanted, atol=1e-5)
    assert torch.allclose(pixel_values.gamma(volume, torch.ones(2)), volume, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_bias_field_is_smooth_and_multiplicative(shape):
    image = torch.rand(2, 1, *shape) - 0.3
    nodes = 2 * torch.rand(2, *[4] * len(shape)) - 1
    out = pixel_values.bias_field(image, nodes)
    low = image.amin(dim=tuple(range(2, image.ndim)), keepdim=True)
    present = (image - low) > 1e-3
    field = ((out - low) / (image - low)).log()
    # The corners of the image are the corners of the grid.
    corner, last = (0, 0, *[0] * len(shape)), (1, 0, *[-1] * len(shape))
    for place, node in ((corner, nodes[(0, *[0] * len(shape))]), (last, nodes[(1, *[-1] * len(shape))])):
        if present[place]:
            assert field[place] == pytest.approx(float(node), abs=1e-3)
    assert field[present].abs().max() <= 1.001
    assert torch.allclose(pixel_values.bias_field(image, torch.zeros_like(nodes)), image, atol=1e-6)


def test_shift_is_in_standard_deviations():
    image = torch.stack([torch.rand(1, 3, 4, 5), 100 * torch.rand(1, 3, 4, 5), torch.full((1, 3, 4, 5), 2.0)])
    out = pixel_values.shift(image, torch.tensor([0.5, -0.5, 3.0]))
    wanted = [0.5 * image[0].std(correction=0), -0.5 * image[1].std(correction=0), torch.tensor(0.0)]
    for case in range(3):
        assert torch.allclose(out[case], image[case] + wanted[case], atol=1e-4)


def test_noise_has_given_deviation():
    image = torch.zeros(3, 1, 20, 30, 40)
    out = pixel_values.noise(image, torch.tensor([0.0, 0.5, 2.0]), seed=3)
    assert torch.equal(out[0], image[0])
    assert out[1].std() == pytest.approx(0.5, rel=0.02)
    assert out[2].std() == pytest.approx(2.0, rel=0.02)
    assert not torch.allclose(out[1] * 4, out[2])
    assert torch.equal(out, pixel_values.noise(image, torch.tensor([0.0, 0.5, 2.0]), seed=3))
    assert not torch.equal(out, pixel_values.noise(image, torch.tensor([0.0, 0.5, 2.0]), seed=4))
