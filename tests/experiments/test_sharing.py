"""What a run's files reveal, and the least that predicts."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mmfusion
from helpers.commands import complaint
from mmfusion.cli import main
from mmfusion.experiments import folder, run, settings, sharing
from mmfusion.training import checkpoints
from mmfusion.training.result_files import read_json

Start = Callable[..., Path]
SECRETS = ("Okonkwo", "Petrov", "Huberr", "14.03.2019", "14.05.2019", "pat-7", "case-3", "Ward 9", "photo_5")


def clinic(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    physicians = np.where(rng.random(n) < 0.5, "Schmidt", "Huber").astype(object)
    physicians[[3, 4, 5, 6]] = ["Okonkwo", "Petrov", "Huberr", "Okonkwo"]
    return pd.DataFrame(
        {
            "case": [f"case-{i}" for i in range(n)],
            "patient": [f"pat-{i // 2}" for i in range(n)],
            "physician": physicians,
            "seen": [f"14.{3 + i % 3:02d}.{2019 + i % 2}" for i in range(n)],
            "ward": "Ward 9",
            "file": [f"photo_{i}.png" for i in range(n)],
            "age": rng.integers(20, 80, n),
            "label": np.arange(n) % 2,
        }
    )


def tree(place: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file())


@pytest.fixture
def shared(start: Start, tmp_path: Path) -> tuple[Path, Path]:
    out = start(overrides={"train": {"epochs": 1}, "run": {"robustness": False, "cache": str(tmp_path / "cache")}})
    sharing.share(out, tmp_path / "shared")
    return out, tmp_path / "shared"


@pytest.mark.slow
def test_shared_run_predicts_the_same(shared: tuple[Path, Path], fakes: ModuleType) -> None:
    frame = fakes.table(6, seed=5)
    out, small = shared
    pd.testing.assert_frame_equal(mmfusion.load(small).predict(frame), mmfusion.load(out).predict(frame))
    assert sorted(path.name for path in small.iterdir()) == sorted(sharing.FILES)
    assert str(out.parent).encode() not in tree(small)
    packed = read_json(small / folder.SETTINGS)
    assert set(packed) == {"format", "run", "train", "model"}
    assert set(packed["run"]) == {"model", "dataset", "plugins"}
    assert set(read_json(small / folder.CASE)) == {"format", "dataset", "target", "spec", "reader"}


@pytest.mark.slow
def test_weights_files_hold_weights_only(shared: tuple[Path, Path], fakes: ModuleType, tmp_path: Path) -> None:
    out, small = shared
    tensors, about = checkpoints.load(out / checkpoints.BEST)
    assert set(about) == {"format", "epoch", "metric", "value"}
    assert set(checkpoints.load(out / checkpoints.LAST)[1]) == {"format", "progress", "optimizer", "scaler"}
    assert checkpoints.load(small / checkpoints.BEST)[1] == {"format": checkpoints.FORMAT}
    # Next to the other two files a file of weights is enough, alone it is not.
    frame = fakes.table(6, seed=5)
    pd.testing.assert_frame_equal(
        mmfusion.load(out / checkpoints.BEST).predict(frame), mmfusion.load(out).predict(frame)
    )
    checkpoints.save(tmp_path / "alone.safetensors", tensors, about)
    with pytest.raises(
        ValueError, match=r"alone\.safetensors holds weights alone, .* give the run's folder, or put settings"
    ):
        mmfusion.load(tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match="is not a checkpoint of mmfusion"):
        mmfusion.load(out / folder.CASE)


@pytest.mark.slow
def test_loaded_files_hold_no_case_data(tmp_path: Path) -> None:
    """With prototypes from a memory of cases: it is stored to resume, not with the weights."""
    chosen = {
        "run": {"out": str(tmp_path / "run"), "device": "cpu", "robustness": False, "references": False},
        "train": {"epochs": 1, "batch_size": 16, "resamples": 0},
        "data": {"n_train": 32, "n_validation": 16, "n_test": 16, "size": 32},
        "model": {
            "dim": 8,
            "image_latents": 2,
            "table_latents": 2,
            "hidden": [8],
            "prototypes": "memory",
            "encoder": "convnet",
        },
    }
    result = run.start(settings.resolve("cfcml", "synthetic_derm7pt", [chosen]))
    last, _ = checkpoints.load(result.folder / checkpoints.LAST)
    memory = {name: x for name, x in last.items() if name.startswith("loss.") and "prototypes" in name}
    rows = {name: x for name, x in memory.items() if 32 in x.shape or x.numel() >= 32}
    assert rows, sorted(last)  # it remembers cases, so there is something to leave out
    shipped, _ = checkpoints.load(result.folder / checkpoints.BEST)
    model = mmfusion.create_model("cfcml", mmfusion.load(result.folder).spec, **chosen["model"])
    assert set(shipped) == set(model.state_dict())
    remembered = [x for x in memory.values() if x.ndim and x.numel() > 1]
    for x in shipped.values():
        assert not any(x.shape == y.shape and torch.equal(x, y) for y in remembered)
    # Each tensor once: what is the model's is stored as the model's alone.
    assert len(last) == len({name.partition(".")[2] for name in last if name.startswith("model.")}) + len(
        [name for name in last if not name.startswith("model.")]
    )
    assert not any(name.startswith(("model.loss", "model.objective", "loss.model")) for name in last)


@pytest.mark.slow
def test_invalid_arguments_are_one_line_errors(
    shared: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, small = shared
    command = ["share", str(out), "--out"]
    assert "already exists: choose another folder by --out" in complaint([*command, str(small)], capsys)
    assert "no run folder" in complaint(["share", str(tmp_path / "no"), "--out", str(tmp_path / "new")], capsys)
    assert main([*command, str(tmp_path / "new")]) == 0
    assert tree(tmp_path / "new") == tree(small)
    (out / checkpoints.BEST).unlink()
    assert "has no trained weights yet" in complaint([*command, str(tmp_path / "other")], capsys)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_loaded_files_reveal_no_names_or_paths(tmp_path: Path) -> None:
    home = tmp_path / "Dr Lindqvist"
    home.mkdir()
    clinic().to_csv(home / "table.csv", index=False)
    base: dict[str, Any] = {
        "run": {"out": str(tmp_path / "run"), "device": "cpu", "robustness": False, "root": str(home)},
        "train": {"epochs": 1, "resamples": 20},
        "data": {"table": str(home / "table.csv"), "label": "label", "id": "case", "group": "patient"},
    }
    out = run.start(settings.resolve("tabular", "table", [base])).folder
    small = tmp_path / "shared"
    sharing.share(out, small)
    told = (
        (out / folder.CASE).read_bytes() + (out / checkpoints.BEST).read_bytes() + (out / checkpoints.LAST).read_bytes()
    )
    told += (out / folder.METRICS).read_bytes()
    for secret in (*SECRETS, str(tmp_path), "Lindqvist"):
        assert secret.encode() not in told, secret
        assert secret.encode() not in tree(small), secret
    (physician,) = read_json(small / folder.CASE)["reader"]["schema"]["categorical"]
    assert physician["categories"] == ["Huber", "Schmidt", "rare"]
    new = clinic(20).drop(columns="label")
    pd.testing.assert_frame_equal(mmfusion.load(small).predict(new), mmfusion.load(out).predict(new))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_cache_files_are_private(tmp_path: Path, mask: int) -> None:
    from PIL import Image

    from mmfusion.data import ImageCache, ImageSource
    from mmfusion.tokenizers.tabular.text_cache import _write
    from mmfusion.training.precompute import precompute

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    former = os.umask(mask)
    try:
        cache = ImageCache(tmp_path / "above" / "cache" / "images", max_bytes=10**6)
        rows, faults = cache.rows(ImageSource("photo", (8, 8)), [tmp_path / "a.png"])
        assert rows is not None
        assert not faults
        _write(tmp_path / "above" / "cache" / "text" / "encoder", ["He is 30."], np.zeros((1, 2)))
        torch.manual_seed(0)
        spec, dataset = maps_case()
        model = mmfusion.create_model("concat", spec, dim=8)
        precompute(model, dataset, tmp_path / "above" / "cache" / "maps", batch_size=2, device=torch.device("cpu"))
    finally:
        os.umask(former)
    found = [tmp_path / "above", *(tmp_path / "above").rglob("*")]
    assert len([path for path in found if path.is_file()]) >= 8
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def maps_case() -> tuple[Any, Any]:
    from helpers.small import make_inputs, make_labels, make_spec
    from mmfusion.data.frame import FrameDataset

    spec = make_spec(images=1, tables=1, size=(32, 32), channels=3, n_classes=2)
    inputs = make_inputs(spec, 3)
    frame = pd.DataFrame(index=range(3))
    dataset = FrameDataset(
        spec,
        frame,
        images={"image0": inputs["image0"]},
        tables={"table0": inputs["table0"]},
        targets=make_labels(spec, 3),
    )
    return spec, dataset


def test_existing_cache_is_made_private(tmp_path: Path) -> None:
    from mmfusion.utils.cache_folders import make_private, private_file, private_folder

    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(0o644)
    private_file(file)
    assert (stat.S_IMODE(file.stat().st_mode), file.read_text()) == (0o600, "x")
    file.chmod(0o444)
    make_private(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    mode = stat.S_IMODE(tmp_path.stat().st_mode)
    private_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
