from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion import registry
from mmfusion.comparison import grid
from mmfusion.comparison.search_space import SHARED, points, search_space, value_of
from mmfusion.experiments.settings import Settings, resolve
from mmfusion.models.registration import NOMINAL
from mmfusion.options import Among, LogUniform, Uniform
from mmfusion.spec import Columns, DataSpec

TABLE = DataSpec({"table": Columns(("number",), (("category", 2),))}, n_classes=2)
FIRST = [
    [0.475107193, 0.592523992, 0.494479209, 0.313851744, 0.956091821, 0.083302237],
    [0.629703245, 0.458387766, 0.864882908, 0.935028371, 0.114407548, 0.653826983],
]


def settings(name: str = "concat", /, **sections: dict[str, Any]) -> Settings:
    return resolve(name, overrides=[sections])


def test_points_are_stable() -> None:
    """A version of torch that draws others would start all trials again."""
    np.testing.assert_allclose(points(2), FIRST, atol=1e-9)
    assert (points(16)[:2] == points(2)).all()


@given(st.integers(0, 7))
def test_points_are_evenly_spread_per_column(power: int) -> None:
    n = 2**power
    strata = np.sort(np.floor(points(n) * n), axis=0)
    assert (strata == np.arange(n)[:, None]).all()


@pytest.mark.parametrize(("n", "words"), [(12, "8 or 16, got 12"), (0, "16, got 0"), (-4, "16, got -4")])
def test_non_power_of_two_raises(n: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"trials expects a power of two, .*: {words}"):
        points(n)


def test_shared_settings_and_ranges() -> None:
    space = search_space(settings(train={"lr": 0.002}), NOMINAL)
    assert space.ranges == {
        "train.lr": LogUniform(2e-4, 2e-2),
        "train.weight_decay": LogUniform(1e-5, 0.1),
        "model.dropout": Uniform(0, 0.7),
        "train.encoder_lr_scale": LogUniform(0.03, 3),
    }
    assert tuple(space.ranges) == SHARED
    assert not space.dropped
    middle = {"train.lr": 0.002, "train.weight_decay": 0.001, "model.dropout": 0.35, "train.encoder_lr_scale": 0.3}
    assert space.values(np.full(6, 0.5)) == middle


def test_dropped_setting_does_not_move_others() -> None:
    point = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    whole = search_space(settings("cfcml"), NOMINAL)
    assert list(whole.ranges) == [*SHARED, "model.image_latents", "model.crossmodal_weight"]
    fewer = search_space(settings("cfcml", train={"freeze": "all"}, model={"hidden": []}), NOMINAL)
    assert fewer.dropped == {
        "train.encoder_lr_scale": "the encoder is frozen",
        "model.dropout": "the head has no hidden layer",
    }
    assert fewer.values(point).items() < whole.values(point).items()


@pytest.mark.parametrize(
    ("model", "spec", "sections", "dropped"),
    [
        ("tabular", NOMINAL, {}, {"train.encoder_lr_scale": "the method has no image encoder"}),
        ("concat", TABLE, {}, {"train.encoder_lr_scale": "the method has no image encoder"}),
        ("concat", NOMINAL, {"train": {"weight_decay": 0.0}}, {"train.weight_decay": "it is off in the recipe"}),
        ("lmf", NOMINAL, {"model": {"rank": None}}, {"model.rank": "it is off in the recipe"}),
        ("amf", NOMINAL, {"model": {"density_weight": 0.0}}, {"model.density_weight": "it is off in the recipe"}),
        ("image", NOMINAL, {}, {}),
    ],
)
def test_settings_without_effect_are_dropped(
    model: str, spec: DataSpec, sections: dict[str, Any], dropped: dict[str, str]
) -> None:
    assert search_space(settings(model, **sections), spec).dropped == dropped


def test_options_in_name_are_fixed(tmp_path: Path) -> None:
    """Options in brackets, and what an ablation changes: an ablation without a loss does not get it back."""
    methods = grid.methods("mbt[n_bottlenecks=2, train.lr=0.1],cfcml", ["no-crossmodal-anchor"])
    planned = grid.plan(methods, ["synthetic_derm7pt"], [{"model": {"n_heads": 2}}], out=tmp_path)
    assert {run.label: run.fixed for run in planned} == {
        "mbt[n_bottlenecks=2, train.lr=0.1]": ("model.n_bottlenecks", "train.lr"),
        "cfcml": (),
        "cfcml: no-crossmodal-anchor": ("model.crossmodal_weight",),
    }
    for run in planned:
        space = search_space(run.settings, NOMINAL, run.fixed)
        assert space.dropped == dict.fromkeys(run.fixed, "it is part of the method's name")


def test_search_space_of_blueprint_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[head]\nname = 'mlp'\nhidden = [8]\ndropout = 0.25\n")
    mine = resolve(str(tmp_path / "mine.toml"))
    assert tuple(search_space(mine, NOMINAL).ranges) == SHARED
    assert value_of(mine, "model.dropout") is None
    (tmp_path / "bare.toml").write_text("[head]\nname = 'mlp'\nhidden = []\n")
    assert "model.dropout" in search_space(resolve(str(tmp_path / "bare.toml")), NOMINAL).dropped


def test_search_space_of_custom_builder(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def builder(spec: DataSpec, *, width: Annotated[int, Among(4, 8)] = 8) -> None: ...

    monkeypatch.setitem(registry.models._builders, "tiny", builder)
    space = search_space(resolve("tiny", "tiny"), TABLE)
    assert list(space.ranges) == ["train.lr", "train.weight_decay", "model.width"]
    assert space.dropped == {
        "train.encoder_lr_scale": "the method has no image encoder",
        "model.dropout": "the method has no dropout",
    }


def test_too_many_options_raise(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Annotated[int, Among(4, 8)]

    def builder(spec: DataSpec, *, a: kind = 4, b: kind = 4, c: kind = 4) -> None: ...

    monkeypatch.setitem(registry.models._builders, "tiny", builder)
    with pytest.raises(ValueError, match=r"declares 3 options tunable \(a, b, c\), at most 2"):
        search_space(resolve("tiny", "tiny"), TABLE)


def test_method_not_for_the_data_raises() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        search_space(settings("tip"), TABLE)
