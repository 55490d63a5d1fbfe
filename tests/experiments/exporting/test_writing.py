"""An exported run's folder: what it holds, the card, a hub's layout, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mmfusion
from helpers.commands import complaint
from helpers.odd_cases import new_cases, reader_of
from helpers.untrained_runs import write
from mmfusion.cli import main
from mmfusion.experiments.exporting import writing
from mmfusion.training.result_files import write_json

LOCKED = {"threshold": 0.49, "temperature": 1.7}
ESTIMATE = {"value": 0.8123, "low": 0.7, "high": 0.9, "error": 0.05}
METRICS = {
    "format": 1,
    "model": "tabular_mlp",
    "dataset": "table",
    "seed": 0,
    "cases": {"train": 90, "validation": 30, "test": 31},
    "groups": {"validation": 20, "test": 21},
    "validation": {"auc": ESTIMATE},
    "test": {"auc": ESTIMATE},
    "ceilings": {},
    "gap_closed": None,
    "threshold": 0.49,
    "threshold_chosen": True,
    "temperature": 1.7,
    "scaled": {},
    "notes": ["These data are licensed CC BY 4.0.", "Column 'age' may leak."],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "run", "tabular_mlp", reader_of({}), locked=LOCKED)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:column")
def test_hub_folder_predicts_the_same(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--format", "hub"]) == 0
    out = tmp_path / "run-hub"
    names = {"README.md", "case.json", "config.json", "locked.json", "model.safetensors", "settings.json"}
    assert {path.name for path in out.iterdir()} == names
    frame = new_cases()
    expected = mmfusion.load(run).predict(frame)
    pd.testing.assert_frame_equal(mmfusion.load(out).predict(frame), expected)
    model, trained = mmfusion.from_pretrained(out), mmfusion.load(run).model
    assert not model.training
    assert model.blueprint == trained.blueprint
    assert all(torch.equal(model.state_dict()[name], x) for name, x in trained.state_dict().items())
    with pytest.raises(FileExistsError, match="run-hub already exists"):  # the default is the same place
        mmfusion.load(run).export(format="hub")
    # From Python, from the copy, once more.
    mmfusion.load(out).export(tmp_path / "again", format="hub")
    pd.testing.assert_frame_equal(mmfusion.load(tmp_path / "again").predict(frame), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:column")
def test_torch_program_predicts_the_same(run: Path, tmp_path: Path) -> None:
    """The card lists the tensors; the program gives the run's probabilities for any number of cases."""
    assert main(["export", str(run), "--format", "torch", "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "model.pt2"}
    assert "`meta.numerical`, `meta.categorical`, `meta.present`" in (tmp_path / "out" / "README.md").read_text()
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    loaded, frame = mmfusion.load(run), new_cases()
    for n in (1, 7):
        table = loaded.reader.schema.transform(frame.iloc[:n])
        present = torch.ones(n, dtype=torch.bool)
        tensors = {"meta.numerical": table.numerical, "meta.categorical": table.categorical, "meta.present": present}
        p = program(tensors)["label"].softmax(1).detach()
        expected = loaded.predict(frame.iloc[:n])
        np.testing.assert_allclose(p[:, 1], expected["prob_bad"], rtol=0, atol=1e-6)


def test_card_has_data_results_limits_and_license(run: Path, tmp_path: Path) -> None:
    write_json(run / "metrics.json", METRICS)
    mmfusion.load(run).export(tmp_path / "out", format="hub")
    text = (tmp_path / "out" / "README.md").read_text()
    parts = dict(part.split("\n\n", 1) for part in text.split("\n## ")[1:])
    assert list(parts) == ["Use", "Intended use", "Data", "Results", "Limits", "License of the data"]
    assert "90 for train, 30 for validation in 20 groups, 31 for test in 21 groups" in parts["Data"]
    assert "`meta`: numbers age, size, marker, pressure_1, pressure_2, seen; categories sex, smoker" in parts["Data"]
    assert "| auc | 0.812 (0.700 to 0.900) | 0.812 (0.700 to 0.900) |" in parts["Results"]
    assert "at 0.490, the threshold with the greatest G-mean on validation" in parts["Results"]
    assert "Column 'age' may leak." in parts["Limits"]
    assert parts["License of the data"] == "These data are licensed CC BY 4.0.\n"
    assert str(tmp_path) not in text


def test_card_asks_for_missing_license(run: Path, tmp_path: Path) -> None:
    mmfusion.load(run).export(tmp_path / "a", format="hub")
    assert "The run does not state it" in (tmp_path / "a" / "README.md").read_text()
    assert "The folder has no results" in (tmp_path / "a" / "README.md").read_text()
    assert main(["export", str(run), "--format", "hub", "--data-license", "CC0", "--out", str(tmp_path / "b")]) == 0
    assert "## License of the data\n\nCC0\n" in (tmp_path / "b" / "README.md").read_text()


def test_invalid_arguments_are_one_line_errors(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    assert "full already exists: choose another folder by --out" in complaint(
        ["export", str(run), "--out", str(tmp_path / "full")], capsys
    )
    assert "no run folder" in complaint(["export", str(tmp_path / "nowhere")], capsys)
    with pytest.raises(ValueError, match=r"format expects one of onnx, torch, hub, got 'pickle'"):
        mmfusion.load(run).export(tmp_path / "out", format="pickle")  # type: ignore[arg-type]  # an unknown format
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [[], {"format": 1}, METRICS | {"notes": 3}, METRICS | {"test": {"auc": 5}}])
def test_damaged_results_raise(run: Path, tmp_path: Path, content: object) -> None:
    write_json(run / "metrics.json", content)
    with pytest.raises(ValueError, match=r"run.metrics\.json (is not what a run writes: |expects an object, got )"):
        mmfusion.load(run).export(tmp_path / "out", format="hub")
    assert not (tmp_path / "out").exists()


def test_hub_export_of_custom_module_raises(run: Path, tmp_path: Path) -> None:
    loaded = mmfusion.load(run)
    loaded.model.blueprint = None
    with pytest.raises(ValueError, match=r"the model cannot be written for a hub: .* without one"):
        loaded.export(tmp_path / "out", format="hub")
    assert not (tmp_path / "out").exists()


def test_script_imports_four_packages() -> None:
    """And of the files next to it only what is written with it."""
    lines = [line for line in writing.script().splitlines() if line.startswith(("import ", "from "))]
    assert lines == [
        "import argparse", "import json", "import os", "import sys", "from pathlib import Path",
        "from typing import Any", "import numpy as np", "import onnxruntime", "import pandas as pd",
        "from PIL import Image, ImageOps", "from reading.bag_cells import BagFiles, bag_files",
        "from reading.listing import Listing",
        "from reading import cells, number_cells, table_file", "from reading.numerals import Notation",
        "from reading import spreadsheet",
    ]  # fmt: skip


def test_modules_of_script_need_no_torch() -> None:
    """Modules of the functions that it calls, under distinct names; only imports of one another remain."""
    modules = writing._used("experiments.exporting.stand_alone")
    names = {module.rpartition(".")[2] for module in modules}
    assert {"cells", "dates", "listing", "number_cells", "numerals", "optional", "spreadsheet", "table_file"} <= names
    assert len(names) == len(modules)
    for module in modules:
        lines = writing._alone(module).splitlines()
        tops = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert tops <= {"numpy", "pandas", "reading", *sys.stdlib_module_names}, module


PAGE = Path(__file__).parents[3] / "docs" / "guide" / "export.md"


def test_script_is_in_the_docs() -> None:
    assert f"```{{.python .notest}}\n{writing.script()}```" in PAGE.read_text()
