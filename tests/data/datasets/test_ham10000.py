import numpy as np
import pandas as pd
import pytest
import torch

from mmfusion.data import DataBundle, ImageCache
from mmfusion.data.datasets.ham10000 import DIAGNOSES, FOLDERS
from mmfusion.data.samplers import ShuffledBatches
from mmfusion.experiments import run, settings
from mmfusion.registry import datasets
from mmfusion.training import inference
from mmfusion.training.result_files import read_json


def create(root, **options) -> DataBundle:
    return datasets.create("ham10000", root=root, **{"size": 8, **options})


def test_sets_share_no_lesion(ham_root):
    bundle = create(ham_root)
    parts = (bundle.train, bundle.validation, bundle.test)
    assert sum(len(part) for part in parts) == 60
    owners = [set(part.groups) for part in parts]
    assert len(set.union(*owners)) == sum(len(owner) for owner in owners) == 40
    assert len({name for part in parts for name in part.ids}) == 60
    assert bundle.spec.names == ("image", "meta")
    assert bundle.spec["image"].shape == (3, 8, 8)
    assert bundle.spec["meta"].names == ("age", "sex", "localization")
    assert bundle.spec.targets["label"].names == DIAGNOSES
    assert bundle.ceilings == {}


def test_labels_and_cells_match_table(ham_root):
    train = create(ham_root).train
    batch = train.__getitems__(range(len(train)))
    assert [DIAGNOSES[i] for i in batch.targets["label"]] == train.frame["dx"].tolist()
    assert torch.equal(
        batch.inputs["meta"].numerical[:, 0].isnan(), torch.tensor((train.frame["age"] == "").to_numpy())
    )
    assert ((batch.inputs["meta"].categorical[:, 0] == -1).numpy() == (train.frame["sex"] == "unknown")).all()


def test_statistics_are_of_training_rows(ham_root):
    bundle = create(ham_root)
    ages = pd.to_numeric(bundle.train.frame["age"])
    assert bundle.reader.schema.numerical[0].mean == pytest.approx(ages.mean())
    numerical = bundle.train.__getitems__(range(len(bundle.train))).inputs["meta"].numerical
    assert numerical.nanmean().abs() < 1e-6


@pytest.mark.slow
def test_cache_and_workers_give_same_images(ham_root, tmp_path):
    def epoch(workers: int, cache: ImageCache | None) -> list[torch.Tensor]:
        train = create(ham_root, cache=cache).train
        batches = ShuffledBatches(len(train), batch_size=16, seed=3)
        cpu = torch.device("cpu")
        loaded = inference.loader(train, batches, workers=workers, device=cpu)
        return [x for cases in loaded for x in (cases.position, inference.move(cases, cpu).inputs["image"])]

    plain = epoch(0, None)
    assert plain[1].dtype == torch.float32
    for workers, cached in ((2, False), (0, True), (2, True)):
        cache = ImageCache(tmp_path / "cache") if cached else None
        for result, expected in zip(epoch(workers, cache), plain, strict=True):
            assert torch.equal(result, expected)
    assert list((tmp_path / "cache").glob("*/keys"))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_run_is_the_same_with_and_without_cache(ham_root, tmp_path):
    """Built, reused, turned off; read by the main process and by two workers."""
    result = []
    for name, cache_gb, workers in (("built", 1.0, 0), ("again", 1.0, 2), ("without", 0.0, 0), ("others", 0.0, 2)):
        overrides = {
            "run": {
                "root": str(ham_root),
                "out": str(tmp_path / name),
                "cache": str(tmp_path / "cache"),
                "cache_gb": cache_gb,
                "device": "cpu",
            },
            "train": {"epochs": 2, "batch_size": 16, "workers": workers, "resamples": 20},
            "data": {"size": 32},
            "model": {"encoder": "convnet", "weights": "none"},
        }
        folder = run.start(settings.resolve("concat", "ham10000", [overrides])).folder
        losses = [entry["losses"] for entry in read_json(folder / "history.json")]
        result.append((losses, (folder / "predictions.csv").read_bytes()))
        assert len(list((tmp_path / "cache" / "images").glob("*/keys"))) == 1
    assert all(item == result[0] for item in result)


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_accepts_both_folder_layouts(ham_root, folder):
    for part in FOLDERS[:2]:
        for image in (ham_root / part).iterdir():
            (ham_root / folder).mkdir(exist_ok=True)
            image.rename(ham_root / folder / image.name)
    assert len(create(ham_root).train) > 0


@pytest.mark.slow
def test_split_depends_on_split_seed(ham_root):
    first, again, other = (create(ham_root, split_seed=seed).test.ids for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.slow
def test_folds_test_every_case_once(ham_root):
    folds = [create(ham_root, folds=4, fold=fold) for fold in range(4)]
    tested = [name for bundle in folds for name in bundle.test.ids]
    assert len(tested) == len(set(tested)) == 60
    assert [bundle.fold for bundle in folds] == [0, 1, 2, 3]
    assert any("fold 3 of 4" in note for note in folds[3].notes)
    for bundle in folds:
        parts = (bundle.train, bundle.validation, bundle.test)
        assert sum(len(set(part.groups)) for part in parts) == 40
    assert create(ham_root, folds=4).test.ids == folds[0].test.ids
    assert create(ham_root).fold == 0


def test_split_from_file(ham_root, tmp_path):
    first = create(ham_root, split_seed=3)
    parts = {"train": first.train, "validation": first.validation, "test": first.test}
    rows = [{"id": name, "group": "any", "part": part} for part, data in parts.items() for name in data.ids]
    pd.DataFrame(rows).to_csv(tmp_path / "splits.csv", index=False)
    again = create(ham_root, split_file=tmp_path / "splits.csv")
    assert (again.train.ids, again.test.ids) == (first.train.ids, first.test.ids)
    # Statistics follow the rows that the file calls training.
    assert again.reader.schema == first.reader.schema


def test_malignant_task_has_two_classes(ham_root):
    bundle = create(ham_root, task="malignant")
    assert bundle.spec.targets["label"].names == ("benign", "malignant")
    labels = bundle.train.labels("label").tolist()
    assert labels == [int(dx in ("mel", "bcc", "akiec")) for dx in bundle.train.frame["dx"]]


@pytest.mark.slow
def test_limit_keeps_class_shares(ham_root):
    bundle = create(ham_root, limit=20)
    parts = (bundle.train, bundle.validation, bundle.test)
    counts = sum(torch.bincount(part.labels("label"), minlength=7) for part in parts)
    assert counts.tolist() == [0, 5, 0, 0, 5, 10, 0]
    assert any("limit=20" in note for note in bundle.notes)
    assert len(create(ham_root, limit=1000).train) == len(create(ham_root).train)


def test_progress_reaches_total(ham_root):
    seen = []
    create(ham_root, progress=lambda *n: seen.append(n))
    assert seen[-1] == (60, 60)


def test_missing_root_option_raises():
    with pytest.raises(ValueError, match=r"needs the folder with HAM10000_metadata\.csv"):
        create(None)


def test_nonexistent_root_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root .*nowhere does not exist"):
        create(tmp_path / "nowhere")


def test_empty_root_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is empty, expected HAM10000_metadata\.csv"):
        create(tmp_path)


def test_root_without_table_raises(ham_root):
    (ham_root / "HAM10000_metadata.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no HAM10000_metadata\.csv; it has: HAM10000_images_part_1"):
        create(ham_root)


def test_empty_table_raises(ham_root):
    (ham_root / "HAM10000_metadata.csv").write_text("")
    with pytest.raises(ValueError, match=r"metadata\.csv is empty: expected a header"):
        create(ham_root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="sex"), r"metadata\.csv has no column 'sex'; its columns are: lesion_id, image_id"),
        (lambda t: t.drop(columns="lesion_id"), "no column 'lesion_id'"),
        (lambda t: t.iloc[:0], "has a header and no rows"),
        (lambda t: t.assign(age=["old", *t["age"][1:]]), "column 'age' expects numbers, but row 0 has 'old'"),
        (lambda t: t.assign(age=[*t["age"][:-1], "old"]), "column 'age' expects numbers, but row 59 has 'old'"),
        (lambda t: t.assign(dx="nv"), "only one class, 'nv', in all 60 rows"),
        (lambda t: t.assign(dx=["wart", *t["dx"][1:]]), "the label 'wart' in row 0; known are: akiec, bcc"),
        (lambda t: t.assign(dx=["", *t["dx"][1:]]), "no label in row 0"),
        (lambda t: t.assign(lesion_id=["", *t["lesion_id"][1:]]), "column 'lesion_id' is empty in row 0"),
        (lambda t: t.assign(image_id=[t["image_id"][1], *t["image_id"][1:]]), "'ISIC_0000001' occurs 2 times"),
    ],
)
def test_invalid_tables_raise(edit_table, change, message):
    with pytest.raises(ValueError, match=message):
        create(edit_table(change))


def test_malignant_task_with_one_class_raises(edit_table):
    with pytest.raises(ValueError, match="only one class, 'malignant'"):
        create(edit_table(lambda t: t.assign(dx=["mel", "bcc"] * 30)), task="malignant")


def test_missing_image_raises(ham_root):
    (ham_root / "HAM10000_images_part_2" / "ISIC_0000013.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 image.*row 13, column 'image_id': ISIC_0000013\.jpg"):
        create(ham_root)


def test_truncated_jpeg_raises(ham_root):
    path = ham_root / "HAM10000_images_part_1" / "ISIC_0000022.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"1 image file.*row 22, column .*ISIC_0000022\.jpg"):
        create(ham_root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "grade"}, "task expects one of diagnosis, malignant, got 'grade'"),
        ({"limit": 0}, "limit expects int from 1 to 10000000 or none, got 0"),
        ({"fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"fold": 1}, "fold=1 needs the number of folds"),
        ({"folds": 3, "fold": 3}, "from 0 to 2, got 3"),
        ({"seed": 1}, "has no option 'seed'"),
    ],
)
def test_invalid_options_raise(ham_root, options, message):
    with pytest.raises(ValueError, match=message):
        create(ham_root, **options)


@pytest.mark.slow
def test_real_images_have_expected_counts(real_ham10000):
    bundle = datasets.create("ham10000", root=real_ham10000, size=32)
    assert [len(part) for part in (bundle.train, bundle.validation, bundle.test)] == [3346, 482, 959]
    for part in (bundle.train, bundle.validation, bundle.test):
        shares = torch.bincount(part.labels("label"), minlength=7) / len(part)
        assert shares[5] == pytest.approx(0.7225, abs=0.01)
        assert (shares > 0).all()
    assert bundle.spec["meta"].categorical == (("sex", 2), ("localization", 14))


def test_leaking_column_is_noted(ham_root):
    path = ham_root / "HAM10000_metadata.csv"
    frame = pd.read_csv(path)
    frame["sex"] = np.where(frame["dx"] == frame["dx"].mode()[0], "male", "female")
    frame.to_csv(path, index=False)
    notes = create(ham_root).notes
    assert any(
        note.startswith("A possible leak: column 'sex' alone distinguishes classes from the rest") for note in notes
    )
