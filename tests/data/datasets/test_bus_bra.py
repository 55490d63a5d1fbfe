import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers import trees
from mmfusion.data import DataBundle, DatasetError
from mmfusion.data.cases import MaskedCases
from mmfusion.data.datasets.bus_bra import PATHOLOGIES, bus_bra
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


def test_scanners_that_training_never_saw(whole: Path) -> None:
    bundle = create(whole, test_devices=["Toshiba Aplio 300"])
    assert set(bundle.test.frame["Device"]) == {"Toshiba Aplio 300 @12-14 MHz"}
    for part in (bundle.train, bundle.validation):
        assert len(part)
        assert not part.frame["Device"].str.startswith("Toshiba").any()
    assert len({*bundle.train.groups} & {*bundle.test.groups}) == 0
    assert any("The test set is all images of Toshiba Aplio 300" in note for note in bundle.notes)
    assert create(whole, test_devices=["Toshiba Aplio 300"], split_seed=1).test.ids == bundle.test.ids


def test_other_images_of_their_patients_are_left_out(root: Path) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["ID"] == "bus_0001-l", "Device"] = "Toshiba Aplio 300 @12-14 MHz"
        return table

    trees.edit(root / "bus_data.csv", change)
    bundle = create(root, test_devices=["Toshiba Aplio 300"])
    assert sum(len(part) for part in sets(bundle)) == 49
    assert "Images by other scanners of patients in the test set are left out: 1." in bundle.notes


def test_masks_of_lesions(whole: Path) -> None:
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


def test_a_damaged_mask_is_named(root: Path) -> None:
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
    (_cell("ID", "bus_0000-s"), "column 'ID': 'bus_0000-s' occurs 2 times, in rows 0, 3"),
    (_cell("Side", "middle"), "column 'Side' has 'middle', expected one of"),
    (_cell("Device", "Philips"), "column 'Device' has 'Philips' in row 3; known are: GE Logiq 5"),
    (lambda r: (r / "bus_data.csv").unlink(), r"has no bus_data\.csv; it has: Images"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_trees_that_cannot_be_used(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        create(root)


def test_all_faults_at_once(root: Path) -> None:
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
        ({"root": None}, r"needs the folder with bus_data\.csv"),
    ],
)
def test_wrong_options(whole: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create(**{"root": whole, **options})


def test_the_published_table(real_bus_bra: Path) -> None:
    """A part of the published images, whose numbers stand beside the published ones."""
    planned = bus_bra.plan(root=real_bus_bra, columns="reader")
    assert planned.sizes == (("images", len(planned.frame), 1875), ("patients", planned.frame["Case"].nunique(), 1064))
    assert any("'BIRADS' alone distinguishes" in note for note in planned.notes)
    tested = bus_bra.plan(root=real_bus_bra, test_devices=["Toshiba Aplio 300", "U-Systems"])
    devices = tested.frame["Device"].iloc[tested.split.test]
    assert not devices.str.startswith("GE").any()
    assert tested.frame["Device"].iloc[tested.split.train].str.startswith("GE").all()


@pytest.mark.slow
def test_the_recipe_runs(whole: Path, tmp_path: Path) -> None:
    overrides = {
        "run": {"root": str(whole), "out": str(tmp_path / "run"), "device": "cpu", "cache": str(tmp_path / "cache")},
        "train": {"epochs": 2, "batch_size": 8, "resamples": 20},
        "data": {"size": 32, "test_devices": ["Toshiba Aplio 300"]},
        "model": {"encoder": "convnet", "weights": "none"},
    }
    result = run.start(settings.resolve("concat", "bus_bra", [overrides]))
    assert any("The test set is all images of" in note for note in result.metrics["notes"])
