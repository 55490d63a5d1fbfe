import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

import mmfusion
from helpers import trees
from mmfusion.data import TableDataset
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.experiments import case_file, folder

DEEP: Any = []
for _ in range(40):
    DEEP = [DEEP]
VALUES: tuple[Any, ...] = (None, True, -1, 2.5, "x", "", [], {}, {"x": {}}, [None], 10**299, DEEP)
"""What may be in the place of any value."""

Change = tuple[list[str | int], Any]


def places(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value, the containers included."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changes(content: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """The content with each entry dropped, and with each value replaced by each of :data:`VALUES`."""
    for path in places(content):
        for value in (..., *VALUES):
            changed = copy.deepcopy(content)
            parent: Any = changed
            for key in path[:-1]:
                parent = parent[key]
            if value is ...:
                del parent[path[-1]]
            elif type(value) is type(parent[path[-1]]) and value == parent[path[-1]]:
                continue
            else:
                parent[path[-1]] = value
            yield path, changed


def named(path: tuple[str | int, ...], message: str) -> bool:
    """Whether a message names the entry, or what it is in: which of two that do not fit is wrong nobody knows."""
    keys = [key for key in path if isinstance(key, str)]
    return any(key in message for key in keys[1:] or keys)


def survivors(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The changed contents that are read without an error; every error is one line with the file and the key."""
    read = []
    for place, changed in changes({key: content[key] for key in ("spec", "reader")}):
        try:
            case_file.read(changed, path)
        except ValueError as error:
            message = str(error)
            assert message.startswith(f"{path} is damaged: ")
            assert named(place, message), (place, message)
            assert "\n" not in message
            assert len(message) < 600
        else:
            read.append(changed)
    return read


@pytest.mark.slow
def test_any_damage_of_case_file_raises_or_is_harmless(
    start: Callable[..., Path], fakes: ModuleType, tmp_path: Path
) -> None:
    out = start(overrides={"train": {"epochs": 1}})
    path = out / folder.CASE
    whole = json.loads(path.read_text(encoding="utf-8"))
    frame = fakes.table(4, seed=2)
    n_predicted = 0
    for changed in survivors(whole, path):
        path.write_text(json.dumps({**whole, **changed}), encoding="utf-8")
        try:
            found = mmfusion.load(out).predict(frame, say=lambda text: None)
        except (ValueError, FileNotFoundError):
            continue
        n_predicted += 1
        assert len(found) == 4
    # Such as another unit of a column.
    assert n_predicted > 0


@pytest.mark.slow
def test_all_sources_and_columns_round_trip(tmp_path: Path) -> None:
    root = trees.own_table(tmp_path, 30, volumes=True)
    found = TableDataset(
        root / "table.csv",
        label="diagnosis",
        images=["photo", "second view"],
        group="patient",
        id="case",
        size=(8, 8, 4),
        standardise="sequence",
    )
    volume = VolumeSource("case", (8, 8, 4), axes="hws", clip=(0, 1), spacing=(1, 1, 2))
    photo = trees.own_table(tmp_path / "photos", 30)
    photos = TableDataset(photo / "table.csv", label="diagnosis", images="photo", range=(0, 4095), size=8).reader
    reader = CaseReader(
        {"label": TargetColumn("diagnosis", ("benign", "malignant"), {"b": "benign"})},
        {"stack": StackSource(volume, ("a.nii", "b.nii")), **photos.images},
        schema=found.schema,
        intensities={"stack": Intensity("sequence", (0, 1), (0.5, 0.5), (1.0, 2.0))},
    )
    case = json.loads(json.dumps({"spec": reader.spec.to_dict(), "reader": reader.to_dict()}))
    assert case_file.read(case, tmp_path) == (reader.spec, reader)
    frame = pd.DataFrame({"case": ["a"]})
    for changed in survivors(case, tmp_path / "case.json"):
        # What is read, reads cases or says why not.
        reader = case_file.read(changed, tmp_path)[1]
        with pytest.raises((ValueError, FileNotFoundError)):
            reader.read(frame, tmp_path, with_targets=False)


@pytest.mark.parametrize("key", ["spec", "reader"])
def test_missing_key_raises(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"case\.json is damaged: the file lacks '{key}'"):
        case_file.read({one: {} for one in ("spec", "reader") if one != key}, tmp_path / "case.json")


def test_messages_name_the_damaged_key(tmp_path: Path) -> None:
    reader = CaseReader({"label": TargetColumn("dx", ("a", "b"))}, {"photo": VolumeSource("f", (4, 4, 2), axes="hws")})
    case = json.loads(json.dumps({"spec": reader.spec.to_dict(), "reader": reader.to_dict()}))

    def refused(change: Callable[[dict[str, Any]], object]) -> str:
        changed = copy.deepcopy(case)
        change(changed)
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (the text is what is looked at)
            case_file.read(changed, Path("case.json"))
        return str(caught.value).removeprefix("case.json is damaged: ")

    spec, read = "spec.modalities.photo", "reader.images.photo"
    assert refused(lambda c: c["spec"]["modalities"]["photo"].pop("size")) == f"{spec} lacks 'size'"
    assert (
        refused(lambda c: c["spec"]["modalities"]["photo"].update(size="4"))
        == f"{spec}.size expects 2 to 3 values, a list of int of at least 1, got '4'"
    )
    assert (
        refused(lambda c: c["reader"]["images"]["photo"].update(clip=["a", 1]))
        == f"{read}: source.clip[0] expects float, got 'a'"
    )
    assert "photo, x against photo" in refused(
        lambda c: c["spec"]["modalities"].update(x=reader.spec.to_dict()["modalities"]["photo"])
    )
    assert refused(lambda c: c["reader"].pop("id_column")) == "reader lacks 'id_column'"
