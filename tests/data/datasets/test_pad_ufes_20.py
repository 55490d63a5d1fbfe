from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import trees
from mmfusion.data import DataBundle, DatasetError
from mmfusion.data.datasets.pad_ufes_20 import ANAMNESIS, CLEAN, DIAGNOSES, PUBLISHED, pad_ufes_20
from mmfusion.experiments import run, settings
from mmfusion.registry import datasets

CLEAN_NAMES = ("age", "region", "itch", "grew", "hurt", "changed", "bleed", "elevation")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return trees.pad_ufes_20(tmp_path_factory.mktemp("pad"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.pad_ufes_20(tmp_path / "pad", 36)


def create(root: Path | None, **options: object) -> DataBundle:
    bundle: DataBundle = datasets.create("pad_ufes_20", root=root, **{"size": 8, **options})
    return bundle


def parts(bundle: DataBundle) -> list[object]:
    return [bundle.train, bundle.validation, bundle.test]


@pytest.mark.slow
def test_sets_share_no_patient(whole: Path) -> None:
    bundle = create(whole)
    owners = [set(part.groups) for part in parts(bundle)]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 30
    assert sum(len(part) for part in parts(bundle)) == 60
    # The numbers of lesions are no groups: two patients may have one.
    assert bundle.reader.group_column == "patient_id"
    assert bundle.spec.targets["label"].names == DIAGNOSES
    labels = [DIAGNOSES[i] for i in bundle.train.labels("label")]
    assert labels == bundle.train.frame["diagnostic"].tolist()


@pytest.mark.slow
def test_columns_by_option(whole: Path) -> None:
    clean, everything = create(whole), create(whole, columns="all")
    assert set(clean.spec["meta"].names) == set(CLEAN_NAMES) == set(CLEAN)
    assert set(everything.spec["meta"].names) == {*CLEAN, *ANAMNESIS}
    assert len(everything.spec["meta"].names) == 21
    for bundle in (clean, everything):
        assert not {"biopsed", "patient_id", "lesion_id", "img_id", "diagnostic"} & set(bundle.spec["meta"].names)
    columns = dict(everything.spec["meta"].categorical)
    assert columns["background_father"] == 2  # GERMANY, and BRAZIL under two names
    assert columns["itch"] == 2
    assert columns["fitspatrick"] == 6


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "valid"), [("#DIV/0!", True), ("<30", True), ("inf", True), ("soon", False)])
def test_odd_cell_is_treated_alike_in_all_folds(root: Path, cell: str, valid: bool) -> None:
    frame = pd.read_csv(root / "metadata.csv", dtype=str, keep_default_na=False)
    frame.loc[0, "age"] = cell
    frame.to_csv(root / "metadata.csv", index=False)
    names = set()
    for fold in range(3):
        if valid:
            output = create(root, folds=3, fold=fold)
            names.add(output.spec["meta"].names)
            assert any("1 cell in row 0" in note for note in output.notes)
        else:
            with pytest.raises(ValueError, match=r"'age' .*row 0 has 'soon'"):
                create(root, folds=3, fold=fold)
    assert len(names) == valid


@pytest.mark.slow
def test_missing_cells_are_encoded(whole: Path) -> None:
    train = create(whole, columns="all").train
    table = train.__getitems__(range(len(train))).inputs["meta"]
    names = train.spec["meta"].names
    for name in ("itch", "grew", "smoke", "gender"):
        column = table.categorical[:, [c for c, _ in train.spec["meta"].categorical].index(name)]
        assert ((column == -1).numpy() == train.frame[name].isin(["", "UNK"])).all()
    assert names.index("age") == 0
    assert not table.numerical[:, 0].isnan().any()


@pytest.mark.slow
def test_informative_missingness_is_noted(whole: Path) -> None:
    notes = create(whole, columns="all").notes
    assert any("The 30 rows without any anamnesis are of ACK, NEV, SEK" in note for note in notes)
    assert any("'smoke'" in note and "never occur with 'BCC'" in note for note in notes)
    assert not any("anamnesis are of" in note for note in create(whole).notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "suffix"),
    [("imgs_part_1", ".png"), ("imgs_part_3", ".jpg"), ("images/imgs_part_2", ".png"), ("images", ".JPG")],
)
def test_accepts_all_folder_layouts(tmp_path: Path, whole: Path, folder: str, suffix: str) -> None:
    bundle = create(trees.pad_ufes_20(tmp_path, folder=folder, suffix=suffix))
    if suffix == ".png":
        assert torch.equal(bundle.test[0].inputs["image"], create(whole).test[0].inputs["image"])
    assert len(bundle.test) == len(create(whole).test)


@pytest.mark.slow
def test_splits_depend_on_seed_and_folds_cover_all(whole: Path) -> None:
    assert create(whole, split_seed=1).test.ids != create(whole).test.ids
    tested = [name for fold in range(3) for name in create(whole, folds=3, fold=fold).test.ids]
    assert len(tested) == len(set(tested)) == 60
    assert create(whole, folds=3, fold=2).fold == 2


def test_missing_images_can_be_absent(root: Path) -> None:
    (root / "images" / "PAT_0_0_100.png").unlink()
    bundle = create(root, missing_images="absent")
    present = {name: bool(part[i].present["image"]) for part in parts(bundle) for i, name in enumerate(part.ids)}
    assert [name for name, exists in present.items() if not exists] == ["PAT_0_0_100.png"]


def _cell(column: str, value: str) -> Callable[[Path], None]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[3, column] = value
        return table

    return lambda root: trees.edit(root / "metadata.csv", change)


def _truncate(root: Path) -> None:
    path = root / "images" / "PAT_0_0_100.png"
    path.write_bytes(path.read_bytes()[:-80])


FAULTS = [
    (lambda r: (r / "images" / "PAT_0_0_100.png").unlink(), r"1 image.*row 0, column 'img_id': PAT_0_0_100\.png"),
    (_truncate, r"1 image file.*row 0, column .*PAT_0_0_100\.png"),
    (_cell("diagnostic", "ACC"), "label column 'diagnostic' has the label 'ACC' in row 3; known are: ACK, BCC"),
    (_cell("patient_id", ""), "column 'patient_id' is empty in row 3"),
    (_cell("img_id", "PAT_0_0_100.png"), r"column 'img_id': 'PAT_0_0_100\.png' occurs 2 times, in rows 0, 3"),
    (_cell("age", "old"), "column 'age' expects numbers, but row 3 has 'old'"),
    (_cell("itch", "perhaps"), "column 'itch' has 'perhaps', expected one of"),
    (lambda r: trees.edit(r / "metadata.csv", lambda t: t.drop(columns="region")), "has no column 'region'"),
    (lambda r: trees.edit(r / "metadata.csv", lambda t: t.iloc[:0]), "has a header and no rows"),
    (lambda r: (r / "metadata.csv").write_bytes(b"a,b\n\xe9,1\n"), "is not utf-8 text"),
    (lambda r: (r / "metadata.csv").unlink(), r"has no metadata\.csv; it has: images"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_damaged_folders_raise(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        create(root)


def test_all_errors_are_reported_together(root: Path) -> None:
    _cell("age", "old")(root)
    _cell("diagnostic", "ACC")(root)
    (root / "images" / "PAT_0_0_100.png").unlink()
    with pytest.raises(DatasetError) as caught:
        create(root)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "parity"}, "columns expects one of clean, all, got 'parity'"),
        ({"missing_images": "skip"}, "missing_images expects one of error, absent, got 'skip'"),
        ({"root": None}, r"needs the folder with metadata\.csv"),
    ],
)
def test_invalid_options_raise(whole: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create(**{"root": whole, **options})


@pytest.mark.slow
def test_published_table_has_published_counts(real_pad_ufes_20: Path) -> None:
    planned = pad_ufes_20.plan(root=real_pad_ufes_20, columns="all")
    output = planned.counts()["label"]
    assert {name: sum(part[name] for part in output.values()) for name in DIAGNOSES} == PUBLISHED
    assert sum(PUBLISHED.values()) == len(planned.frame) == 2298
    assert planned.sizes == (("patients", 1373, 1373), ("lesions", 1641, 1641))
    assert any("The 804 rows without any anamnesis are of ACK, NEV, SEK" in note for note in planned.notes)
    schema = planned.reader.schema
    assert schema is not None
    father = next(column for column in schema.categorical if column.name == "background_father")
    assert "BRAZIL" in father.categories
    assert "BRASIL" not in father.categories
    shares = [np.array(list(part.values())) / sum(part.values()) for part in output.values()]
    assert np.abs(shares[0] - shares[2]).max() < 0.01


@pytest.mark.slow
def test_real_images_have_expected_counts(real_pad_ufes_20: Path) -> None:
    bundle = create(real_pad_ufes_20, size=32, missing_images="absent")
    exists = [part.__getitems__(range(len(part))).present["image"] for part in parts(bundle)]
    assert sum(int(mask.sum()) for mask in exists) == 207


@pytest.mark.slow
def test_recipe_runs(whole: Path, tmp_path: Path) -> None:
    overrides = {
        "run": {"root": str(whole), "out": str(tmp_path / "run"), "device": "cpu", "cache": str(tmp_path / "cache")},
        "train": {"epochs": 2, "batch_size": 8, "resamples": 20},
        "data": {"size": 32},
        "model": {"encoder": "convnet", "weights": "none"},
    }
    result = run.start(settings.resolve("concat", "pad_ufes_20", [overrides]))
    assert any("biopsed" in note for note in result.metrics["notes"])
