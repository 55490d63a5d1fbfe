import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from data import trees
from mmfusion import cli
from mmfusion.data.__main__ import main
from mmfusion.data.check import PLANNERS, check
from mmfusion.registry import datasets

MEN = {"shape": list(trees.VOLUME), "size": list(trees.VOLUME)}
TABLE = {"label": "diagnosis", "images": ["photo", "second view"], "group": "patient"}


def options(name: str, root: Path) -> dict[str, object]:
    return {"men": MEN, "table": {**TABLE, "table": str(root / "table.csv")}}.get(name, {})


MAKE: dict[str, Callable[[Path], Path]] = {
    "derm7pt": trees.derm7pt,
    "men": lambda root: trees.men(root, train=2, test=1),
    "pad-ufes-20": lambda root: trees.pad_ufes_20(root, 36),
    "table": lambda root: trees.own_table(root, 30),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_whole_tree(name: str, tmp_path: Path) -> None:
    root = MAKE[name](tmp_path)
    for full in (False, True):
        report = check(name, root, full=full, **options(name, root))
        assert report.faults == ()
        assert str(report).endswith(f"{name}: no fault was found")


def test_ham10000(ham_root: Path) -> None:
    report = check("ham10000", ham_root)
    assert report.faults == ()
    assert report.lines[:2] == ("images: 60, published 10015", "lesions: 40, published 7470")
    assert any("This is a part of the published set" in line for line in report.lines)


def test_counts_stand_beside_the_published_ones(tmp_path: Path) -> None:
    lines = check("derm7pt", trees.derm7pt(tmp_path)).lines
    assert lines[0] == "train: NEV 8 (published 256), MEL 5 (published 90)"
    assert lines[3] == "all: NEV 19, MEL 14"
    assert "This is a part of the published set: results on it do not compare with those on the whole." in lines


def test_more_than_was_published_is_a_fault(tmp_path: Path) -> None:
    counts = {"train": {"NEV": 257, "MEL": 90}, "valid": {"NEV": 100, "MEL": 61}, "test": {"NEV": 219, "MEL": 101}}
    root = trees.derm7pt(tmp_path, counts, others=0, images=False)
    faults = check("derm7pt", root).faults
    assert faults[-1] == "train: 257 of NEV are more than the 256 published"
    assert len(faults) == 1 + 2 * sum(sum(part.values()) for part in counts.values())


def test_every_missing_and_broken_file_is_named(tmp_path: Path) -> None:
    root = trees.pad_ufes_20(tmp_path, 36)
    for i in range(12):
        (root / "images" / f"PAT_{i // 2}_{i}_{100 + i}.png").unlink()
    (root / "images" / "PAT_10_20_120.png").write_bytes(b"hello")
    path = root / "images" / "PAT_10_21_121.png"
    path.write_bytes(path.read_bytes()[:-80])
    report = check("pad-ufes-20", root)
    assert len(report.faults) == 13
    assert report.faults[0] == "row 0, column 'img_id': PAT_0_0_100.png is not there"
    assert "PAT_10_20_120.png" in report.faults[12]
    # Behind its header.
    assert "PAT_10_21_121.png" in check("pad-ufes-20", root, full=True).faults[13]


def test_faults_of_the_table_come_with_those_of_the_files(tmp_path: Path) -> None:
    root = trees.pad_ufes_20(tmp_path, 36)
    trees.edit(root / "metadata.csv", lambda t: t.assign(diagnostic=["X"] * 15 + list(t["diagnostic"][15:])))
    (root / "images" / "PAT_10_20_120.png").unlink()
    assert len(check("pad-ufes-20", root).faults) == 16


@pytest.mark.parametrize("program", [main, cli.main])
def test_exit_codes(program: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.men(tmp_path, train=2, test=1)
    words = ["check", "men", "--root", str(root), "--set", "shape=[16,12,4]", "--set", "data.size=[16, 12, 4]"]
    assert program(words) == 0
    assert "men: no fault was found" in capsys.readouterr().out
    path = root / "1fold/test/Grade_1/PNTE000/t1_bbox.nii.gz"
    content = bytearray(path.read_bytes())
    content[-40] ^= 255
    path.write_bytes(content)
    # Its header is whole.
    assert program(words) == 0
    assert program([*words, "--full"]) == 1
    out = capsys.readouterr().out
    assert "1 fault(s):\n- row" in out
    assert "t1_bbox.nii.gz" in out
    for wrong, message in (
        (["check", "mne"], "unknown dataset 'mne'; did you mean 'men'?"),
        (["check", "synthetic-derm7pt"], "reads no files that could be checked; those that do: derm7pt"),
        ([*words, "--set", "fodl=1"], "has no option 'fodl'; did you mean 'fold'?"),
        ([*words, "--set", "fold"], "--set expects KEY=VALUE"),
    ):
        assert program(wrong) == 2
        assert message in capsys.readouterr().err
    assert program(["check", "men", "--root", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is not there" in capsys.readouterr().out


@pytest.mark.slow
def test_as_a_module(tmp_path: Path) -> None:
    root = trees.pad_ufes_20(tmp_path, 36)
    command = [sys.executable, "-m", "mmfusion.data", "check", "pad-ufes-20", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no fault was found" in done.stdout


def test_every_dataset_that_reads_a_folder_can_be_checked() -> None:
    reading = {name for name in datasets.list() if "root" in datasets.options(name) and "synthetic" not in name}
    assert reading == set(PLANNERS)


def test_a_table_of_ones_own_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.own_table(tmp_path)
    words = ["check", "table", "--set", f"table={root}/table.csv", "--set", "label=diagnosis", "--set"]
    assert main([*words, 'images=["photo"]']) == 0
    assert main([*words, 'images=["phot"]']) == 1
    assert "no column 'phot'" in capsys.readouterr().out


@pytest.mark.slow
def test_run_and_predict_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = trees.own_table(tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    words = (
        "run --model concat --table table.csv --label diagnosis --images photo --group patient --test part --size 16"
    )
    shorter = "--epochs 1 --device cpu --set train.resamples=20 --set run.cache_gb=0 --out run"
    assert cli.main([*words.split(), *shorter.split()]) == 0
    out = capsys.readouterr().out
    assert "ordinal      3 levels: I, II, III" in out
    assert "photo       images of column 'photo', 3 x 16x16" in out
    new = pd.read_csv(root / "table.csv").drop(columns=["diagnosis", "part"])[:5]
    new.to_csv("new.tsv", sep="\t", index=False)
    assert cli.main(["predict", "run", "--table", "new.tsv", "--root", ".", "--out", "out.csv", "--device", "cpu"]) == 0
    found = pd.read_csv("out.csv")
    assert list(found.columns) == [
        "id",
        "patient",
        "prob_benign",
        "prob_malignant",
        "prob_unsure",
        "label",
        "missing",
        "outside",
    ]
    assert found["patient"].tolist() == ["p0", "p0", "p1", "p1", "p2"]


@pytest.mark.slow
def test_a_part_of_the_real_ham10000(real_ham10000: Path) -> None:
    report = check("ham10000", real_ham10000)
    assert report.faults == ()
    assert report.lines[:2] == ("images: 4787, published 10015", "lesions: 4787, published 7470")
    assert any("part of the published set" in line for line in report.lines)
