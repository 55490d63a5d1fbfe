import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers import trees
from mmfusion.data import DataBundle, DatasetError
from mmfusion.data.datasets.derm7pt import CRITERIA, DIAGNOSES, LEAK, PUBLISHED, derm7pt
from mmfusion.experiments import predictor, run, settings
from mmfusion.registry import datasets

Edit = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return trees.derm7pt(tmp_path_factory.mktemp("derm7pt"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.derm7pt(tmp_path / "derm7pt", {part: {"NEV": 2, "MEL": 2} for part in trees.DERM7PT}, others=1)


def create(root: Path, **options: object) -> DataBundle:
    bundle: DataBundle = datasets.create("derm7pt", root=root, **{"size": 8, **options})
    return bundle


def counts(bundle: DataBundle) -> list[list[int]]:
    parts = (bundle.train, bundle.validation, bundle.test)
    n = bundle.spec.targets["label"].n_out
    return [torch.bincount(part.labels("label"), minlength=n).tolist() for part in parts]


def test_nevus_or_melanoma_in_the_official_split(whole: Path) -> None:
    bundle = create(whole)
    assert bundle.spec.names == ("derm", "clinic", "meta")
    assert bundle.spec["derm"].shape == bundle.spec["clinic"].shape == (3, 8, 8)
    assert bundle.spec.targets["label"].names == ("NEV", "MEL")
    assert counts(bundle) == [[8, 5], [5, 4], [6, 5]]
    indexes = pd.read_csv(whole / "meta" / "test_indexes.csv")["indexes"]
    meta = pd.read_csv(whole / "meta" / "meta.csv")
    kept = [i for i in sorted(indexes) if DIAGNOSES[meta["diagnosis"][i]] in ("NEV", "MEL")]
    assert bundle.test.ids == [str(meta["case_num"][i]) for i in kept]
    assert [("NEV", "MEL")[i] for i in bundle.test.labels("label")] == [DIAGNOSES[meta["diagnosis"][i]] for i in kept]


def test_image_names_are_case_insensitive(whole: Path) -> None:
    bundle = create(whole, size=16)
    case = bundle.test[0]
    row = int(bundle.test.ids[0]) - 1
    for view, name in (("derm", f"Nel{row:03d}.jpg"), ("clinic", f"Nel{row:03d}_c.jpg")):
        with Image.open(whole / "images" / f"NE{row % 3}" / name) as image:
            pixels = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
        assert torch.equal(case.inputs[view], torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255)


def test_diagnosis_task_has_five_classes(whole: Path) -> None:
    bundle = create(whole, task="diagnosis")
    assert bundle.spec.targets["label"].names == ("BCC", "NEV", "MEL", "MISC", "SK")
    assert counts(bundle) == [[2, 8, 5, 2, 2], [2, 5, 4, 2, 2], [2, 6, 5, 2, 2]]


@pytest.mark.slow
def test_criteria_task_has_seven_targets(whole: Path, tmp_path: Path) -> None:
    bundle = create(whole, task="criteria")
    assert {name: target.n for name, target in bundle.spec.targets.items()} == {
        "pigment_network": 3,
        "streaks": 3,
        "pigmentation": 3,
        "regression_structures": 2,
        "dots_and_globules": 3,
        "blue_whitish_veil": 2,
        "vascular_structures": 3,
    }
    for name, groups in CRITERIA.items():
        cells = bundle.train.frame[name]
        expected = [next(i for i, finer in enumerate(groups.values()) if cell in finer) for cell in cells]
        assert bundle.train.labels(name).tolist() == expected
    chosen = settings.resolve(
        "tabular",
        "derm7pt",
        [{"run": {"root": str(whole), "out": str(tmp_path / "run")}, "data": {"task": "criteria"}}],
    )
    with pytest.raises(ValueError, match=r"trains one target.*derm7pt has 7: .*streaks.*data\.task"):
        run.start(chosen)
    assert not (tmp_path / "run").exists()


def test_columns_by_option(whole: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean = create(whole)
    assert clean.spec["meta"].names == ("elevation", "location", "sex")
    assert not any("management" in note for note in clean.notes)
    with pytest.warns(UserWarning, match="every melanoma of this dataset was excised"):
        parity = create(whole, columns="parity")
    assert parity.spec["meta"].categorical == (
        ("level_of_diagnostic_difficulty", 3),
        ("elevation", 3),
        ("location", 9),
        ("sex", 2),
        ("management", 3),
    )
    assert parity.notes.count(LEAK) == 1


def test_ranks_and_sentences_of_columns(whole: Path) -> None:
    with pytest.warns(UserWarning, match="management"):
        bundle = create(whole, columns="parity")
    schema = bundle.reader.schema
    assert schema is not None
    assert [column.kind for column in schema] == ["ordinal", "ordinal", "categorical", "categorical", "categorical"]
    assert schema.categorical[1].categories == ("flat", "palpable", "nodular")
    words = bundle.spec["meta"].wordings
    assert [word.sentence(name, "palpable") for word, name in zip(words, schema.names)] == [
        "The level of diagnostic difficulty is palpable",
        "The lesion elevation is palpable",
        "The lesion location is palpable",
        "The sex of patient is palpable",
        "The management for the patient is palpable",
    ]
    codes = bundle.train.__getitems__(range(len(bundle.train))).inputs["meta"].categorical[:, 1].tolist()
    assert codes == [("flat", "palpable", "nodular").index(cell) for cell in bundle.train.frame["elevation"]]


def test_a_repeated_image_is_noted(root: Path) -> None:
    trees.edit(root / "meta" / "meta.csv", lambda t: t.assign(clinic=[t["derm"][0], *t["clinic"][1:]]))
    n = sum(
        "the clinical image is the same as the dermoscopic one" in note for note in create(root, task="diagnosis").notes
    )
    assert n == 1


def test_counts_match_published(tmp_path: Path) -> None:
    """A table of the published size, without images: only the logic of the split."""
    published = {"train" if p == "train" else p[:5]: dict(c) for p, c in PUBLISHED["nev-mel"].items()}
    root = trees.derm7pt(tmp_path, published, others=0, images=False)
    planned = derm7pt.plan(root=root)
    assert planned.counts()["label"] == PUBLISHED["nev-mel"]
    assert [len(rows) for rows in planned.split] == [346, 161, 320]
    # The others of each part: 413, 203 and 395 cases in all.
    lacking = [413 - 346, 203 - 161, 395 - 320]
    assert sum(lacking) + 346 + 161 + 320 == 1011
    assert [sum(c.values()) for c in PUBLISHED["diagnosis"].values()] == [413, 203, 395]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def _meta(change: Edit) -> Callable[[Path], None]:
    return lambda root: trees.edit(root / "meta" / "meta.csv", change)


def _index(part: str, change: Edit) -> Callable[[Path], None]:
    return lambda root: trees.edit(root / "meta" / f"{part}_indexes.csv", change)


def _cell(column: str, row: int, value: str) -> Callable[[Path], None]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return _meta(change)


FAULTS = [
    (lambda r: (r / "images" / "NE1" / "Nel001.jpg").unlink(), r"1 image.*row 1, column 'derm': Ne1/NEL001\.JPG"),
    (
        lambda r: _cut(r / "images" / "NE1" / "Nel001_c.jpg"),
        r"1 image file.*row 1, column .*Nel001_c\.jpg \(.*truncated",
    ),
    (_cell("diagnosis", 2, "melanomma"), "label column 'diagnosis' has the label 'melanomma' in row 2; known are: BCC"),
    (_cell("diagnosis", 2, ""), "label column 'diagnosis' has no label in row 2"),
    (_cell("elevation", 3, "flatt"), "column 'elevation' has 'flatt' in row 3; known are: flat, palpable, nodular"),
    (_cell("case_num", 1, "1"), "column 'case_num': '1' occurs 2 times, in rows 0, 1"),
    (_cell("case_num", 1, ""), "column 'case_num' is empty in row 1"),
    (_meta(lambda t: t.drop(columns="elevation")), r"meta\.csv has no column 'elevation'; its columns are: case_num"),
    (_meta(lambda t: t.iloc[:0]), r"meta\.csv has a header and no rows"),
    (lambda r: (r / "meta" / "meta.csv").write_text(""), r"meta\.csv is empty: expected a header"),
    (lambda r: (r / "meta" / "meta.csv").write_bytes(b"a,b\n\xe9,1\n"), r"meta\.csv is not utf-8 text: byte 0xe9 in l"),
    (lambda r: (r / "meta" / "meta.csv").unlink(), r"has no meta/meta\.csv; it has: images, meta"),
    (lambda r: (r / "meta" / "valid_indexes.csv").unlink(), r"has no meta/valid_indexes\.csv"),
    (_index("test", lambda t: t.assign(indexes=["99", *t["indexes"][1:]])), r"positions from 0 to 20 in .* '99'"),
    (_index("test", lambda t: t.assign(indexes=["x", *t["indexes"][1:]])), r"positions from 0 to 20 in .* 'x'"),
    (_index("test", lambda t: t.iloc[1:]), r"1 row\(s\) of meta/meta\.csv are not in any of the three index files"),
    (_index("test", lambda t: pd.concat([t, t[:1]])), r"is in meta/test_indexes\.csv and in meta/test_indexes"),
    (_index("test", lambda t: t.rename(columns={"indexes": "i"})), r"test_indexes\.csv has no column 'indexes'"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_damaged_folders_raise(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        create(root, task="diagnosis")


def test_all_errors_are_reported_together(root: Path) -> None:
    _cell("diagnosis", 2, "melanomma")(root)
    _cell("sex", 4, "x")(root)
    (root / "images" / "NE0" / "Nel000.jpg").unlink()
    with pytest.raises(DatasetError) as caught:
        create(root)
    faults = caught.value.faults
    assert len(faults) == 3
    assert [word in fault for word, fault in zip(("'x' in row 4", "'melanomma' in row 2", "NEL000.JPG"), faults)] == [
        True,
        True,
        True,
    ]


def test_diagnosis_is_case_insensitive(root: Path) -> None:
    before = create(root).train.labels("label").tolist()
    _meta(lambda t: t.assign(diagnosis=t["diagnosis"].str.upper()))(root)
    assert create(root).train.labels("label").tolist() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "grade"}, "task expects one of nev-mel, diagnosis, criteria, got 'grade'"),
        ({"columns": "all"}, "columns expects one of clean, parity, got 'all'"),
        ({"root": None}, "needs the folder with the folders images and meta"),
        ({"fold": 1}, "has no option 'fold'"),
    ],
)
def test_invalid_options_raise(whole: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create(**{"root": whole, **options})


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cfcml", "concat"])
def test_recipe_runs(whole: Path, tmp_path: Path, model: str) -> None:
    overrides = {
        "run": {"root": str(whole), "out": str(tmp_path / "run"), "device": "cpu", "cache": str(tmp_path / "cache")},
        "train": {"epochs": 2, "batch_size": 8, "resamples": 20},
        "data": {"size": 32},
        "model": {"encoder": "convnet", "weights": "none"},
    }
    folder = run.start(settings.resolve(model, "derm7pt", [overrides])).folder
    test = create(whole, size=32).test
    result = predictor.load(folder).predict(test.frame, whole)
    stored = pd.read_csv(folder / "predictions.csv").query("part == 'test'")
    np.testing.assert_allclose(result["prob_MEL"].to_numpy(), stored["prob_MEL"].to_numpy(), atol=1e-6)


def test_bgr_flips_channels(whole: Path) -> None:
    usual, turned = create(whole), create(whole, colours="bgr")
    for name in ("derm", "clinic"):
        assert torch.equal(turned.train[0].inputs[name], usual.train[0].inputs[name].flip(0))
    with pytest.raises(ValueError, match="colours expects one of rgb, bgr, got 'grb'"):
        create(whole, colours="grb")
