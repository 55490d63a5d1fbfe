"""Datasets of third parties: one planner, from which they are checked and loaded."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmfusion.cli import main
from mmfusion.data import DataBundle, PlannedDataset
from mmfusion.data.datasets.check import check
from mmfusion.registry import datasets

SOURCE = '''
from pathlib import Path

from mmfusion.data import CaseReader, ImageSource, Plan, TargetColumn, make_split, planned_dataset, read_table
from mmfusion.options import Pixels
from mmfusion.registry import datasets


@planned_dataset("clinic")
def clinic(*, root: Path | str, size: Pixels = 8) -> Plan:
    """Photographs of a clinic."""
    frame = read_table(Path(root) / "cases.csv")
    target = TargetColumn("diagnosis", ("benign", "malignant"))
    reader = CaseReader({"label": target}, {"photo": ImageSource("file", (size, size), suffix=".png")})
    split = make_split(target.encode(frame).numpy(), *reader.names(frame))
    return Plan("clinic", frame, Path(root), reader, split, published={"all": {"benign": 20, "malignant": 20}})


@datasets.register("plain-clinic")
def plain_clinic(*, root: Path | str):
    raise AssertionError("a check builds no bundle")
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    for i, photo in enumerate(pixels):
        Image.fromarray(photo).save(folder / f"{i}.png")
    frame = pd.DataFrame({"file": range(30), "diagnosis": ["benign", "malignant", "benign"] * 10})
    frame.to_csv(folder / "cases.csv", index=False)
    return folder


@pytest.fixture(params=["file", "distribution"])
def words(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of the command line that bring the plug-in: of a file, or none for an installed distribution."""
    datasets.list()
    monkeypatch.setattr(datasets, "_builders", dict(datasets._builders))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    module = f"clinic_of_a_{request.param}"
    path = tmp_path / "site" / f"{module}.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    if request.param == "file":
        return ["--plugin", str(path)]
    info = path.parent / "clinic-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clinic\nVersion: 1.0\n")
    points = f"clinic = {module}:clinic\nplain-clinic = {module}:plain_clinic\n"
    (info / "entry_points.txt").write_text(f"[mmfusion.data]\n{points}")
    monkeypatch.syspath_prepend(str(path.parent))
    return []


@pytest.mark.slow
def test_third_party_dataset_is_checked_and_loaded(
    words: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", "clinic", "--root", str(root), *words]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "all: benign 20 (published 20), malignant 10 (published 20)" in lines
    assert "This is a part of the published data: results are not comparable with those on all of it." in lines
    assert lines[-1] == "clinic: no faults"
    bundle = datasets.create("clinic", root=root, size=4)
    assert isinstance(bundle, DataBundle)
    assert bundle.spec["photo"].shape == (3, 4, 4)
    (root / "3.png").unlink()
    assert (
        main(
            [
                *command,
            ]
        )
        == 1
    )
    assert "- row 3, column 'file': 3.png does not exist" in capsys.readouterr().out


@pytest.mark.slow
def test_invalid_arguments_are_one_line_errors(
    words: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, message in (
        (["clinic", "--root", str(root), "--set", "size=0"], "size expects int from 1 to 8192, got 0"),
        (["clinic", "--root", str(root), "--set", "sise=8"], "has no option 'sise'; did you mean 'size'?"),
        (["clinic"], "root expects str, got None"),
        (["plain-clinic", "--root", str(root)], "'plain-clinic' cannot be checked: it is registered without a planner"),
    ):
        assert main(["check", *command, *words]) == 2
        assert message in capsys.readouterr().err


def test_options_match_planner() -> None:
    dataset = datasets.get("ham10000")
    assert isinstance(dataset, PlannedDataset)
    assert {"root", "split_seed", "cache", "progress"} < set(datasets.options("ham10000"))
    for call in (dataset, dataset.plan):
        with pytest.raises(ValueError, match="dataset 'ham10000': size expects int from 1 to 8192, got 0"):
            call(root="anywhere", size=0)


def test_hyphens_in_names_are_read_as_underscores(tmp_path: Path) -> None:
    """As the names of datasets were written once."""
    report = check("pad-ufes-20", tmp_path / "nowhere")
    assert report.name == "pad_ufes_20"
    assert "does not exist" in report.faults[0]
