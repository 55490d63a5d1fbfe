from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmfusion import registry
from mmfusion.comparison import grid
from mmfusion.experiments.settings import resolve

TABLE: dict[str, dict[str, Any]] = {"narrow": {"width": 2}, "wide": {"width": 16}, "as-it-is": {"width": 8}}


@pytest.fixture
def ablations(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.ablations.list()
    monkeypatch.setitem(registry.ablations._builders, "tiny", lambda: TABLE)


def labels(text: str, ablate: list[str] | None = None) -> list[str]:
    return [method.label for method in grid.methods(text, ablate)]


def test_methods_by_name_and_pattern() -> None:
    assert labels("cfcml") == ["cfcml"]
    assert labels("late, cfcml,late") == ["late", "cfcml"]
    assert labels("mm*") == ["mmcl", "mmcl_image", "mmtm"]
    assert labels("mmtm,mm*") == ["mmtm", "mmcl", "mmcl_image"]
    assert labels("all") == registry.models.list()


def test_options_in_brackets() -> None:
    plain, rows = grid.methods("tip,tip[pretrain=true, train.phase_epochs.pretrain=3]")
    assert (plain.label, plain.changes) == ("tip", {})
    assert (rows.label, rows.model) == ("tip[pretrain=true, train.phase_epochs.pretrain=3]", "tip")
    assert rows.changes == {"model": {"pretrain": True}, "train": {"phase_epochs": {"pretrain": 3}}}


def test_list_option_in_brackets() -> None:
    first, second = grid.methods("concat[hidden=[128, 16], dropout=0.5], concat[data.size=[8,8]]")
    assert first.label == "concat[hidden=[128, 16], dropout=0.5]"
    assert first.changes == {"model": {"hidden": [128, 16], "dropout": 0.5}}
    assert first.fixed == ("model.hidden", "model.dropout")
    assert second.changes == {"data": {"size": [8, 8]}}


FORMER = {
    "train": {"epochs": 5, "warmup_epochs": 0.5, "channels_last": False},
    "model": {"encoder": "convnet", "image_latents": 32, "table_latents": 24},
}
"""The recipe of synthetic_derm7pt until 2026-11-30, as far as it differs."""


@pytest.mark.parametrize(("model", "address"), [("cfcml", "7cebe81635"), ("concat", "22bc8950bc")])
def test_explicit_former_recipe_has_former_address(model: str, address: str) -> None:
    methods = grid.methods(f"{model},cfcml") if model == "concat" else grid.methods(model)
    former, now = (grid.plan(methods, ["synthetic_derm7pt"], layers)[0] for layers in ([FORMER], []))
    assert former.address == address
    assert now.address != address


def test_none_is_parsed_if_builder_accepts_it() -> None:
    # Weights are called none where there are none: the third is the first.
    low, whole = grid.plan(grid.methods("lmf,lmf[rank=none],lmf[weights=none]"), ["synthetic_derm7pt"])
    assert "rank" not in low.settings.model
    assert whole.settings.model["rank"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cfmcl", "unknown model 'cfmcl'; did you mean 'cfcml'"),
        ("cfmcl[dim=3]", "unknown model 'cfmcl'"),
        ("cfmcl,late,conct[dim=3]", "'cfmcl'; did you mean 'cfcml'.*; unknown model 'conct'; did you mean 'concat'"),
        ("zz*", "no model matches 'zz\\*'; there are: amf, cfcml"),
        (",", "model expects a name"),
        ("tip[pretrain]", "section.key=value"),
        ("concat[hidden=[128, 16]", "name\\[option=value\\] with closed brackets"),
        ("concat]", "with closed brackets"),
    ],
)
def test_unknown_methods_raise(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid.methods(text)


@pytest.mark.slow
@pytest.mark.usefixtures("ablations")
def test_ablations_are_methods() -> None:
    # 8 is the width anyway; a model without ablations is only itself.
    assert labels("late,tiny", []) == ["late", "tiny", "tiny: narrow", "tiny: wide"]
    assert labels("tiny[width=2]", []) == ["tiny[width=2]", "tiny[width=2]: wide", "tiny[width=2]: as-it-is"]
    assert labels("tiny", ["wide"]) == ["tiny", "tiny: wide"]
    assert grid.methods("tiny", ["wide"])[1].changes == {"model": {"width": 16}}
    with pytest.raises(ValueError, match="no ablation 'wid'; did you mean 'wide'"):
        grid.methods("tiny", ["wid"])
    with pytest.raises(ValueError, match="model 'late' has no ablations"):
        grid.methods("late,concat", [])


@pytest.mark.usefixtures("fakes")
class TestAddress:
    def test_other_setting_has_other_address(self) -> None:
        base = resolve("tiny", "tiny")
        others = [
            resolve("tiny", "tiny", [{section: {key: value}}])
            for section, key, value in (
                ("run", "seed", 1),
                ("run", "precision", "bf16"),
                ("train", "lr", 0.5),
                ("train", "augment", {"flips": True}),
                ("data", "n", 32),
                ("model", "width", 4),
            )
        ]
        assert len({grid.address(settings) for settings in (base, *others)}) == 7

    def test_paths_do_not_change_address(self, tmp_path: Path) -> None:
        base = resolve("tiny", "tiny")
        place = {"out": "o", "device": "cpu", "cache": "c", "cache_gb": 0.0, "root": str(tmp_path)}
        moved = resolve("tiny", "tiny", [{"run": place, "train": {"workers": 2}}])
        assert grid.address(moved) == grid.address(base)

    def test_explicit_default_does_not_change_address(self) -> None:
        texts = resolve("tiny", "tiny", [{"model": {"width": 8}, "data": {"n": 64}, "train": {"epochs": 10}}])
        assert grid.address(texts) == grid.address(resolve("tiny", "tiny"))

    def test_list_equals_tuple_default(self) -> None:
        texts = resolve("concat", "tiny", [{"model": {"hidden": [128], "dropout": 0.5}}])
        assert grid.address(texts) == grid.address(resolve("concat", "tiny", [{"model": {"dropout": 0.5}}]))
        other = resolve("concat", "tiny", [{"model": {"hidden": [128, 16], "dropout": 0.5}}])
        assert grid.address(other) != grid.address(texts)

    def test_plugin_changes_address_by_content(self, tmp_path: Path) -> None:
        single, copy, other = (tmp_path / name for name in ("one.py", "copy.py", "other.py"))
        for path, content in ((single, "A = 1\n"), (copy, "A = 1\n"), (other, "A = 2\n")):
            path.write_text(content)
        settings = resolve("tiny", "tiny")
        first, second, third = (
            grid.address(replace(settings, run=replace(settings.run, plugins=[str(path)])))
            for path in (single, copy, other)
        )
        assert first == second != third != grid.address(settings)

    @pytest.mark.parametrize("option", ["table", "split_file"])
    def test_split_file_changes_address_by_content(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
    ) -> None:
        """Another split in the same file is another run; the same by another path is not."""
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "cases.csv"
        settings = resolve("tiny", "tiny")

        def named(name: str) -> str:
            return grid.address(replace(settings, data={option: name}))

        absent = named("cases.csv")
        path.write_text("a,b\n")
        before = named("cases.csv")
        assert named(str(path)) == before != absent
        path.write_text("a,c\n")
        assert named("cases.csv") != before
        assert len({grid.address(settings), named("none.csv"), absent, before}) == 4

    def test_new_option_does_not_change_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = grid.address(resolve("tiny", "tiny"))
        assert len(before) == 10
        former = registry.models.get("tiny")

        def newer(spec: Any, *, brand_new: bool = False, width: int = 8) -> Any:
            return former(spec, width=width)

        monkeypatch.setitem(registry.models._builders, "tiny", newer)
        assert grid.address(resolve("tiny", "tiny")) == before
        assert grid.address(resolve("tiny", "tiny", [{"model": {"brand_new": True}}])) != before


@pytest.mark.usefixtures("fakes")
class TestPlan:
    def test_plan_has_every_seed_of_every_method(self, tmp_path: Path) -> None:
        planned = grid.plan(
            grid.methods("tiny,tiny[width=4]"), ["tiny"], [{"train": {"epochs": 2}}], seeds=(0, 3), out=tmp_path
        )
        assert [(item.label, item.settings.run.seed) for item in planned] == [
            ("tiny", 0),
            ("tiny[width=4]", 0),
            ("tiny", 3),
            ("tiny[width=4]", 3),
        ]
        assert {item.settings.train.epochs for item in planned} == {2}
        for item in planned:
            seed = item.settings.run.seed
            assert item.folder == tmp_path / "tiny" / "tiny" / f"seed{seed}-{grid.address(item.settings)}"
            assert item.name == f"{item.label} on tiny, seed {seed}"
        assert len({item.folder for item in planned}) == 4

    def test_equal_runs_are_planned_once(self) -> None:
        planned = grid.plan(grid.methods("tiny,tiny[width=8],tiny[width=4]"), ["tiny"])
        assert [item.label for item in planned] == ["tiny", "tiny[width=4]"]

    def test_options_reach_methods_that_have_them(self) -> None:
        planned = grid.plan(grid.methods("tabular,late"), ["synthetic_derm7pt"], [{"model": {"encoder": "convnet"}}])
        assert [item.settings.model.get("encoder") for item in planned] == [None, "convnet"]
        with pytest.raises(ValueError, match="no option 'encodr'"):
            grid.plan(grid.methods("tabular,late"), ["synthetic_derm7pt"], [{"model": {"encodr": "convnet"}}])

    def test_plan_of_several_datasets(self) -> None:
        planned = grid.plan(grid.methods("late"), ["synthetic_derm7pt", "synthetic_men"])
        assert [item.settings.run.dataset for item in planned] == ["synthetic_derm7pt", "synthetic_men"]

    def test_plan_of_folds(self, tmp_path: Path) -> None:
        planned = grid.plan(grid.methods("tabular"), ["ham10000"], seeds=(0, 1), folds=3, out=tmp_path)
        evaluated = [
            (item.settings.run.seed, item.settings.data["fold"], item.settings.data["folds"]) for item in planned
        ]
        assert evaluated == [(seed, fold, 3) for seed in (0, 1) for fold in (0, 1, 2)]
        assert planned[1].folder.name.startswith("seed0-fold1-")
        assert planned[1].name == "tabular on ham10000, fold 1, seed 0"
        # A dataset that comes in folds counts them itself.
        men = grid.plan(grid.methods("tabular"), ["men"], folds=3)
        assert [item.settings.data["fold"] for item in men] == [1, 2, 3]

    @pytest.mark.parametrize(
        ("dataset", "folds", "message"),
        [
            ("synthetic_derm7pt", 5, "has a fixed split: leave out folds=5"),
            ("ham10000", 1, "folds expects at least 2, got 1"),
            ("hamm10000", None, "unknown dataset 'hamm10000'; did you mean 'ham10000'"),
        ],
    )
    def test_invalid_plan_raises(self, dataset: str, folds: int | None, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            grid.plan(grid.methods("tabular"), [dataset], folds=folds)


@pytest.mark.parametrize(("text", "numbers"), [("3", [0, 1, 2]), ("0,4, 2", [0, 4, 2]), ("7,7", [7]), ("1", [0])])
def test_seeds_are_parsed(text: str, numbers: list[int]) -> None:
    assert grid.seeds(text) == numbers


@pytest.mark.parametrize("text", ["0", "-1", "a", "", "1,", "1,b"])
def test_invalid_seeds_raise(text: str) -> None:
    with pytest.raises(ValueError, match="seeds expects a number of seeds"):
        grid.seeds(text)
