import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from helpers import trees
from mmfusion.data import DataBundle, DatasetError
from mmfusion.data.cases import MaskedCases
from mmfusion.data.datasets.bus_bra import PATHOLOGIES, bus_bra
from mmfusion.data.datasets.bus_bra_splits import DEVICES
from mmfusion.data.datasets.check import check
from mmfusion.experiments import run, settings
from mmfusion.registry import datasets


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return trees.bus_bra(tmp_path_factory.mktemp("bus"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.bus_bra(tmp_path / "bus")


def create(root: Path | None, **options: object) -> DataBundle:
    bundle: DataBundle = datasets.create("bus_bra", root=root, **{"size": 8, **options})
    return bundle


def sets(bundle: DataBundle) -> list[object]:
    return [bundle.train, bundle.validation, bundle.test]


def test_sets_share_no_patient(whole: Path) -> None:
    bundle = create(whole)
    patients = [set(part.groups) for part in sets(bundle)]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 30
    assert sum(len(part) for part in sets(bundle)) == 50
    assert bundle.spec.targets["label"].names == PATHOLOGIES
    assert [PATHOLOGIES[i] for i in bundle.train.labels("label")] == bundle.train.frame["Pathology"].tolist()


def test_columns_and_tasks(whole: Path) -> None:
    assert create(whole).spec["meta"].names == ("Side",)
    reader = create(whole, columns="reader")
    assert dict(reader.spec["meta"].categorical) == {"BIRADS": 4, "Side": 3}
    assert any("BIRADS is a radiologist's reading" in note for note in reader.notes)
    levels = create(whole, task="birads")
    assert levels.spec.targets["label"].names == ("2", "3", "4", "5")
    assert levels.spec["meta"].names == ("Side",)
    assert [str(level) for level in levels.train.frame["BIRADS"]] == [
        levels.spec.targets["label"].names[i] for i in levels.train.labels("label")
    ]


def test_test_devices_hold_out_scanners(whole: Path) -> None:
    bundle = create(whole, test_devices=["Toshiba Aplio 300"])
    assert set(bundle.test.frame["Device"]) == {"Toshiba Aplio 300 @12-14 MHz"}
    for part in (bundle.train, bundle.validation):
        assert len(part)
        assert not part.frame["Device"].str.startswith("Toshiba").any()
    assert len({*bundle.train.groups} & {*bundle.test.groups}) == 0
    assert any("The test set is all images of Toshiba Aplio 300" in note for note in bundle.notes)
    assert create(whole, test_devices=["Toshiba Aplio 300"], split_seed=1).test.ids == bundle.test.ids


def test_other_images_of_test_patients_are_excluded(root: Path) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["ID"] == "bus_0001-l", "Device"] = "Toshiba Aplio 300 @12-14 MHz"
        return table

    trees.edit(root / "bus_data.csv", change)
    bundle = create(root, test_devices=["Toshiba Aplio 300"])
    assert sum(len(part) for part in sets(bundle)) == 49
    assert "Images by other scanners of patients in the test set are left out: 1." in bundle.notes


def write_published_folds(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table) -> None:
    """As published: a patient's images in one fold, from 1; further columns; rows of images that the table lacks."""
    table = pd.read_csv(root / "bus_data.csv")
    folds = table[["ID", "Pathology"]].assign(kFold=table["Case"] % 5 + 1, valid_1=float("nan"))
    folds.loc[len(folds)] = ["bus_9999-l", "benign", 1, 0.0]
    change(folds).to_csv(root / "5-fold-cv.csv", index=False)


def test_published_folds_are_used(root: Path) -> None:
    write_published_folds(root)
    tested: list[str] = []
    for fold in range(5):
        plan = bus_bra.plan(root=root, folds=5, fold=fold, published_folds=True)
        of_test = plan.frame.iloc[plan.split.test]
        assert set(of_test["Case"].astype(int) % 5) == {fold}
        assert len(plan.split.validation) > 0
        assert sum(map(len, plan.split)) == 50
        assert "The folds are those that were published with the dataset." in plan.notes
        assert f"The test set is fold {fold} of 5, counted from 0." in plan.notes
        tested += of_test["ID"].tolist()
    assert len(set(tested)) == len(tested) == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="kFold"), r"5-fold-cv\.csv has no column 'kFold'"),
        (lambda t: t.assign(kFold=t["kFold"] + 1), "column 'kFold' has '6' in row .*; known are: 1, 2, 3, 4, 5"),
        (lambda t: t.iloc[3:], r"lacks 3 image\(s\) of the table, the first is 'bus_0000-s'"),
        (lambda t: t.assign(kFold=1), "has 50 of 50 images in fold 1"),
        (lambda t: t.assign(kFold=[1, 1, 2, *t["kFold"][3:]]), "'1'"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "'bus_0000-s' occurs 2 times"),
    ],
)
def test_invalid_published_folds_raise(
    root: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    write_published_folds(root, change)
    with pytest.raises(ValueError, match=message):
        bus_bra.plan(root=root, folds=5, published_folds=True)


def test_masks_follow_images(whole: Path) -> None:
    """Resized as the images are, in every set and subset; None for the patient without one."""
    bundle = create(whole, size=5, test_devices=["Toshiba Aplio 300"])
    for part in (bundle.train, bundle.validation, bundle.test):
        assert isinstance(part, MaskedCases)
        for index, patient in enumerate(part.groups):
            mask = part.mask("image", index)
            if patient == "3":
                assert mask is None
                continue
            assert mask is not None
            assert (mask.dtype, mask.shape) == (torch.bool, part.spec["image"].size)
            assert mask.nonzero()[:, 0].unique().tolist() == [1, 2]
    assert "3" in bundle.test.groups


def test_damaged_mask_raises_with_its_name(root: Path) -> None:
    """By the check, and where it is read; training does not read it."""
    (root / "Masks" / "mask_0001-l.png").write_bytes(b"hello")
    trees.draw_mask(root / "Masks" / "mask_0001-r.png", (12, 10))
    report = check("bus_bra", root)
    assert "masks of 'image': 49 of 50 images" in report.lines
    assert len(report.faults) == 2
    assert re.match(r"row 1: the mask .*mask_0001-l\.png cannot be used \(cannot identify image", report.faults[0])
    assert "10 x 12 pixels (width x height), its image 12 x 10: expected the same size" in report.faults[1]
    train = create(root).train
    with pytest.raises(ValueError, match=r"mask_0001-l\.png cannot be used"):
        [train.mask("image", index) for index in range(len(train))]


def test_masks_are_optional(root: Path) -> None:
    shutil.rmtree(root / "Masks")
    assert create(root).test.mask("image", 0) is None
    report = check("bus_bra", root)
    assert report.faults == ()
    assert "masks of 'image': 0 of 50 images" in report.lines


def _cell(column: str, value: str) -> Callable[[Path], None]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object})
        table.loc[3, column] = value
        return table

    return lambda root: trees.edit(root / "bus_data.csv", change)


FAULTS = [
    (lambda r: (r / "Images" / "bus_0000-s.png").unlink(), r"1 image.*row 0, column 'ID': .*bus_0000-s"),
    (_cell("Pathology", "unclear"), "label column 'Pathology' has the label 'unclear' in row 3; known are: benign"),
    (_cell("Case", ""), "column 'Case' is empty in row 3: the split keeps the cases of one 'Case' together"),
    (_cell("ID", "bus_0000-s"), "column 'ID': 'bus_0000-s' occurs 2 times, in rows 0, 3"),
    (_cell("Side", "middle"), "column 'Side' has 'middle', expected one of"),
    (_cell("Device", "Philips"), "column 'Device' has 'Philips' in row 3; known are: GE Logiq 5"),
    (lambda r: (r / "bus_data.csv").unlink(), r"has no bus_data\.csv; it has: Images"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_damaged_folders_raise(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        create(root)


def test_all_errors_are_reported_together(root: Path) -> None:
    _cell("Side", "middle")(root)
    _cell("Pathology", "unclear")(root)
    _cell("Device", "Philips")(root)
    with pytest.raises(DatasetError) as caught:
        create(root)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "all"}, "columns expects one of clean, reader, got 'all'"),
        ({"task": "birads", "columns": "reader"}, "columns='reader' has BIRADS, which is the label of task='birads'"),
        ({"test_devices": ["GE"]}, "test_devices expects a list of one of GE Logiq 5, .*got"),
        (
            {"test_devices": ["U-Systems"]},
            r"leaves 50 of 50 images to train on: name some of .*, GE Logiq 5",
        ),
        ({"test_devices": ["U-Systems"], "folds": 3}, "test_devices determines the test set: leave out folds"),
        (
            {"published_folds": True},
            "published_folds=True needs folds=5 or folds=10, without split_file; got folds=None",
        ),
        ({"published_folds": True, "folds": 3}, "needs folds=5 or folds=10, without split_file; got folds=3"),
        ({"published_folds": True, "folds": 5, "fold": 5}, "fold expects a whole number from 0 to 4, got 5"),
        ({"published_folds": True, "folds": 5}, r"has no 5-fold-cv\.csv; it has: "),
        ({"root": None}, r"needs the folder with bus_data\.csv"),
    ],
)
def test_invalid_options_raise(whole: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        create(**{"root": whole, **options})


def test_published_table_has_published_counts(some_bus_bra: Path) -> None:
    """A subset of the published images, whose counts are listed next to the published ones."""
    planned = bus_bra.plan(root=some_bus_bra, columns="reader")
    images, patients, *of_devices = planned.sizes
    assert images == ("images", len(planned.frame), 1875)
    assert patients == ("patients", planned.frame["Case"].nunique(), 1064)
    assert sum(n for _, n, _ in of_devices) == len(planned.frame)
    assert sum(published for _, _, published in of_devices) == 1875
    assert all(0 < n <= published for _, n, published in of_devices)
    assert set(planned.frame["Histology"]) & {"invasive ductal carcinoma", "fibroadenoma"}
    assert planned.schema is not None
    assert planned.schema.columns.names == ("BIRADS", "Side")
    assert any("'BIRADS' alone distinguishes" in note for note in planned.notes)
    tested = bus_bra.plan(root=some_bus_bra, test_devices=["Toshiba Aplio 300", "U-Systems"])
    devices = tested.frame["Device"].iloc[tested.split.test]
    assert {name.split(" @")[0] for name in devices} == {"Toshiba Aplio 300", "U-Systems"}
    for rows in tested.split[:2]:
        assert tested.frame["Device"].iloc[rows].str.startswith("GE").all()
        assert not set(tested.frame["Case"].iloc[rows]) & set(tested.frame["Case"].iloc[tested.split.test])
    levels = bus_bra.plan(root=some_bus_bra, task="birads")
    assert all(n > 0 for counts in levels.counts()["label"].values() for n in counts.values())
    assert "The BI-RADS categories are four classes: their order is not used in training." in levels.notes


def test_birads_alone_distinguishes_pathologies(real_bus_bra: Path) -> None:
    """The figure that the guide gives, on the part of the published data that is at hand."""
    frame = pd.read_csv(real_bus_bra / "bus_data.csv")
    assert roc_auc_score(frame["Pathology"] == "malignant", frame["BIRADS"]) == pytest.approx(0.88, abs=0.02)
    assert sum(frame["Device"].str.startswith(device) for device in DEVICES).eq(1).all()


@pytest.mark.slow
def test_check_of_real_images_and_masks(bus_bra_sample: Path) -> None:
    report = check("bus_bra", bus_bra_sample)
    assert report.faults == ()
    assert report.lines[:4] == (
        "images: 60, published 1875",
        "patients: 33, published 1064",
        "images of GE Logiq 5: 16, published 809",
        "images of GE Logiq 7: 19, published 902",
    )
    assert "masks of 'image': 60 of 60 images" in report.lines


def test_masks_match_bounding_boxes(bus_bra_sample: Path) -> None:
    """BBOX is in pixels of the published image, the mask at the size of the bundle."""
    bundle = create(bus_bra_sample, size=96)
    for index in range(len(bundle.test)):
        row = bundle.test.frame.iloc[index]
        left, top, width, height = json.loads(row["BBOX"])
        mask = bundle.test.mask("image", index)
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        scale = [96 / int(row["Width"]), 96 / int(row["Height"])] * 2
        expected = [left, top, left + width, top + height]
        assert [edge.item() for edge in found] == pytest.approx([a * b for a, b in zip(expected, scale)], abs=1.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"columns": "reader", "test_devices": ["Toshiba Aplio 300"]}, {"task": "birads"}],
    ids=["reader, other scanners", "birads"],
)
def test_recipe_runs(bus_bra_sample: Path, tmp_path: Path, options: dict[str, object]) -> None:
    overrides = {
        "run": {"root": str(bus_bra_sample), "out": str(tmp_path / "run"), "device": "cpu", "cache": str(tmp_path)},
        "train": {"epochs": 1, "batch_size": 16, "resamples": 20},
        "data": {"size": 32, **options},
        "model": {"encoder": "tiny_convnet", "weights": "none"},
    }
    overrides["run"] |= {"robustness": False, "references": False}
    result = run.start(settings.resolve("concat", "bus_bra", [overrides]))
    assert 0 <= result.metrics["test"]["auc"]["value"] <= 1
    notes = " ".join(result.metrics["notes"])
    assert ("Columns 'reader'" in notes) == ("columns" in options)
    assert ("The test set is all images of Toshiba Aplio 300;" in notes) == ("test_devices" in options)
    subgroups = pd.read_csv(result.folder / "subgroups.csv")
    assert {"scanner", "side"} == set(subgroups.columns) - {"id"}
