import pytest
import torch

from mmfusion.data.cases import Cases
from mmfusion.data.transforms import Augment, pixel_values
from mmfusion.data.transforms import augment as augment_module
from mmfusion.tokens import Bag, Table


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


GEOMETRY = {"flips": True, "rotate": 20, "scale": 0.1, "translate": 0.2, "shear": 10, "crop": 0.4, "aspect": 0.3}
COLOURS = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}
SCANS = {"gamma": 0.5, "bias": 0.3, "gain": 0.2, "shift": 0.2, "noise": 0.1}
ALL = {**GEOMETRY, **COLOURS, **SCANS, "erase": 1.0}


def test_default_is_identity():
    cases = batch()
    assert Augment().idle
    assert Augment()(cases, seeded()) is cases


@pytest.mark.parametrize("settings", [ALL, *({name: value} for name, value in ALL.items())])
def test_settings_change_images_only(settings):
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


def test_flips_are_one_of_four_per_case():
    cases = batch(n=64)
    image, out = cases.inputs["derm"], Augment(flips=True)(cases, seeded()).inputs["derm"]
    ways = [image, image.flip(2), image.flip(3), image.flip(2, 3)]
    which = [[torch.equal(out[i], way[i]) for way in ways] for i in range(64)]
    assert all(sum(row) == 1 for row in which)
    assert all(any(row[k] for row in which) for k in range(4))


def test_flips_in_resampling_match_exact_flips():
    # The smallest turn that goes through the resampling at all.
    cases = batch(n=64)
    exact = Augment(flips=True)(cases, seeded()).inputs["derm"]
    resampled = Augment(flips=True, rotate=1e-5)(cases, seeded()).inputs["derm"]
    assert torch.allclose(exact, resampled, atol=1e-4)


@pytest.mark.parametrize("setting", [*GEOMETRY, *SCANS, "erase"])
def test_volumes_are_not_clamped(setting):
    cases = batch(n=32, shape=(1, 4, 5, 6))
    cases = cases._replace(inputs={"t1": 10 * cases.inputs["derm"] - 5})
    image, augment = cases.inputs["t1"], Augment(**{setting: ALL[setting]})
    out = augment(cases, seeded()).inputs["t1"]
    assert out.shape == image.shape
    assert not torch.equal(out, image)
    assert out.isfinite().all()
    assert out.min() < -4
    assert out.max() > 4
    coloured = Augment(**{setting: ALL[setting]}, **COLOURS)(cases, seeded()).inputs["t1"]
    assert torch.equal(coloured, out)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 6, 6)])
def test_settings_have_independent_random_streams(shape, monkeypatch):
    """Each function receives the same numbers whether its setting is used alone or with all."""
    given: list[tuple[str, list]] = []

    def spy(function):
        def noted(image, *numbers):
            given.append((function.__name__, [n.tolist() if isinstance(n, torch.Tensor) else n for n in numbers]))
            return function(image, *numbers)

        return noted

    for name in (*COLOURS, "gamma", "bias_field", "gain", "shift", "noise"):
        monkeypatch.setattr(pixel_values, name, spy(getattr(pixel_values, name)))
    monkeypatch.setattr(augment_module, "erased", spy(augment_module.erased))
    monkeypatch.setattr(augment_module, "warp", lambda image, geometry, *_, **__: (drawn.append(geometry), image)[1])
    drawn = []
    Augment(**ALL)(batch(shape=shape), seeded())
    (whole,), all_given = drawn, dict(given)
    for setting, value in ALL.items():
        given.clear()
        drawn.clear()
        Augment(**{setting: value})(batch(shape=shape), seeded())
        assert all(all_given[name] == numbers for name, numbers in given)
        # A geometry setting has one field of its own; the others are at rest.
        fields = {"flips": "flip", "rotate": "angle", "scale": "zoom", "translate": "shift", "shear": "slant"}
        fields |= {"crop": "kept", "aspect": "stretch"}
        if setting in fields:
            assert torch.equal(getattr(drawn[0], fields[setting]), getattr(whole, fields[setting]))
    assert set(all_given) >= {"gamma", "bias_field", "gain", "shift", "noise", "erased"}


def test_modalities_have_independent_random_streams():
    item, two = batch(names=("derm",)), batch(names=("derm", "clinic"))
    two.inputs["derm"] = item.inputs["derm"]
    settings = {**COLOURS, **SCANS, "erase": 1.0}
    outs = [Augment(**settings)(Cases({"derm": c.inputs["derm"]}, {}, {}, c.position), seeded()) for c in (item, two)]
    assert torch.equal(outs[0].inputs["derm"], outs[1].inputs["derm"])
    both = Augment(**settings)(two._replace(inputs={"x": two.inputs["derm"], "y": two.inputs["derm"]}), seeded())
    assert not torch.equal(both.inputs["x"], both.inputs["y"])


def test_flips_use_first_random_numbers():
    cases = batch(n=6)
    coin = torch.rand(6, 3, generator=seeded(4)) < 0.5
    wanted = torch.stack(
        [
            image.flip([axis + 1 for axis in range(2) if heads[axis]]) if heads[:2].any() else image
            for image, heads in zip(cases.inputs["derm"], coin)
        ]
    )
    assert torch.equal(Augment(flips=True)(cases, seeded(4)).inputs["derm"], wanted)


@pytest.mark.parametrize("settings", [ALL, *({name: value} for name, value in ALL.items())])
@pytest.mark.parametrize("shape", [(3, 9, 9), (1, 4, 5, 5)])
def test_absent_image_has_no_effect(settings, shape):
    cases = batch(n=6, shape=shape)
    cases.present["derm"] = torch.tensor([True, False, True, True, False, True])
    spoilt = cases.inputs["derm"].clone()
    spoilt[1], spoilt[4] = torch.nan, torch.inf
    clean, other = (
        Augment(**settings)(cases._replace(inputs={**cases.inputs, "derm": image}), seeded()).inputs["derm"]
        for image in (cases.inputs["derm"], spoilt)
    )
    mask = cases.present["derm"]
    assert torch.equal(clean[mask], other[mask])
    assert clean.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 6, 8, 8)])
def test_other_dtypes_match_float32(dtype, shape):
    cases = batch(n=4, shape=shape)
    cases.inputs["derm"] = cases.inputs["derm"].bfloat16().float()
    settings = {**ALL, "noise": 0.0, "erase": 0.0}
    wanted = Augment(**settings)(cases, seeded()).inputs["derm"]
    low = cases._replace(inputs={"derm": cases.inputs["derm"].to(dtype)})
    out = Augment(**settings)(low, seeded()).inputs["derm"]
    assert out.dtype == dtype
    # Computed in full precision: one rounding at the end of each of two parts, and no more.
    assert torch.allclose(out.float(), wanted, atol={torch.bfloat16: 0.03, torch.float16: 4e-3}.get(dtype, 1e-4))
    assert Augment(noise=0.1, erase=1)(low, seeded()).inputs["derm"].dtype == dtype


def test_clamp_is_optional():
    cases = batch()._replace(inputs={"x": 4 * batch().inputs["derm"] - 2})
    assert Augment(gain=0.1)(cases, seeded()).inputs["x"].min() == 0
    assert Augment(gain=0.1, clamp=False)(cases, seeded()).inputs["x"].min() < -1.5


def test_geometry_is_joint_and_erasing_is_not():
    cases = batch(names=("t1", "t2"))
    cases.inputs["t2"] = cases.inputs["t1"]
    moved = Augment(**GEOMETRY, joint=True)(cases, seeded()).inputs
    assert torch.equal(moved["t1"], moved["t2"])
    for settings in ({"erase": 1.0}, {"noise": 0.1}, {"brightness": 0.2}):
        out = Augment(**settings, joint=True)(cases, seeded()).inputs
        assert not torch.equal(out["t1"], out["t2"])


def test_table_augmentation_reports_changed_cells():
    cases = batch(n=200)
    cases.inputs["meta"] = Table(torch.arange(200.0)[:, None], torch.arange(200)[:, None])
    cases.present["meta"] = torch.arange(200) % 2 == 0
    augment = Augment.from_settings({"table": {"mask": 0.5}})
    assert augment.images_idle
    assert not augment.idle
    out = augment(cases, seeded())
    assert out.inputs["derm"] is cases.inputs["derm"]
    new, changed = out.inputs["meta"], out.aux["columns.masked"]
    assert torch.equal(new.numerical.isnan(), changed[:, :1])
    assert torch.equal(new.categorical == -1, changed[:, 1:])
    assert out.aux["columns.numerical"] is cases.inputs["meta"].numerical
    assert out.aux["columns.categorical"] is cases.inputs["meta"].categorical
    assert 0.4 < changed[::2].float().mean() < 0.6
    assert not changed[1::2].any()
    # With pictures changed too, the same cells.
    assert torch.equal(Augment(flips=True, table=augment.table)(cases, seeded()).aux["columns.masked"], changed)
    two = cases._replace(inputs={**cases.inputs, "more": cases.inputs["meta"]})
    assert not augment(two, seeded()).aux


def test_corruption_draws_from_fitted_rows():
    cases = batch()
    augment = Augment.from_settings({"table": {"corrupt": 1.0}})
    with pytest.raises(ValueError, match="call fit first"):
        augment(cases, seeded())
    fitted = augment.fit({"meta": Table(torch.tensor([[5.0]]), torch.tensor([[7]]))})
    out = fitted(cases, seeded()).inputs["meta"]
    assert out.numerical.eq(5).all()
    assert out.categorical.eq(7).all()
    assert fitted == augment


def test_rotation_keeps_center_and_distances():
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


def test_padding_modes():
    ones = batch()._replace(inputs={"derm": torch.ones(16, 3, 9, 9)})
    turned = {
        p: Augment(rotate=45, padding=p)(ones, seeded()).inputs["derm"] for p in ("reflection", "border", "zeros")
    }
    assert torch.allclose(turned["reflection"], torch.ones(16, 3, 9, 9), atol=1e-5)
    assert torch.allclose(turned["border"], torch.ones(16, 3, 9, 9), atol=1e-5)
    assert turned["zeros"].min() == 0


@pytest.mark.parametrize("joint", [True, False])
def test_joint_moves_modalities_together(joint):
    cases = batch(names=("t1", "t2"))
    cases.inputs["t2"] = cases.inputs["t1"]
    out = Augment(flips=True, rotate=30, joint=joint)(cases, seeded())
    assert torch.equal(out.inputs["t1"], out.inputs["t2"]) == joint


def test_saturation_leaves_gray_image_unchanged():
    cases = batch(shape=(1, 4, 4))
    assert torch.equal(Augment(saturation=0.5)(cases, seeded()).inputs["derm"], cases.inputs["derm"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": 10, "flip": True}, r"unknown keys \['flip', 'rotation'\]; valid: flips, rotate"),
        ({"fitted": {}}, r"unknown keys \['fitted'\]"),
        (
            {"crop": 1.0, "hue": 0.6},
            "crop expects float from 0 to 0.99, got 1.0; augmentation.hue expects float from",
        ),
        ({"joint": 1}, "joint expects bool, got 1"),
        ({"rotate": "far"}, "rotate expects float from 0 to 180, got 'far'"),
        ({"rotate": float("nan")}, "rotate expects float from 0 to 180, got nan"),
        ({"scale": True}, "scale expects float from 0 to 0.99, got True"),
        ({"erase_area": 0.0}, "erase_area expects float above 0 to 1, got 0.0"),
        ({"flips": [3]}, r"flips\[0\] expects int from -3 to 2, got 3"),
        ({"flips": [1, 1]}, "flips expects true, false or different axes"),
        ({"flips": []}, "flips expects true"),
        ({"plane": [1]}, "plane expects 2 values"),
        ({"plane": [2, -1]}, "plane expects two different axes"),
        ({"table": {"drop": 0.1}}, r"table has unknown keys \['drop'\]; valid: corrupt, mask, cutmix"),
        ({"table": {"rows": 3}}, r"table has unknown keys \['rows'\]"),
        ({"table": 0.1}, "table expects an object, got 0.1"),
        ({"table": {"mask": 1.5}}, "mask expects float from 0 to 1, got 1.5"),
        ({"rotate": 200}, "rotate expects float from 0 to 180, got 200"),
        ({"scale": -0.1}, "scale expects float from 0"),
        ({"brightness": 2}, "brightness expects float from 0 to 1"),
        ({"padding": "mirror"}, "padding expects"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment.from_settings(settings)


def test_missing_axis_raises():
    with pytest.raises(ValueError, match=r"has the axes \[2\], but the image has 2 spatial axes"):
        Augment(flips=(2,))(batch(), seeded())


BAG_MASK = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


def bags(x: torch.Tensor) -> Cases:
    everyone = torch.ones(len(x), dtype=torch.bool)
    return Cases({"derm": Bag(x, BAG_MASK)}, {"derm": everyone}, {}, torch.arange(len(x)))


@pytest.mark.parametrize("shape", [(3, 9, 9), (1, 6, 6, 4)], ids=["planar", "volume"])
def test_images_of_a_bag_are_augmented_independently(shape):
    """As so many cases of one image; what is no image contributes nothing, and becomes zeros."""
    augment = Augment(**(ALL if len(shape) == 3 else {**GEOMETRY, **SCANS, "erase": 1.0}), clamp=False)
    x = torch.rand(3, 3, *shape, generator=seeded(7))
    x[~BAG_MASK] = torch.nan
    changed = augment(bags(x), seeded()).inputs["derm"]
    n = int(BAG_MASK.sum())
    alone = Cases({"derm": x[BAG_MASK]}, {"derm": torch.ones(n, dtype=torch.bool)}, {}, torch.arange(n))
    assert torch.equal(changed.x[BAG_MASK], augment(alone, seeded()).inputs["derm"])
    assert not changed.x[~BAG_MASK].any()
    assert torch.equal(changed.mask, BAG_MASK)


def test_jointly_all_images_of_a_bag_have_one_geometry():
    x = torch.rand(3, 1, 3, 9, 9, generator=seeded(7)).repeat(1, 3, 1, 1, 1)
    changed = Augment(**GEOMETRY, joint=True)(bags(x), seeded()).inputs["derm"].x
    assert torch.equal(changed[0, 0], changed[0, 2])
    assert torch.equal(changed[2, 0], changed[2, 1])
    apart = Augment(**GEOMETRY)(bags(x), seeded()).inputs["derm"].x
    assert not torch.equal(apart[0, 0], apart[0, 2])


def test_bags_of_no_case_stay():
    x = torch.rand(3, 3, 3, 9, 9)
    cases = bags(x)._replace(inputs={"derm": Bag(x, torch.zeros_like(BAG_MASK))})
    assert torch.equal(Augment(**ALL)(cases, seeded()).inputs["derm"].x, x)
