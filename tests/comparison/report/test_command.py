import io
import re
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from helpers import made_analyses, run_folders
from mmfusion import cli, registry
from mmfusion.comparison.report import command
from mmfusion.training.reporter import Silent


def rendered(result: object) -> str:
    file = io.StringIO()
    Console(width=140, file=file).print(result)
    return file.getvalue()


def test_table_has_ranking_and_tests() -> None:
    lines = rendered(command.table(made_analyses.small().comparisons[0], 0.95)).splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert lines[0].strip() == "derm7pt-resnet18"
    assert cells == [
        ["cfcml", "3", "0.900 (0.888 to 0.912)", "+0.030 (+0.020 to +0.040)", "< 0.001", "better"],
        ["concat", "3", "0.870 (0.858 to 0.882)", "reference", "", ""],
        ["image", "3", "0.800 (0.788 to 0.812)", "\u22120.070 (\u22120.080 to \u22120.060)", "< 0.001", "worse"],
    ]


def test_names_are_escaped_for_rich() -> None:
    text = rendered(
        command.table(made_analyses.comparison([made_analyses.method("[bold]x", 0.9)], name="[red]n"), 0.95)
    )
    assert "[bold]x" in text
    assert "[red]n" in text
    assert "less" not in text


def test_no_finished_run_raises_with_reasons(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no finished run in .*none \(skipped: .*none: the folder does not exist\)"):
        command.report([tmp_path / "none"], Silent())


def test_no_finished_run_is_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"mmfusion: error: no finished run in {tmp_path}\n"


def test_unknown_reference_is_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folders.write(tmp_path / "runs" / "cfcml", "cfcml", seed=0, strength=1.0)
    assert cli.main(["report", str(tmp_path / "runs"), "--reference", "conct"]) == 2
    message = "mmfusion: error: --reference expects one of the methods that ran (cfcml), got 'conct'\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "runs" / "report").exists()


@pytest.mark.parametrize(
    ("text", "evaluated"), [("all", "all"), ("men", "men"), ("mcc", ["mcc"]), ("accuracy, mcc,", ["accuracy", "mcc"])]
)
def test_metrics_option_is_names_or_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, evaluated: str | list[str]
) -> None:
    def message(*_: object, metrics: object, **_options: object) -> None:
        raise ValueError(f"asked for {metrics}")

    run_folders.write(tmp_path / "a", n=6)
    monkeypatch.setattr(command.assemble, "analyse", message)
    with pytest.raises(ValueError, match=re.escape(f"asked for {evaluated}") + "$"):
        command.report([tmp_path], Silent(), metrics=text)


def written(path: Path, *words: str) -> str:
    for model in ("cfcml", "concat"):
        if not (path / "runs" / model).exists():
            run_folders.write(path / "runs" / model, model, n=12)
    assert cli.main(["report", str(path / "runs"), *words]) == 0
    return (path / "runs" / "report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_report_states_origin_of_reference(tmp_path: Path) -> None:
    """Runs do not record when a reference was named; without tests the report does not mention it."""
    text = written(tmp_path)
    assert "The reference, concat, is the default. Tests are paired" in text
    assert "The diamond and the dashed line are the default reference." in text
    text = written(tmp_path, "--reference", "cfcml")
    assert "The reference, cfcml, was given to this report; the runs do not record" in text
    assert "beforehand" not in text
    assert "the reference given to this report" in text
    shutil.rmtree(tmp_path / "runs" / "concat")
    assert cli.main(["report", str(tmp_path / "runs")]) == 0
    text = (tmp_path / "runs" / "report" / "report.md").read_text(encoding="utf-8")
    assert "The reference, " not in text
    assert "Tests are paired" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beforehand", "expected"),
    [
        (True, "The reference, cfcml, was named before the numbers were seen."),
        (False, "The reference, cfcml, was given to this report"),
        (None, "The reference, cfcml, was given to this report"),
    ],
)
def test_sweep_report_states_when_reference_was_named(tmp_path: Path, beforehand: bool | None, expected: str) -> None:
    for model in ("cfcml", "concat"):
        run_folders.write(tmp_path / model, model, n=12)
    page = command.report([tmp_path], Silent(), reference="cfcml", metrics="accuracy", beforehand=beforehand)
    assert expected in page.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_unknown_class_metric_is_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If requested; a preset's metric for data with other classes is left out."""
    run_folders.write(tmp_path / "a", n=12)
    assert cli.main(["report", str(tmp_path), "--metrics", "auc,accuracy_melanomma"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mmfusion: error: unknown metric 'accuracy_melanomma'; there are: auc, ")
    assert "accuracy_nevus, accuracy_melanoma, average_precision_called, or a set of them: all" in error
    assert not (tmp_path / "report").exists()
    page = command.report([tmp_path], Silent(), metrics="accuracy_melanoma,accuracy_bcc", beforehand=True)
    lines = page.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| method |") and ("rank" in line or "accuracy" in line)] == [
        "| method | fuses | rank | AUC |",
        "| method | accuracy of melanoma |",
    ]


@pytest.mark.slow
def test_predictions_alone_rebuild_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, strength in (("cfcml", 2.0), ("concat", 1.0)):
        for seed in range(2):
            run_folders.write(tmp_path / "runs" / model / str(seed), model, seed=seed, strength=strength)
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / "settings.json").write_text("{}")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a report needs neither a model nor a dataset")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    for kind in (registry.models, registry.datasets, registry.backbones):
        monkeypatch.setattr(kind, "create", refuse)
    assert cli.main(["report", str(tmp_path / "runs")]) == 0
    texts = capsys.readouterr().out
    page = tmp_path / "runs" / "report" / "report.html"
    assert f"The report is in {page}" in texts
    assert f"Skipped {tmp_path / 'runs' / 'begun'}: " in texts
    assert [line.split()[1] for line in texts.splitlines() if line.startswith("│")] == ["cfcml", "concat"]
    text = page.read_text(encoding="utf-8")
    assert "1 folder skipped" in text
    assert "cfcml has the highest AUC" in text
    # Again, from a copy of the three files of each run, and against another reference.
    shutil.copytree(tmp_path / "runs", tmp_path / "copy", ignore=shutil.ignore_patterns("report"))
    words = ["--reference", "cfcml", "--metrics", "accuracy, mcc", "--out", str(tmp_path / "out")]
    assert cli.main(["report", str(tmp_path / "copy"), *words]) == 0
    other = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "cfcml, the reference, has the highest AUC" in other
    tables = (tmp_path / "out" / "report.md").read_text(encoding="utf-8").splitlines()
    assert "| method | fuses | rank | AUC | SD | difference to cfcml | detectable |" in tables
    assert "| method | accuracy | MCC |" in tables
    assert cli.main(["report", str(tmp_path / "runs")]) == 0
    assert page.read_text(encoding="utf-8") == text
