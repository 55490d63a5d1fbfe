from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import trees
from helpers.marks import EXHAUSTIVE
from mmfusion import registry
from mmfusion.data import DataBundle, DatasetError, TableDataset, TableSchema
from mmfusion.data.datasets.check import check
from mmfusion.experiments import predictor, run, settings
from mmfusion.registry import datasets


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return trees.own_table(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.own_table(tmp_path_factory.mktemp("volumes"), 30, volumes=True)


BASE = {"label": "diagnosis", "images": ["photo", "second view"], "group": "patient", "id": "case", "size": 8}


def open_table(folder: Path, **options: object) -> TableDataset:
    chosen = {**BASE, "drop": ["part"], **options}
    return TableDataset(folder / "table.csv", **chosen)


def parts(bundle: DataBundle) -> list[object]:
    return [bundle.train, bundle.validation, bundle.test]


def test_spec_is_inferred(whole: Path) -> None:
    result = open_table(whole)
    bundle = result.load()
    assert bundle.spec.names == ("photo", "second_view", "meta")
    assert bundle.spec["photo"].shape == (3, 8, 8)
    assert bundle.spec["meta"].names == ("age", "stage", "smoker")
    assert result.schema is not None
    assert [column.kind for column in result.schema] == ["numerical", "ordinal", "boolean"]
    assert bundle.spec.targets["label"].names == ("benign", "malignant", "unsure")
    owners = [set(part.groups) for part in parts(bundle)]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 24
    assert set(bundle.train.ids) <= {f"c{i}" for i in range(48)}
    assert bundle.train.labels("label").tolist() == [int(name[1:]) % 3 for name in bundle.train.ids]


def test_description_lists_what_was_inferred(whole: Path) -> None:
    result = open_table(whole)
    about = result.load().about
    for line in (
        f"train {len(result.split.train)} cases: benign ",
        "photo       images of column 'photo', 3 x 8x8",
        "second_view  images of column 'second view'",
        "stage         ordinal      3 levels: I, II, III",
        "hospital      left out     has only one value",
        "patient       left out     groups the cases",
        "diagnosis     left out     is the label",
        "photo         left out     has the images",
    ):
        assert " ".join(line.split()) in " ".join(about.split())


def test_schema_is_fitted_to_training_rows(whole: Path) -> None:
    bundle = open_table(whole).load()
    ages = pd.to_numeric(bundle.train.frame["age"])
    assert bundle.reader.schema.numerical[0].mean == pytest.approx(ages.mean())


@pytest.mark.slow
def test_schema_from_file(whole: Path, tmp_path: Path) -> None:
    result = open_table(whole, overrides={"age": {"unit": "years"}})
    result.save_schema(tmp_path / "schema.toml")
    again = open_table(whole, schema=tmp_path / "schema.toml")
    assert again.schema == result.schema == TableSchema.load(tmp_path / "schema.toml")
    assert again.load().spec == result.load().spec
    with pytest.raises(ValueError, match="edit the file instead"):
        open_table(whole, schema=tmp_path / "schema.toml", overrides={"age": "numerical"})
    with pytest.raises(FileExistsError):
        result.save_schema(tmp_path / "schema.toml")


def test_overrides_and_chosen_columns(whole: Path) -> None:
    assert open_table(whole, overrides={"stage": "categorical"}).schema.categorical[0].kind == "categorical"
    assert open_table(whole, columns=["age"]).schema.names == ("age",)
    assert open_table(whole, drop=["part", "age", "smoker"]).schema.names == ("stage",)


def test_images_only_and_table_only(whole: Path) -> None:
    alone = open_table(whole, columns=[]).load()
    assert alone.spec.names == ("photo", "second_view")
    assert "no column is a feature" in alone.about
    table = open_table(whole, images=[], columns=["age", "stage"]).load()
    assert table.spec.names == ("meta",)
    with pytest.raises(ValueError, match="no column is left to learn from"):
        open_table(whole, images=[], columns=[])


@pytest.mark.slow
def test_volumes_are_recognized_by_extension(volumes: Path) -> None:
    bundle = open_table(volumes, size=[8, 8, 4]).load()
    assert bundle.spec["photo"].shape == (1, 8, 8, 4)
    assert bundle.spec["second_view"].shape == (3, 8, 8)
    scan = bundle.train[0].inputs["photo"]
    assert scan.mean().abs() < 1e-4
    assert scan.std(correction=0) == pytest.approx(1, abs=1e-3)
    plain = open_table(volumes, size=[8, 9, 5], standardise="none", clip=[0, 1000], axes="whs").load()
    assert plain.train[0].inputs["photo"].amax() <= 1000
    with pytest.raises(ValueError, match=r"'photo' has volumes: give size as height, width and slices, got 8"):
        open_table(volumes)


@pytest.mark.slow
def test_accepts_data_frame(whole: Path) -> None:
    frame = pd.read_csv(whole / "table.csv")
    fractions = {"fractions": (0.6, 0.2, 0.2), "split_seed": 3}
    bundle = TableDataset(frame, root=whole, **BASE, **fractions, drop=["part"]).load()
    expected = open_table(whole, **fractions).load()
    assert bundle.train.ids == expected.train.ids
    assert torch.equal(bundle.train[0].inputs["photo"], expected.train[0].inputs["photo"])
    assert bundle.spec == expected.spec


@pytest.mark.slow
def test_accepts_parquet(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(whole / "table.csv")
    frame.to_parquet(tmp_path / "table.parquet")
    bundle = datasets.create("table", root=whole, table=tmp_path / "table.parquet", **BASE, drop=["part"])
    assert bundle.train.ids == open_table(whole).load().train.ids


def test_numeric_labels_are_sorted(whole: Path, tmp_path: Path) -> None:
    grades = [str(10 - i % 3) for i in range(48)]
    frame = pd.read_csv(whole / "table.csv", dtype=str).assign(diagnosis=grades)
    target = TableDataset(frame, root=whole, **BASE).reader.targets["label"]
    assert target.classes == ("8", "9", "10")
    explicit = TableDataset(frame, root=whole, **BASE, classes=[10, 9, 8])
    assert explicit.reader.targets["label"].classes == ("10", "9", "8")


def test_label_spellings_are_merged(whole: Path) -> None:
    frame = pd.read_csv(whole / "table.csv", dtype=str)
    frame.loc[[0, 3], "diagnosis"] = ["Benign", " BENIGN "]
    result = TableDataset(frame, root=whole, **BASE)
    assert result.reader.targets["label"].classes == ("benign", "malignant", "unsure")
    assert sum(part["benign"] for part in result.counts()["label"].values()) == 16


def test_unlabeled_rows_raise_or_are_dropped(whole: Path) -> None:
    frame = pd.read_csv(whole / "table.csv", dtype=str)
    frame.loc[[4, 9], "diagnosis"] = [None, "unknown"]
    with pytest.raises(ValueError, match=r"'diagnosis' is empty in 2 row\(s\): 4, 9; .* unlabelled='drop'"):
        TableDataset(frame, root=whole, **BASE)
    result = TableDataset(frame, root=whole, unlabelled="drop", **BASE)
    assert len(result.frame) == 46
    assert "2 row(s) without a label were left out." in result.notes


def test_missing_images_raise_or_are_absent(whole: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(whole / "table.csv", dtype=str)
    frame.loc[7, "photo"] = "photos/none.png"
    frame.loc[8, "photo"] = None
    with pytest.raises(FileNotFoundError, match=r"2 image.*row 7, column 'photo': photos/none\.png; row 8.*empty cell"):
        TableDataset(frame, root=whole, **BASE).load()
    bundle = TableDataset(frame, root=whole, missing_images="absent", **BASE).load()
    mask = {name: bool(part[i].present["photo"]) for part in parts(bundle) for i, name in enumerate(part.ids)}
    assert sorted(name for name, present in mask.items() if not present) == ["c7", "c8"]
    gone = next(part[part.ids.index("c5")] for part in parts(bundle) if "c5" in part.ids)
    assert gone.inputs["meta"].numerical.isnan().tolist() == [True]


def _flags(part: str) -> str:
    return "yes" if part == "test" else "no"


@pytest.mark.parametrize(
    ("change", "options", "sizes"),
    [
        (lambda t: t, {}, [30, 10, 8]),
        (lambda t: t.assign(part=t["part"].map(_flags)), {"fractions": (0.75, 0.25, 0.5)}, [30, 10, 8]),
        (lambda t: t.assign(part=[str(i // 2 % 3) for i in range(48)]), {"fold": 2}, [28, 4, 16]),
    ],
)
def test_split_column(
    whole: Path, change: Callable[[pd.DataFrame], pd.DataFrame], options: Mapping[str, object], sizes: list[int]
) -> None:
    frame = change(pd.read_csv(whole / "table.csv", dtype=str))
    result = TableDataset(frame, root=whole, test="part", **BASE, **options)
    assert [len(rows) for rows in result.split] == sizes
    tested = {"test", "yes", "2"}
    assert [frame["part"][i] in tested for i in result.split.test] == [True] * sizes[2]
    assert "part" not in (result.schema.names if result.schema else ())


@pytest.mark.slow
def test_folds_and_split_files(whole: Path, tmp_path: Path) -> None:
    bundles = [open_table(whole, folds=3, fold=i).load() for i in range(3)]
    assert sorted(name for bundle in bundles for name in bundle.test.ids) == sorted(f"c{i}" for i in range(48))
    assert [bundle.fold for bundle in bundles] == [0, 1, 2]
    rows = [(name, part) for part in ("train", "validation", "test") for name in getattr(bundles[1], part).ids]
    pd.DataFrame(rows, columns=["id", "part"]).to_csv(tmp_path / "split.csv", index=False)
    again = open_table(whole, split_file=tmp_path / "split.csv").load()
    assert again.test.ids == bundles[1].test.ids


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["soon", "<0.5", "inf", "#DIV/0!", "12 mg", "1e12"])
def test_folds_have_the_same_features(whole: Path, cell: str) -> None:
    frame = pd.read_csv(whole / "table.csv", dtype=str, keep_default_na=False)
    frame["crp"] = [cell, *(f"{i / 4}" for i in range(1, len(frame)))]
    result = [
        TableDataset(frame, root=whole, **{**BASE, "drop": ["part"]}, folds=3, fold=fold, missing_images="absent")
        for fold in range(3)
    ]
    assert sum(0 in item.split.train for item in result) in (1, 2)  # in some folds' training rows, not in all
    schemas = [item.schema for item in result]
    assert all(schema is not None for schema in schemas)
    columns = [[(column.name, column.kind) for column in schema or ()] for schema in schemas]
    assert columns[0] == columns[1] == columns[2]
    assert ("crp", "numerical") in columns[0]
    assert all(column.high < 20 for schema in schemas if schema for column in schema.numerical if column.name == "crp")
    # Results keep that there is such a cell, and where, but not what is in it.
    notes = [note for note in result[0].notes if "'crp'" in note]
    assert notes or cell == "1e12"
    assert not any(repr(cell) in note for note in notes)
    if cell not in ("12 mg", "1e12"):
        assert cell in result[0].about


def test_leaks_and_missing_group_column_are_noted(whole: Path) -> None:
    frame = pd.read_csv(whole / "table.csv", dtype=str)
    frame["therapy"] = frame["diagnosis"].map({"benign": "none", "malignant": "surgery", "unsure": "surgery"})
    notes = TableDataset(frame, root=whole, **BASE).notes
    assert any("A possible leak: column 'therapy' alone" in note for note in notes)
    without = {**BASE, "group": None, "drop": ["part"]}
    assert any("no group column is given" in n for n in TableDataset(frame, root=whole, **without).notes)


def test_class_absent_in_a_set_is_noted(whole: Path) -> None:
    frame = pd.read_csv(whole / "table.csv", dtype=str)
    frame.loc[frame.index % 3 == 2, "diagnosis"] = "benign"
    frame.loc[[0, 1], "diagnosis"] = "rare"
    notes = TableDataset(frame, root=whole, **BASE).notes
    # Both are of one patient, who is in one part.
    assert sum("set has no case of class 'rare'" in note and "there are 2 in all" in note for note in notes) == 2


def test_class_without_rows_raises(whole: Path) -> None:
    """It could be neither learned nor evaluated, and is most likely misspelled."""
    frame = pd.read_csv(whole / "table.csv", dtype=str)
    names = sorted(frame["diagnosis"].unique())
    with pytest.raises(ValueError, match=r"has no row of class 'bening', 'x': correct classes"):
        TableDataset(frame, root=whole, **BASE, classes=[*names, "bening", "x"])
    assert TableDataset(frame, root=whole, **BASE, classes=names).reader.targets["label"].classes == tuple(names)


def test_invalid_modality_names_are_replaced(whole: Path) -> None:
    frame = pd.read_csv(whole / "table.csv", dtype=str).rename(columns={"photo": "2nd", "second view": "forward"})
    options = {**BASE, "images": ["2nd", "forward"]}
    bundle = TableDataset(frame, root=whole, **options).load()
    assert bundle.spec.names[:2] == ("image_2nd", "image_forward")


def edited(change: Callable[[pd.DataFrame], object]) -> Callable[[Path], None]:
    return lambda root: trees.edit(root / "table.csv", change)


def _first(column: str, value: str) -> Callable[[Path], None]:
    return edited(lambda t: t.assign(**{column: [value, *t[column][1:]]}))


def _truncate(root: Path) -> None:
    path = root / "second view" / "3.jpg"
    path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (None, {"label": "grade"}, "the table has no column 'grade'; its columns are: case, patient"),
        (None, {"images": ["picture"]}, "no column 'picture'"),
        (None, {"group": "owner", "id": "name"}, "no column 'owner', 'name'"),
        (None, {"images": ["photo", "photo"]}, r"given more than once: \['photo'\]"),
        (
            None,
            {"images": ["age"]},
            r"48 image\(s\) of the table are not in .*missing_images='absent'",
        ),
        (None, {"label": "photo", "images": ["photo"]}, "the label column 'photo' cannot be an image"),
        (None, {"label": "case"}, "'case' has 48 different values in 48 rows, such as 'c0'"),
        (None, {"label": "hospital"}, "'hospital' has only one class, 'A'"),
        (None, {"label": "age", "unlabelled": "drop"}, r"'age' holds \d+ numbers from \d+ to \d+, not classes"),
        (None, {"classes": ["benign", "malignant"]}, "has the label 'unsure' in row 2; known are: benign, malignant"),
        (None, {"overrides": {"weight": "numerical"}}, r"overrides are given for \['weight'\]"),
        (None, {"test": "age"}, "column 'age' has the set of each row, but is empty in row 5"),
        (None, {"test": "stage"}, "column 'stage' expects train, validation and test, or true and false, got i, ii"),
        (None, {"test": "part", "folds": 3}, "leave folds and split_file out"),
        (None, {"test": "part", "fold": 7}, "no case has the value .*'7'.* of the test set"),
        (None, {"size": [8]}, r"size expects int from 1 to 8192 or 2 to 3 values"),
        (None, {"unlabelled": "keep"}, "unlabelled expects one of error, drop, got 'keep'"),
        (None, {"root": "/nowhere"}, "root /nowhere does not exist"),
        (None, {"fractions": (0.5, 0.5)}, "fractions expects 3 values"),
        (_first("case", "c1"), {}, "column 'case': 'c1' occurs 2 times, in rows 0, 1"),
        (
            _first("photo", "scan.nii.gz"),
            {},
            r"NIfTI volumes such as 'scan.nii.gz', images such as 'photos/1",
        ),
        (lambda r: (r / "photos" / "3.png").unlink(), {}, r"1 image.*row 3, column 'photo': photos/3\.png"),
        (_truncate, {}, r"1 image file.*row 3, column .*3\.jpg"),
        (edited(lambda t: t.iloc[:0]), {}, "has a header and no rows"),
        (lambda r: (r / "table.csv").write_text(""), {}, r"table\.csv is empty"),
        (lambda r: (r / "table.csv").write_bytes(b"a,b\n\xe9,1\n"), {}, "is not utf-8 text"),
        (lambda r: (r / "table.csv").unlink(), {}, "no table"),
        (edited(lambda t: t.assign(x=1).rename(columns={"x": "age"})), {}, r"several columns called \['age'\]"),
    ],
)
def test_invalid_tables_and_options_raise(
    tmp_path: Path, spoil: Callable[[Path], object] | None, options: dict[str, object], message: str
) -> None:
    root = trees.own_table(tmp_path)
    if spoil is not None:
        spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_table(root, **options).load()


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    root = trees.own_table(tmp_path)
    _first("case", "c1")(root)
    (root / "photos" / "3.png").unlink()
    with pytest.raises(DatasetError) as caught:
        open_table(root, classes=["benign", "malignant"])
    assert len(caught.value.faults) == 16 + 1 + 1


def test_registered_dataset_needs_table_and_label(whole: Path) -> None:
    with pytest.raises(ValueError, match="needs a table, table=FILE"):
        datasets.create("table", label="diagnosis")
    with pytest.raises(ValueError, match="needs the column of the labels, label=COLUMN"):
        datasets.create("table", table=whole / "table.csv")


def test_registered_options_match_class() -> None:
    options = set(registry.keyword_options(TableDataset.__init__))
    assert set(datasets.options("table")) == options | {"table", "cache", "progress"}


def test_save_schema_writes_file(whole: Path, tmp_path: Path) -> None:
    options = {**BASE, "table": whole / "table.csv", "save_schema": tmp_path / "schema.toml"}
    schema = datasets.get("table").plan(**options).schema
    assert TableSchema.load(tmp_path / "schema.toml") == schema


def chosen(root: Path, out: Path, model: str, **data: object) -> settings.Settings:
    overrides = {
        "run": {"out": str(out), "device": "cpu", "cache_gb": 0.0},
        "train": {"epochs": 1, "resamples": 20},
        "data": {"table": str(root / "table.csv"), **BASE, "drop": ["part"], "size": 16, **data},
    }
    return settings.resolve(model, "table", [overrides])


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("cfcml", "tip") else EXHAUSTIVE)
        for name in registry.models.list()
    ],
)
def test_every_model_runs_on_own_table(whole: Path, tmp_path: Path, model: str) -> None:
    run.start(chosen(whole, tmp_path / "run", model))
    frame = pd.read_csv(whole / "table.csv").drop(columns=["diagnosis", "part", "hospital"])
    result = predictor.load(tmp_path / "run").predict(frame, whole)
    stored = pd.read_csv(tmp_path / "run" / "predictions.csv").query("part == 'test'")
    expected = result.set_index("case").loc[stored["id"], "prob_malignant"]
    np.testing.assert_allclose(stored["prob_malignant"].to_numpy(), expected.to_numpy(), atol=1e-5)


@pytest.mark.slow
def test_run_on_volumes(volumes: Path, tmp_path: Path) -> None:
    run.start(chosen(volumes, tmp_path / "run", "concat", size=[16, 16, 4]))
    frame = pd.read_csv(volumes / "table.csv").drop(columns="diagnosis")
    result = predictor.load(tmp_path / "run").predict(frame, volumes)
    stored = pd.read_csv(tmp_path / "run" / "predictions.csv").query("part == 'test'")
    expected = result.set_index("case").loc[stored["id"], "prob_benign"]
    np.testing.assert_allclose(stored["prob_benign"].to_numpy(), expected.to_numpy(), atol=1e-5)


def test_all_faults_of_check_are_reported_together(whole: Path, tmp_path: Path) -> None:
    table = pd.read_csv(whole / "table.csv", dtype=str, keep_default_na=False)
    table.loc[3, "diagnosis"] = ""
    table.loc[5, "photo"] = "nowhere.png"
    table.loc[6, "case"] = table.loc[7, "case"]
    table["mixed"] = ["a.nii.gz", *["b.png"] * (len(table) - 1)]
    table["part"] = ["holdout", *["train"] * (len(table) - 1)]
    table["dose"] = ["much", *["1.5"] * (len(table) - 1)]
    table["since"] = ["2020-01-02"] * (len(table) - 1) + ["yesterday"]
    table.to_csv(tmp_path / "table.csv", index=False)
    options = {"table": tmp_path / "table.csv", "label": "diagnosis", "id": "case", "group": "owner", "size": 8}
    given = {kind: {"kind": kind, "invalid": "error"} for kind in ("numerical", "date")}
    overrides = {"nothing": "drop", "dose": given["numerical"], "since": given["date"]}
    report = check(
        "table", whole, images=["photo", "mixed"], overrides=overrides, test="part", subgroups="ward", **options
    )
    expected = (
        "overrides are given for ['nothing']",
        "the table has no column 'owner'",
        "label column 'diagnosis' is empty in 1 row(s): 3",
        "image column 'mixed' has several kinds of files (NIfTI volumes such as 'a.nii.gz', images such as 'b.png')",
        "occurs 2 times, in rows 6, 7",
        "column 'part' expects train, validation and test, or true and false, got holdout, train",
        "column 'dose'",
        "column 'since'",
        "the table has no column 'ward'",
        "nowhere.png",
    )
    assert len(report.faults) == len(expected)
    for said, fault in zip(expected, report.faults, strict=True):
        assert said in fault


def test_missing_files_are_reported_with_other_errors(whole: Path, tmp_path: Path) -> None:
    """Schema, split file and root; also where the table itself is missing or not given."""
    lacking = {"schema": tmp_path / "a.toml", "split_file": tmp_path / "b.csv", "root": tmp_path / "c"}
    table = pd.read_csv(whole / "table.csv", dtype=str, keep_default_na=False)
    table.loc[3, "diagnosis"] = ""
    with pytest.raises(DatasetError) as caught:
        TableDataset(table, label="diagnosis", images=["photo"], group="owner", **lacking)
    assert not isinstance(caught.value, FileNotFoundError)
    expected = (
        f"the root {tmp_path / 'c'} does not exist",
        "the table has no column 'owner'",
        "label column 'diagnosis' is empty in 1 row(s): 3",
        f"the split file {tmp_path / 'b.csv'} does not exist",
        f"the schema {tmp_path / 'a.toml'} does not exist",
    )
    assert len(caught.value.faults) == len(expected)
    for said, fault in zip(expected, caught.value.faults, strict=True):
        assert said in fault
    for bad, what in ((tmp_path / "no.csv", "no table"), (table.iloc[:0], "has no rows"), (tmp_path / "x.doc", "")):
        (tmp_path / "x.doc").write_text("")
        with pytest.raises(DatasetError) as caught:
            TableDataset(bad, label="diagnosis", **lacking)
        assert len(caught.value.faults) == 4
        assert what in caught.value.faults[-1]
    folder = {"schema": tmp_path, "split_file": tmp_path}
    with pytest.raises(FileNotFoundError, match=r"2 faults: the split .* does not exist; the schema .* does not exist"):
        TableDataset(table.drop(index=3), label="diagnosis", images=[], **folder)
    with pytest.raises(ValueError, match=r"needs a table, .*; and the column of the labels, label="):
        registry.datasets.create("table")


@pytest.mark.parametrize("name", ["schema", "split_file"])
def test_unreadable_files_are_reported_with_other_errors(whole: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(b"\xff\x00\n")
    table = pd.read_csv(whole / "table.csv", dtype=str, keep_default_na=False)
    table.loc[3, "diagnosis"] = ""
    with pytest.raises(DatasetError) as caught:
        TableDataset(table, label="diagnosis", images=[], **{name: tmp_path / "a"})
    assert len(caught.value.faults) == 2
    assert str(tmp_path / "a") in caught.value.faults[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 3, "fold": 3}, "fold expects a whole number from 0 to 2, got 3"),
        ({"fractions": (0.5, 0.5, 0.5)}, "three shares"),
        ({"folds": 99}, "99 sets need at least as many groups"),
        ({"test": "part", "fold": 7}, "no case has the value ['7'] of the test set"),
    ],
)
def test_split_errors_are_reported_with_other_errors(change: dict[str, object], message: str, whole: Path) -> None:
    table = pd.read_csv(whole / "table.csv", dtype=str, keep_default_na=False)
    table.loc[3, "diagnosis"] = ""
    with pytest.raises(DatasetError) as caught:
        TableDataset(table, root=whole, **{**BASE, **change})
    empty, split = caught.value.faults
    assert "is empty in 1 row(s): 3" in empty
    assert message in split


def test_cell_errors_against_schema_are_reported_with_other_errors(whole: Path, tmp_path: Path) -> None:
    overrides = {"age": {"kind": "numerical", "invalid": "error"}}
    open_table(whole, overrides=overrides).save_schema(tmp_path / "schema.toml")
    table = pd.read_csv(whole / "table.csv", dtype=str, keep_default_na=False)
    table.loc[3, "diagnosis"] = ""
    table.loc[4, "age"] = "elderly"
    with pytest.raises(DatasetError) as caught:
        TableDataset(table.drop(columns="smoker"), root=whole, **BASE, schema=tmp_path / "schema.toml")
    assert len(caught.value.faults) == 3
    for said, fault in zip(("in 1 row(s): 3", "no column 'smoker'", "'elderly'"), caught.value.faults, strict=True):
        assert said in fault


@pytest.mark.parametrize("kind", ["whole", "volumes"])
def test_max_bytes_reaches_every_source(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    result = open_table(folder, size=(8, 8, 4), max_bytes=12345)
    assert [source.max_bytes for source in result.reader.images.values()] == [12345, 12345]
