"""What is looked at when a run starts: absent and constant images, and digests that a resumed run compares."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn

from mmfusion.data.bundle import DataBundle
from mmfusion.data.datasets.table import table
from mmfusion.data.images.cache import ImageCache
from mmfusion.experiments import folder, run, settings
from mmfusion.experiments.survey import check_images, differences, survey
from mmfusion.training.result_files import read_json

N = 24


def place(root: Path) -> pd.DataFrame:
    """A table with images of 4 x 4; three rows of which name files that are not there."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "case": [f"c{i}" for i in range(N)],
            "age": rng.normal(50, 9, N).round(2),
            "site": np.where(rng.random(N) < 0.5, "arm", "leg"),
            "photo": [f"{i}.png" for i in range(N)],
            "part": ["train"] * 12 + ["validation"] * 6 + ["test"] * 6,
            "dx": ["good", "bad"] * (N // 2),
        }
    )
    for i in set(range(N)) - {0, 1, 13}:
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(root / f"{i}.png")
    return frame


def read(home: Path, frame: pd.DataFrame, **options: Any) -> DataBundle:
    frame.to_csv(home / "cases.csv", index=False)
    given = {"label": "dx", "images": "photo", "id": "case", "test": "part", "size": 4, "missing_images": "absent"}
    return table(table=home / "cases.csv", **{**given, **options})


def test_absent_images_are_counted(tmp_path: Path) -> None:
    found = survey(read(tmp_path, place(tmp_path)))
    assert found.absent == {"photo": {"train": 2, "validation": 1, "test": 0}}
    assert found.notes == ("The image 'photo' is absent: 2 of 12 in train, 1 of 6 in validation, 0 of 6 in test.",)


def test_no_training_image_raises_or_is_absent(tmp_path: Path) -> None:
    frame, root = place(tmp_path), tmp_path / "elsewhere"
    root.mkdir()
    bundle = read(tmp_path, frame, root=root)
    found = survey(bundle)
    assert found.absent["photo"] == {"train": 12, "validation": 6, "test": 6}

    class Looks(nn.Module):
        names = ("photo", "meta")

    with pytest.raises(FileNotFoundError, match=r"none of the 12 training cases.*'photo' \(column 'photo'\).*run.root"):
        check_images(found, bundle, Looks(), str(root))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        check_images(found, bundle, nn.Identity(), str(root))

    class Tabular(nn.Module):
        names = ("meta",)

    check_images(found, bundle, Tabular(), str(root))


def test_constant_images_are_noted(tmp_path: Path) -> None:
    frame = place(tmp_path)
    one = survey(read(tmp_path, frame.assign(photo="5.png")))
    assert one.notes[0].startswith("The image 'photo' is the same in all 12 training cases that have it")
    for i in range(N):
        Image.fromarray(np.full((4, 4, 3), i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    flat = survey(read(tmp_path, frame))
    assert flat.notes == ("The image 'photo' has one value in all pixels, in each of 12 training cases looked at.",)


def test_digests_are_the_same_with_and_without_cache(tmp_path: Path) -> None:
    frame = place(tmp_path)
    memory, cached = (survey(read(tmp_path, frame, cache=c)) for c in (None, ImageCache(tmp_path / "cache")))
    again = survey(read(tmp_path, frame, cache=ImageCache(tmp_path / "cache")))
    assert memory == cached == again
    assert set(memory.digests["columns"]) == {"age", "site"}
    # No label or cell is in them.
    assert all(len(digest.rpartition(":")[2]) == 64 for kind in memory.digests.values() for digest in kind.values())


@pytest.mark.slow
@pytest.mark.parametrize("row", [3, 14, 20])
def test_digest_differences_name_every_change(tmp_path: Path, row: int) -> None:
    """In each set."""
    frame = place(tmp_path)
    before = survey(read(tmp_path, frame)).digests
    assert differences(before, survey(read(tmp_path, frame)).digests) == []
    other = frame.copy()
    other.loc[row, "age"] += 0.01
    assert differences(before, survey(read(tmp_path, other)).digests) == ["the table's column 'age'"]
    other = frame.copy()
    other.loc[row, "site"] = "leg" if frame["site"][row] == "arm" else "arm"
    assert differences(before, survey(read(tmp_path, other)).digests) == ["the table's column 'site'"]
    other = frame.copy()
    other.loc[row, "dx"] = "good" if frame["dx"][row] == "bad" else "bad"
    assert differences(before, survey(read(tmp_path, other, classes=("bad", "good"))).digests) == [
        "the labels of 'label'"
    ]
    (tmp_path / f"{row}.png").unlink()
    gone = survey(read(tmp_path, frame)).digests
    assert differences(before, gone) == ["the images 'photo'"]
    assert differences({}, gone) == differences(None, gone) == []
    # Sums of files and of pixels are no difference.
    assert differences(before, {**before, "images": {"photo": "files:" + "0" * 64}}) == []


@pytest.mark.slow
def test_resume_needs_the_same_cases(tmp_path: Path) -> None:
    frame = place(tmp_path)
    frame.to_csv(tmp_path / "cases.csv", index=False)
    given = {
        "run": {"out": str(tmp_path / "run"), "device": "cpu", "cache": str(tmp_path / "cache"), "references": False},
        "data": {
            "table": str(tmp_path / "cases.csv"),
            "label": "dx",
            "images": "photo",
            "id": "case",
            "test": "part",
            "size": 4,
            "missing_images": "absent",
        },
        # Batches with one photograph alone.
        "train": {"epochs": 2, "batch_size": 3, "resamples": 50},
    }
    out = run.start(settings.resolve("concat", "table", [given])).folder
    metrics = read_json(out / folder.METRICS)
    assert metrics["absent_images"] == {"photo": {"train": 2, "validation": 1, "test": 0}}
    assert any(note.startswith("The image 'photo' is absent: 2 of 12 in train") for note in metrics["notes"])
    assert metrics["content"]["cases"] == read_json(out / folder.CASE)["content"]["cases"]
    (out / folder.METRICS).unlink()
    table_as_it_was, image = (tmp_path / "cases.csv").read_bytes(), (tmp_path / "5.png").read_bytes()
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def refused(*named: str) -> None:
        with pytest.raises(ValueError, match=r"is not the one that .* began with") as caught:
            run.resume(out)
        assert all(name in str(caught.value) for name in (*named, "overwrite=True")), caught.value
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    other = frame.assign(age=frame["age"].where(frame.index != 15, 99.0), dx=frame["dx"].where(frame.index != 4, "bad"))
    other.to_csv(tmp_path / "cases.csv", index=False)
    refused("data.table", "'age'", "the labels of 'label'")
    (tmp_path / "cases.csv").write_text("case,dx\n1,good\n")
    refused("data.table")
    (tmp_path / "cases.csv").write_bytes(table_as_it_was)
    shutil.copy(tmp_path / "6.png", tmp_path / "5.png")
    refused("the images 'photo'")
    (tmp_path / "5.png").write_bytes(image)
    # Killed before the first epoch was whole, the same holds.
    (out / "last.safetensors").rename(tmp_path / "last")
    (tmp_path / "cases.csv").write_text(table_as_it_was.decode().replace("arm", "leg", 1))
    del before["last.safetensors"]
    refused("'site'")
    (tmp_path / "cases.csv").write_bytes(table_as_it_was)
    (tmp_path / "last").rename(out / "last.safetensors")
    resumed = run.resume(out).metrics
    assert {k: v for k, v in resumed.items() if k != "cost"} == {k: v for k, v in metrics.items() if k != "cost"}
