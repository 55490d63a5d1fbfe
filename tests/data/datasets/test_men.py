from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from helpers import trees
from mmfusion.data import DataBundle, DatasetError, ImageCache
from mmfusion.data.datasets.men import CLASSES, CLINICAL, FILES, SIZE, _images
from mmfusion.experiments import predictor, run, settings
from mmfusion.registry import datasets

H, W, S = trees.VOLUME


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return trees.men(tmp_path_factory.mktemp("men"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.men(tmp_path / "men", train=3, test=1)


def create(root: Path | None, **options: object) -> DataBundle:
    small = {"size": trees.VOLUME, "shape": trees.VOLUME, "validation": 0.25}
    bundle: DataBundle = datasets.create("men", root=root, **{**small, **options})
    return bundle


def voxels(root: Path, bundle: DataBundle, case: int, file: str) -> torch.Tensor:
    """What is in a training case's file, clipped, in double precision."""
    place = root / bundle.train.frame["folder"].iloc[case] / file
    return torch.from_numpy(np.asarray(nibabel.load(place).dataobj)).double().clip(0, 1200)


@pytest.mark.slow
def test_folders_define_the_split(whole: Path) -> None:
    bundle = create(whole)
    assert bundle.spec.names == ("t1", "t2", "adc", "meta")
    assert bundle.spec["adc"].shape == (1, H, W, S)
    assert bundle.spec.targets["label"].names == CLASSES
    result = {name: part.frame["folder"].tolist() for name, part in vars(bundle).items() if name in ("train", "test")}
    assert all(folder.startswith("1fold/test/") for folder in result["test"])
    assert all(folder.startswith("1fold/train/") for folder in result["train"])
    counts = [torch.bincount(part.labels("label")).tolist() for part in (bundle.train, bundle.validation, bundle.test)]
    assert np.sum(counts[:2], axis=0).tolist() == [6, 6, 6]
    assert counts[2] == [3, 3, 3]
    # A quarter of 6 is one or two of each class.
    assert set(counts[1]) <= {1, 2}
    assert [CLASSES[i] for i in bundle.train.labels("label")] == [f.split("/")[2] for f in result["train"]]
    assert bundle.fold == 0


@pytest.mark.slow
def test_validation_depends_on_split_seed(whole: Path) -> None:
    first, again, other = (create(whole, split_seed=seed) for seed in (0, 0, 1))
    assert first.validation.ids == again.validation.ids != other.validation.ids
    assert first.test.ids == other.test.ids


@pytest.mark.slow
@pytest.mark.parametrize("fold", [2, 3])
def test_fold_is_read_from_folders(tmp_path: Path, fold: int) -> None:
    bundle = create(trees.men(tmp_path, train=2, test=1, fold=fold), fold=fold)
    assert bundle.fold == fold - 1
    assert bundle.test.frame["folder"].str.startswith(f"{fold}fold/").all()


@pytest.mark.slow
def test_sequences_are_standardized_separately(whole: Path) -> None:
    bundle = create(whole)
    case = bundle.train[2]
    for name, file in FILES.items():
        raw = voxels(whole, bundle, 2, file)
        expected = (raw - raw.mean()) / raw.std(correction=0)
        torch.testing.assert_close(case.inputs[name][0].double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_sequences_are_standardized_by_training_set(whole: Path) -> None:
    bundle = create(whole, standardise="sequence")
    everything = torch.stack([voxels(whole, bundle, i, FILES["t2"]) for i in range(len(bundle.train))])
    raw = voxels(whole, bundle, 0, FILES["t2"])
    expected = (raw - everything.mean()) / everything.std(correction=0)
    torch.testing.assert_close(bundle.train[0].inputs["t2"][0].double(), expected, atol=1e-4, rtol=1e-4)
    again = bundle.reader.read(bundle.test.frame, whole)
    assert torch.equal(again[0].inputs["t2"], bundle.test[0].inputs["t2"])
    assert create(whole, standardise="none").train[0].inputs["t2"][0].double().equal(raw)


@pytest.mark.slow
def test_sequences_as_channels(whole: Path, tmp_path: Path) -> None:
    apart, stacked = create(whole), create(whole, sequences="channels")
    assert stacked.spec.names == ("mri", "meta")
    assert stacked.spec["mri"].shape == (3, H, W, S)
    cached = create(whole, sequences="channels", cache=ImageCache(tmp_path / "cache"))
    batch = range(len(apart.train))
    expected = torch.cat([apart.train.__getitems__(batch).inputs[name] for name in FILES], dim=1)
    torch.testing.assert_close(stacked.train.__getitems__(batch).inputs["mri"], expected)
    assert torch.equal(cached.train[1].inputs["mri"], stacked.train[1].inputs["mri"])


@pytest.mark.slow
def test_changed_channel_is_decoded_again(root: Path, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "cache")
    before = create(root, sequences="channels", cache=cache).test[0].inputs["mri"]
    trees.write_volume(root / "1fold/test/Grade_1/PNTE000/adc_bbox.nii.gz", trees.VOLUME, seed=77)
    after = create(root, sequences="channels", cache=cache).test[0].inputs["mri"]
    assert torch.equal(before[:2], after[:2])
    assert not torch.equal(before[2], after[2])


@pytest.mark.slow
def test_slices_first_are_moved_last(tmp_path: Path) -> None:
    root = trees.men(tmp_path, train=2, test=1, first=True)
    bundle = create(root, standardise="none")
    raw = voxels(root, bundle, 0, FILES["t1"])
    assert raw.shape == (S, H, W)
    assert bundle.train[0].inputs["t1"][0].double().equal(raw.permute(1, 2, 0))


@pytest.mark.slow
def test_columns_by_position(whole: Path) -> None:
    bundle = create(whole)
    schema = bundle.reader.schema
    assert schema is not None
    assert schema.names == ("age", "adc_value", "tumour_area", "oedema_area", "location", "sex")
    assert schema.categorical[0].categories == ("convex surface", "skull base", "other location")
    csv = pd.read_csv(whole / "clinical.csv", dtype=str).set_index("name")
    for case in range(len(bundle.train)):
        row = csv.loc[bundle.train.ids[case]]
        table = bundle.train[case].inputs["meta"]
        assert table.categorical.tolist() == [int(row["loc"]) - 1, int(row["gender"])]
        result = table.numerical * torch.tensor([c.std for c in schema.numerical]) + torch.tensor(
            [c.mean for c in schema.numerical]
        )
        np.testing.assert_allclose(result, row[["years", "ADC", "area", "edema"]].astype(float), rtol=1e-5, atol=1e-4)
    said = [word.sentence(name, "1") for word, name in zip(bundle.spec["meta"].wordings, schema.names)]
    assert said[0] == "The age of patient is 1"
    assert said[4] == "The tumor location in the brain is 1"


def _csv(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda root: trees.edit(root / "clinical.csv", change)


def _cell(column: int, value: str) -> Callable[[Path], None]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.iloc[2, column] = value
        return table

    return _csv(change)


def _move(old: str, new: str) -> Callable[[Path], None]:
    def move(root: Path) -> None:
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)

    return move


def _copy(old: str, new: str) -> Callable[[Path], None]:
    def copy(root: Path) -> None:
        for path in (root / old).iterdir():
            (root / new).mkdir(parents=True, exist_ok=True)
            (root / new / path.name).write_bytes(path.read_bytes())

    return copy


def _corrupt(root: Path) -> None:
    path = root / "1fold/train/Grade_1/PNTR000/t2_bbox.nii.gz"
    content = bytearray(path.read_bytes())
    content[-40] ^= 255
    path.write_bytes(content)


def _misshapen(root: Path) -> None:
    trees.write_volume(root / "1fold/train/Grade_1/PNTR000/t1_bbox.nii.gz", (H, W, S + 1))


PATIENT = "1fold/train/Grade_1/PNTR000"
FAULTS = [
    (
        lambda r: (r / PATIENT / "t1_bbox.nii.gz").unlink(),
        r"1 image.*column '\{folder\}/t1_bbox\.nii\.gz': 1fold/train",
    ),
    (_corrupt, r"1 image file\(s\).*PNTR000/t2_bbox\.nii\.gz \(not a NIfTI volume, damaged or truncated"),
    (
        _misshapen,
        r"t1_bbox.*expected \(height, width, slices\) = \(16, 12, 4\), slices first or last; got .* 12, 5\)",
    ),
    (_csv(lambda t: t[t["name"] != "PNTR000"]), f"the folder {PATIENT} has no row in the clinical table"),
    (_move(PATIENT, "elsewhere"), r"row \d+ of the clinical table, 'PNTR000', has no folder"),
    (_csv(lambda t: pd.concat([t, t[:1]])), r"patient '\w+' has 2 rows in the clinical table: 0, 12"),
    (_cell(0, ""), "the clinical table has no patient in row 2"),
    (_copy(PATIENT, "1fold/test/Grade_1/PNTR000"), "patient 'PNTR000' is in train and in test: .* too optimistic"),
    (_copy(PATIENT, "1fold/train/Grade_2_invasion/PNTR000"), "patient 'PNTR000' has 2 folders"),
    (
        _copy(PATIENT, "1fold/train/Grade_3/PNXX"),
        r"train has the folder 'Grade_3', which is no class; known are: Grade_1",
    ),
    (_move("1fold/train/Grade_1", "x"), r"1fold/train has no folder Grade_1"),
    (_move("1fold/test", "x"), r"1fold has no folder test"),
    (_move("1fold", "9fold"), r"has no folder 1fold; it has: 9fold, clinical\.csv"),
    (_cell(4, "5"), r"column 5 expects the location: 1 convex surface, .* got row 2 '5'"),
    (_cell(5, "9"), r"column 6 expects the sex: 0 female, 1 male; got row 2 '9'"),
    (_cell(6, "1962"), r"column 7 expects the age, from 0 to 120; got row 2 1962"),
    (_cell(7, "high"), r"column 8 expects the adc_value: .*row 2 has 'high'"),
    (_cell(8, "-1"), r"column 9 expects the tumour_area, of at least 0; got row 2 -1"),
    (_csv(lambda t: t.iloc[:, :9]), r"expects at least 10 columns, the first the patient's folder .* it has 9: name"),
    (_csv(lambda t: t.iloc[:0]), "has a header and no rows"),
    (lambda r: (r / "clinical.csv").write_text(""), r"clinical\.csv is empty"),
    (lambda r: (r / "clinical.csv").write_bytes("姓名,x\n".encode("gbk")), r"is not utf-8 text: .*Save it as UTF-8"),
    (lambda r: (r / "clinical.csv").unlink(), r"has no table \(\.csv\): give the clinical one"),
    (
        lambda r: (r / "more.csv").write_text("a\n1\n"),
        r"has several tables, clinical\.csv, more\.csv: give the clinical one",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_damaged_folders_raise(root: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        create(root)


def test_all_errors_are_reported_together(root: Path) -> None:
    _cell(4, "5")(root)
    _csv(lambda t: t[t["name"] != "PNTR000"])(root)
    (root / "1fold/train/Grade_1/PNTR001/adc_bbox.nii.gz").unlink()
    with pytest.raises(DatasetError) as caught:
        create(root)
    assert len(caught.value.faults) == 3


def test_table_by_name_and_encoding(root: Path) -> None:
    (root / "more.csv").write_text("a\n1\n")
    table = (root / "clinical.csv").read_text().replace("hospital", "医院")
    (root / "clinical.csv").write_bytes(table.encode("gbk"))
    assert len(create(root, table="clinical.csv", encoding="gbk").test) == 3


def test_folder_names_are_case_insensitive_and_other_files_ignored(root: Path) -> None:
    _move("1fold/train/Grade_1", "1fold/train/grade_1")(root)
    _move("1fold/test", "1fold/Test")(root)
    trees.write_volume(root / PATIENT.replace("Grade", "grade") / "t1_bbox_noise0.nii.gz", (2, 2, 2))
    (root / "1fold" / "train_minbalance").mkdir()
    assert sum(len(part) for part in vars(create(root)).values() if hasattr(part, "labels")) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 0}, "fold expects int from 1 to 3, got 0"),
        ({"sequences": "stack"}, "sequences expects one of modalities, channels, got 'stack'"),
        ({"size": 32}, r"size expects 3 values, a list of int from 1 to 8192, got 32"),
        ({"validation": 1.5}, "validation expects float from 0 to below 1, got 1.5"),
        ({"standardise": "z"}, "standardise expects"),
        ({"root": None}, "needs the folder with the folders 1fold"),
        ({"table": "none.csv"}, r"no table .*none\.csv"),
    ],
)
def test_invalid_options_raise(whole: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        create(**{"root": whole, **options})


@pytest.mark.slow
def test_reader_reads_new_cases(whole: Path) -> None:
    bundle = create(whole)
    new = bundle.test.frame[["folder", *CLINICAL]]
    again = bundle.reader.read(new, whole, with_targets=False)
    for name in FILES:
        assert torch.equal(again[1].inputs[name], bundle.test[1].inputs[name])


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("sequences", ["modalities", "channels"])
def test_recipe_runs(whole: Path, tmp_path: Path, sequences: str) -> None:
    overrides = {
        "run": {"root": str(whole), "out": str(tmp_path / "run"), "device": "cpu", "cache": str(tmp_path / "cache")},
        "train": {"epochs": 2, "batch_size": 6, "resamples": 20},
        "data": {"size": [16, 16, 4], "shape": list(trees.VOLUME), "sequences": sequences, "validation": 0.25},
        "model": {"encoder": "convnet", "weights": "none"},
    }
    folder = run.start(settings.resolve("cfcml", "men", [overrides])).folder
    stored = pd.read_csv(folder / "predictions.csv").query("part == 'test'")
    frame = create(whole, size=(16, 16, 4)).test.frame
    result = predictor.load(folder).predict(frame, whole)
    np.testing.assert_allclose(result["prob_Grade_1"].to_numpy(), stored["prob_Grade_1"].to_numpy(), atol=1e-5)


def test_files_of_published_shape_are_accepted(tmp_path: Path) -> None:
    source = _images("modalities", SIZE, SIZE)["t1"]
    for shape in ((128, 128, 24), (24, 128, 128)):
        trees.write_volume(tmp_path / "x.nii.gz", shape)
        assert source.decode(tmp_path / "x.nii.gz").shape == (1, 128, 128, 24)
    for shape in ((128, 128, 23), (128, 24, 128)):
        trees.write_volume(tmp_path / "x.nii.gz", shape)
        with pytest.raises(ValueError, match=r"= \(128, 128, 24\), slices first or last; got shape \(128, "):
            source.probe(tmp_path / "x.nii.gz")


@pytest.mark.slow
def test_validation_zero_trains_on_all(whole: Path) -> None:
    with_one, bundle = create(whole), create(whole, validation=0.0)
    assert len(bundle.validation) == 0
    assert sorted(bundle.train.ids) == sorted([*with_one.train.ids, *with_one.validation.ids])
    assert list(bundle.test.ids) == list(with_one.test.ids)
    assert "none of its" in bundle.notes[0]
    overrides = {"run": {"root": str(whole)}, "data": {"validation": 0, "size": [8, 8, 4], "shape": list(trees.VOLUME)}}
    chosen = {"model": {"encoder": "convnet", "weights": "none"}}
    with pytest.raises(ValueError, match=r"men has no validation set with these options, .*data.validation=0.125"):
        run.start(settings.resolve("image", "men", [overrides, chosen]))
