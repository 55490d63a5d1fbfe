"""Names of options in error texts: flags on the command line, arguments in Python."""

import ast
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

import mmfusion
from helpers.commands import complaint
from mmfusion.cli import program
from mmfusion.cli.option_names import translate
from mmfusion.data.datasets.table import TableDataset
from mmfusion.experiments.settings import parse_override


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.label names no column", "--label names no column"),
        ("train.batch_size expects an integer", "--batch-size expects an integer"),
        ("train.lr=0.1 or train.epochs=3", "--set train.lr=0.1 or --epochs 3"),
        ("leave them out by unlabelled='drop'", "leave them out by --set data.unlabelled=drop"),
        ("unlabelled expects 'error' or 'drop'", "--set data.unlabelled expects 'error' or 'drop'"),
        ("label='y' is no column", "--label y is no column"),
        ("train.sampler_options.k is unknown", "--set train.sampler_options.k is unknown"),
        ("replace it with overwrite=True", "replace it with --overwrite"),
        ("run.root=None", "--root none"),
        ("the folder: give root=FOLDER", "the folder: give --root FOLDER"),
        ("(missing_images='absent', if", "(--set data.missing_images=absent, if"),
        ("raise it with max_bytes=123", "raise it with --set data.max_bytes=123"),
        ("continue it with resume='runs/a', or another run.out", "continue it with --resume runs/a, or another --out"),
        ("choose another folder by out=...", "choose another folder by --out"),
        ("seeds expects a number, got 'x'", "--seeds expects a number, got 'x'"),
        ("leave out folds=5 and parity=True", "leave out --folds 5 and --parity"),
        ("plugins=['/a/b c.py', '/d.py']", "--plugin '/a/b c.py' --plugin /d.py"),
        ("images=['a', 'b'] or weights='none'", "--images a b or --weights none"),
        ("use run.precision=no or run.precision=bf16", "use --precision no or --precision bf16"),
        ("overrides={'b.p.': 'ratio'} reads", """--set 'data.overrides={"b.p." = "ratio"}' reads"""),
        ("a run expects classes", "a run expects classes"),
        ("concat[weights=some, dim=4] on tiny: failed", "concat[weights=some, dim=4] on tiny: failed"),
        # What is a flag already, a file or no option at all stays.
        ("--set data.unlabelled=drop", "--set data.unlabelled=drop"),
        ("no file /tmp/data.label or data.csv", "no file /tmp/data.label or data.csv"),
        ("p=0.5, model.nothing=1", "p=0.5, model.nothing=1"),
        ("concat[weights=some,dim=4] on tiny: failed", "concat[weights=some,dim=4] on tiny: failed"),
        ("concat[size=[8, 8], dim=4] on tiny: failed", "concat[size=[8, 8], dim=4] on tiny: failed"),
    ],
)
def test_argument_names_become_flags(text: str, expected: str) -> None:
    arguments = program.parsed(["run", "--model", "concat", "--table", "t.csv", "--label", "y"])
    assert translate(text, arguments) == expected


def test_column_override_flag_round_trip() -> None:
    arguments = program.parsed(["run", "--model", "concat", "--table", "t.csv", "--label", "y"])
    _, flag = shlex.split(translate("overrides={'b.p. \"left\"': 'ratio'}", arguments))
    assert parse_override(flag) == {"data": {"overrides": {'b.p. "left"': "ratio"}}}


def test_option_without_flag_becomes_set() -> None:
    arguments = program.parsed(["check", "table", "--set", "table=t.csv"])
    assert translate("needs label=COLUMN, id=COLUMN", arguments) == "needs --label COLUMN, --set data.id=COLUMN"
    text = translate("overrides={'crp': {'censored': 'flag'}} or drop=['nr', 'b c']", arguments)
    flag = """--set 'data.overrides={"crp": {"censored": "flag"}}' or --set 'data.drop=["nr", "b c"]'"""
    assert text == flag.replace('": ', '" = ')


def test_predict_arguments_become_flags() -> None:
    arguments = program.parsed(["predict", "runs/a", "--table", "t.csv", "--out", "p.csv"])
    text = translate("use missing_images='absent' or unlabelled='drop'", arguments)
    assert text == "use --missing-images absent or unlabelled='drop'"


def test_unlabeled_rows_error_names_flag_or_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same error names the flag on the command line and the argument in Python."""
    path = tmp_path / "t.csv"
    pd.DataFrame({"age": range(20), "y": [*"ab" * 9, None, None]}).to_csv(path, index=False)
    command = ["run", "--model", "tabular", "--table", str(path), "--label", "y", "--out", str(tmp_path / "run")]
    text = complaint(command, capsys)
    assert "--set data.unlabelled=drop" in text
    assert "'drop'" not in text
    with pytest.raises(ValueError, match="unlabelled='drop'"):
        TableDataset(path, label="y")


HINTS = re.compile(r"(?<![\w'])--[a-z][a-z-]+")
"""A flag in a text; programs that the package starts have flags of their own."""


@pytest.mark.slow
def test_library_messages_name_no_flags() -> None:
    """Python users read them too: `translate` inserts the flags."""
    package = Path(mmfusion.__file__).parent
    found = []
    for room in ("training", "experiments", "comparison", "backbones"):
        for path in (package / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise | ast.Call):
                    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                    found += [f"{path.name}: {text}" for text in texts if isinstance(text, str) and HINTS.search(text)]
    programs = (
        "git",
        "environment.py",
        "worker.py",
        "stand_alone.py",
        "accelerate launch --multi_gpu",
        "mmfusion run --resume",
    )
    assert [text for text in dict.fromkeys(found) if not any(name in text for name in programs)] == []
