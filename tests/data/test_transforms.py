import pytest
import torch

from mmfusion.data.cases import Cases
from mmfusion.data.transforms import Augment
from mmfusion.tokens import Table


def batch(n: int = 16, shape: tuple[int, ...] = (3, 9, 9), names: tuple[str, ...] = ("derm",)) -> Cases:
    generator = torch.Generator().manual_seed(7)
    images = {name: torch.rand(n, *shape, generator=generator) for name in names}
    table = Table(torch.full((n, 1), float("nan")), torch.zeros(n, 1, dtype=torch.int64))
    everyone = torch.ones(n, dtype=torch.bool)
    return Cases(
        {**images, "meta": table},
        dict.fromkeys((*names, "meta"), everyone),
        {"label": torch.zeros(n, dtype=torch.int64)},
        torch.arange(n),
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ALL = {"flips": True, "rotate": 20, "scale": 0.1, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}


def test_off_by_default():
    cases = batch()
    assert Augment().idle
    assert Augment()(cases, seeded()) is cases


@pytest.mark.parametrize("settings", [ALL, *({name: value} for name, value in ALL.items())])
def test_every_setting_changes_images_and_nothing_else(settings):
    cases, augment = batch(), Augment.from_settings(settings)
    before = cases.inputs["derm"].clone()
    out = augment(cases, seeded())
    assert not augment.idle
    assert torch.equal(cases.inputs["derm"], before)
    assert out.inputs["derm"].shape == before.shape
    assert not torch.equal(out.inputs["derm"], before)
    assert out.inputs["derm"].min() >= 0
    assert out.inputs["derm"].max() <= 1
    assert out.inputs["meta"] is cases.inputs["meta"]
    assert out.targets is cases.targets
    again = augment(cases, seeded())
    assert torch.equal(out.inputs["derm"], again.inputs["derm"])
    assert not torch.equal(out.inputs["derm"], augment(cases, seeded(1)).inputs["derm"])


def test_flips_are_one_of_four_for_each_case():
    cases = batch(n=64)
    image, out = cases.inputs["derm"], Augment(flips=True)(cases, seeded()).inputs["derm"]
    ways = [image, image.flip(2), image.flip(3), image.flip(2, 3)]
    which = [[torch.equal(out[i], way[i]) for way in ways] for i in range(64)]
    assert all(sum(row) == 1 for row in which)
    assert all(any(row[k] for row in which) for k in range(4))


def test_flips_in_the_resampling_are_the_same_flips():
    # The smallest turn that goes through the resampling at all.
    cases = batch(n=64)
    exact = Augment(flips=True)(cases, seeded()).inputs["derm"]
    resampled = Augment(flips=True, rotate=1e-5)(cases, seeded()).inputs["derm"]
    assert torch.allclose(exact, resampled, atol=1e-4)


def test_volumes_are_flipped_only():
    cases = batch(n=32, shape=(1, 2, 3, 4))
    out = Augment(**ALL)(cases, seeded()).inputs["derm"]
    image = cases.inputs["derm"]
    assert not torch.equal(out, image)
    assert torch.equal(out.flatten(1).sort().values, image.flatten(1).sort().values)


def test_a_turn_keeps_the_middle_and_lengths():
    turn = Augment(rotate=180, padding="zeros")
    points = torch.zeros(2, 8, 1, 9, 15)
    points[0, :, :, 4, 7] = 1
    points[1, :, :, 4, 10] = 1
    middle, other = (
        turn(batch(n=8)._replace(inputs={"derm": image}), seeded()).inputs["derm"][:, 0] for image in points
    )
    assert torch.allclose(middle[:, 4, 7], torch.ones(8), atol=1e-4)
    # The other point lies three pixels from the middle, wherever it went.
    y, x = torch.meshgrid(torch.arange(9.0) - 4, torch.arange(15.0) - 7, indexing="ij")
    mass = other.sum(dim=(1, 2))
    centre = torch.stack([(other * y).sum(dim=(1, 2)) / mass, (other * x).sum(dim=(1, 2)) / mass])
    assert torch.allclose(centre.norm(dim=0), torch.full((8,), 3.0), atol=0.2)
    assert centre.std(dim=1).min() > 0.3


def test_padding():
    ones = batch()._replace(inputs={"derm": torch.ones(16, 3, 9, 9)})
    turned = {
        p: Augment(rotate=45, padding=p)(ones, seeded()).inputs["derm"] for p in ("reflection", "border", "zeros")
    }
    assert torch.allclose(turned["reflection"], torch.ones(16, 3, 9, 9), atol=1e-5)
    assert torch.allclose(turned["border"], torch.ones(16, 3, 9, 9), atol=1e-5)
    assert turned["zeros"].min() == 0


@pytest.mark.parametrize("joint", [True, False])
def test_modalities_move_together_only_when_asked(joint):
    cases = batch(names=("t1", "t2"))
    cases.inputs["t2"] = cases.inputs["t1"]
    out = Augment(flips=True, rotate=30, joint=joint)(cases, seeded())
    assert torch.equal(out.inputs["t1"], out.inputs["t2"]) == joint


def test_colours_of_a_grey_image_have_no_saturation():
    cases = batch(shape=(1, 4, 4))
    assert torch.equal(Augment(saturation=0.5)(cases, seeded()).inputs["derm"], cases.inputs["derm"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": 10, "flip": True}, "unknown augmentation 'flip', 'rotation'; valid: flips, rotate"),
        ({"rotate": 200}, "rotate from 0 to 180, got 200"),
        ({"scale": -0.1}, "scale from 0"),
        ({"scale": 1.0}, "scale from 0"),
        ({"brightness": 2}, "brightness from 0 to 1"),
        ({"padding": "mirror"}, "padding"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment.from_settings(settings)
