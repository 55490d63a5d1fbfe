"""Explanations of runs: of their test set, of another table, and of models of other code."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

import mmfusion as mmf
from helpers import explanations
from helpers.explained import left_as_it_was
from mmfusion.experiments.explaining.cohort import ALL, CohortMeans
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.explain import Faithfulness
from mmfusion.models import FusionModel

pytestmark = pytest.mark.slow
SMALL = {"n_cohort": 6, "n_faithfulness": 2, "regions": 4, "n_orders": 2, "verbose": False}


@pytest.fixture(scope="module")
def found(derm: Path) -> Explanation:
    run = mmf.load(derm, "cpu")
    assert isinstance(run.model, FusionModel)
    with torch.inference_mode(), left_as_it_was(run.model):
        return run.explain("worst,best,random", n=5, **SMALL)


def test_sheets_are_of_the_test_set_and_add_up(found: Explanation, derm: Path) -> None:
    stored = mmf.load(derm, "cpu").predictions.query("part == 'test'").set_index("id")
    names = list(found.classes)
    p = stored[[f"prob_{name}" for name in names]].to_numpy()
    losses = pd.Series(-np.log(p[np.arange(len(p)), [names.index(label) for label in stored["label"]]]), stored.index)
    sheets = found.sheets
    assert [sheet.why for sheet in sheets] == ["highest loss"] * 2 + ["lowest loss"] * 2 + ["drawn at random"]
    assert [sheet.id for sheet in sheets[:2]] == list(losses.nlargest(2).index)
    assert [sheet.id for sheet in sheets[2:4]] == list(losses.nsmallest(2).index)
    for sheet in sheets:
        account = sheet.account
        assert account is not None
        assert account.total == pytest.approx(account.output, abs=1e-5)
        q = sheet.probabilities[names[1]]
        assert sheet.explained == names[1]
        assert account.output == pytest.approx(np.log(q / (1 - q)), abs=1e-4)
        assert q == pytest.approx(stored.loc[sheet.id, f"prob_{names[1]}"], abs=1e-5)
        assert sheet.loss == pytest.approx(losses[sheet.id], abs=1e-4)
        assert sheet.true == stored.loc[sheet.id, "label"]
        assert set(account.parts) == {"derm", "clinic", "meta"}
        assert set(sheet.images) == {"derm", "clinic"}
        assert set(sheet.in_set or ()) <= set(names)
        assert sheet.calibrated is not None
        assert sum(sheet.calibrated.values()) == pytest.approx(1)
        assert sheet.lacking == {}
        assert set(sheet.groups) == {"sex", "age"}


def test_neighbors_and_prototypes_are_of_the_training_set(found: Explanation, derm: Path) -> None:
    train = set(pd.read_csv(derm / "splits.csv").query("part == 'train'")["id"])
    assert found.anchors
    assert found.compared == (len(train), len(train))
    for sheet in found.sheets:
        assert {one.id for one in sheet.neighbors} <= train
        similarities = [one.similarity for one in sheet.neighbors]
        assert similarities == sorted(similarities, reverse=True)
        assert list(sheet.prototypes) == ["derm", "clinic", "meta", "across modalities"]
        assert all(-1.001 <= x <= 1.001 for row in sheet.prototypes.values() for x in row.values())


def test_the_cohort_has_means_by_class_error_and_subgroup(found: Explanation) -> None:
    cohort = found.cohort
    assert isinstance(cohort, CohortMeans)
    assert (cohort.n, cohort.total) == (6, 24)
    assert list(cohort.modalities) == ["all", "class", "decision", "sex", "age"]
    for kind in (cohort.modalities, cohort.parts, cohort.interaction):
        for groups in kind.values():
            n = [means.n for means in groups.values()]
            assert sum(n) == 6
            together = sum(means.mean * means.n for means in groups.values()) / 6
            torch.testing.assert_close(together, kind[ALL][ALL].mean)
    assert [one.column for one in cohort.dependence] == ["age", "elevation", "location", "sex"]
    assert cohort.dependence[0].unit == ""
    assert np.nanmin(cohort.dependence[0].values) >= 18  # years, not standard deviations


def test_the_maps_are_measured(found: Explanation) -> None:
    assert not isinstance(found.trust, str)
    assert set(found.trust) == {"derm", "clinic"}
    assert all(isinstance(one, Faithfulness) and len(one.rows) == 2 for one in found.trust.values())
    json.dumps(found.to_dict(), allow_nan=False)
    total = found.frame.groupby("case")["value"].sum()
    assert total[found.sheets[0].id] == pytest.approx(found.sheets[0].account.output, abs=1e-5)  # type: ignore[union-attr]  # a model has accounts
    assert "<table" in found._repr_html_()


def test_another_table_with_missing_cells_and_images(tmp_path: Path) -> None:
    frame = explanations.cases(tmp_path)
    place = explanations.run(tmp_path / "run", frame, dim=8)
    run = mmf.load(place, "cpu")
    options = {"table": frame, "image_root": tmp_path, "missing_images": "absent", **SMALL}
    found = run.explain(["c0", "c1", "c2"], **options)
    first, second, third = found.sheets
    assert "as large as its file, 30 x 40" in first.images["photo"].about
    assert second.cells["table" if "table" in second.cells else "meta"]["age"] == "missing"
    assert second.account is not None
    age = second.account.parts["meta"]
    assert age.values[age.names.index("age")] == 0
    assert "lacks meta.age" in second.notes[0]
    assert third.account is not None
    assert third.account.modalities["photo"] == 0
    assert third.lacking["image photo"] == "the case lacks it"
    assert "does not say which cases it was trained on" in second.lacking["worth"]
    assert first.groups == {"scanner": "A"}
    assert not found.anchors
    assert isinstance(found.cohort, CohortMeans)
    assert list(found.cohort.modalities) == ["all", "class", "decision", "scanner"]
    unlabelled = frame.drop(columns="dx")
    named = run.explain("c0", **{**options, "table": unlabelled})
    assert named.sheets[0].true is None
    assert named.sheets[0].right is None
    with pytest.raises(ValueError, match="cases=worst needs labels"):
        run.explain("worst", **{**options, "table": unlabelled})
    with pytest.raises(ValueError, match="cannot be read again: the folder does not say"):
        run.explain("worst", **SMALL)
    with pytest.raises(ValueError, match="target_class expects one of 'good', 'bad', got 'ugly'"):
        run.explain("c0", target_class="ugly", **options)
    only_good = run.explain("c0", target_class="good", **{**options, "n_cohort": 0, "n_faithfulness": 0})
    assert only_good.sheets[0].explained == "good"
    assert only_good.cohort == only_good.trust == "none was asked for"


def test_what_training_cases_lend(derm: Path, tmp_path: Path) -> None:
    from mmfusion.data import export

    data = mmf.load_dataset("synthetic_derm7pt", verbose=False, n_train=16, n_validation=16, n_test=16, size=32)
    export(data.load(), tmp_path / "other")
    frame = pd.read_csv(tmp_path / "other" / "table.csv", dtype={"case_id": str})
    frame.loc[0, "age"] = np.nan
    frame.to_csv(tmp_path / "other" / "table.csv", index=False)
    found = mmf.load(derm, "cpu").explain(
        frame["case_id"][0], table=tmp_path / "other" / "table.csv", **{**SMALL, "n_cohort": 0, "n_faithfulness": 0}
    )
    worth = found.sheets[0].worth
    assert list(worth) == ["meta.age"]
    assert worth["meta.age"].change > 0
    assert found.table == "table.csv"


def test_a_module_of_other_code_has_no_account_and_says_so(trained: Path, fakes: ModuleType) -> None:
    found = mmf.load(trained, "cpu").explain("worst", n=1, **SMALL)
    (sheet,) = found.sheets
    assert sheet.account is None
    assert "Tiny, and not a FusionModel" in sheet.lacking["account"]
    assert "Tiny" in str(found.cohort)
    assert "Tiny" in str(found.trust)
    assert len(sheet.neighbors) == 5
    assert list(sheet.prototypes) == ["meta", "across modalities"]
    assert not found.anchors
    assert found.frame.empty


def test_several_classes_are_explained_by_the_one_that_is_given(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    frame = explanations.cases(tmp_path, names=names)
    place = explanations.run(tmp_path / "run", frame, "film", names=names, dim=8)
    options = {"table": frame, "image_root": tmp_path, "missing_images": "absent", **SMALL}
    found = mmf.load(place, "cpu").explain("c0,c1", map_method="layer_cam", at=0, **options)
    for sheet in found.sheets:
        assert sheet.explained == max(sheet.probabilities, key=sheet.probabilities.__getitem__) == sheet.label
    bad = mmf.load(place, "cpu").explain("c0", at=99, **{**options, "n_cohort": 0})
    assert "has the points 0 to" in bad.sheets[0].lacking["map photo"]
    assert "has the points 0 to" in str(bad.trust)


def test_a_model_of_the_table_alone_and_one_whose_output_is_not_finite(tmp_path: Path) -> None:
    frame = explanations.cases(tmp_path)
    options = {"table": frame, "image_root": tmp_path, "missing_images": "absent", **SMALL}
    run = mmf.load(explanations.run(tmp_path / "table", frame, "tabular", dim=8), "cpu")
    found = run.explain("c0", **options)
    assert found.trust == "the model looks at no image"
    assert found.sheets[0].images == {}
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(torch.nan)
    broken = run.explain("c0", **options)
    assert broken.sheets[0].label is None
    assert "not finite" in broken.sheets[0].lacking["account"]
    assert "finite for no case" in str(broken.cohort)
    json.dumps(broken.to_dict(), allow_nan=False)


def test_each_image_of_a_case_with_several_has_its_map(tmp_path: Path) -> None:
    frame = explanations.cases(tmp_path)
    frame.loc[0, "file"] = "3.png;4.png"
    place = explanations.run(tmp_path / "run", frame, bag=3, dim=8)
    options = {"table": frame, "image_root": tmp_path, "missing_images": "absent", **SMALL}
    found = mmf.load(place, "cpu").explain(["c0", "c1", "c2"], **options)
    several, one, none = found.sheets
    planes = several.images["photo"].planes
    assert [plane.title for plane in planes] == ["image 1 of 2", "image 2 of 2"]
    assert all(plane.heat is not None and plane.pixels.shape == (30, 40, 3) for plane in planes)
    assert not np.array_equal(planes[0].pixels, planes[1].pixels)
    assert len(one.images["photo"].planes) == 1
    assert none.images == {}
    for sheet in (several, one):
        assert sheet.account is not None
        assert set(sheet.account.parts) == {"meta"}
        assert sheet.account.total == pytest.approx(sheet.account.output, abs=1e-5)
    assert isinstance(found.cohort, CohortMeans)
    assert not isinstance(found.trust, str)
    page = mmf.write_explanation(found, tmp_path / "out")
    assert "image 2 of 2" in sorted((page.parent / "sheets").iterdir())[0].read_text()


def test_a_test_set_that_the_run_leaves_untouched_stays_so(derm: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(derm, tmp_path / "run")
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    settings["run"]["test"] = False
    (tmp_path / "run" / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"leaves its test set untouched .*give the cases by table="):
        mmf.load(tmp_path / "run", "cpu").explain("random", verbose=False)


def test_several_runs_are_refused(derm: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(derm, tmp_path / "second")
    with pytest.raises(ValueError, match="explain expects one run, got 2"):
        mmf.load([derm, tmp_path / "second"], "cpu").explain("worst")
