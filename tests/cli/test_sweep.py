"""Several runs from the command line."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from helpers.commands import complaint
from mmfusion import registry
from mmfusion.cli import main
from mmfusion.comparison import cluster, sweep, tuning
from mmfusion.experiments import folder
from mmfusion.training.result_files import read_json


@pytest.mark.slow
def test_sweep_prints_plan_and_table(several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*several, "--model", "tiny,tiny[width=4]", "--seeds", "1"]) == 0
    text = capsys.readouterr().out
    assert "2 runs: 0 already finished, 0 to resume, 2 to start" in text
    assert "tiny[width=4]" in text
    assert "test AUC" in text
    out = tmp_path / "runs"
    assert {path.name for path in out.iterdir()} == {"tiny", "table.csv", "table.md"}
    assert len(list(out.glob("tiny/tiny/seed0-*/metrics.json"))) == 2
    assert "| tiny[width=4] |" in (out / "table.md").read_text()


def test_missing_reference_is_reported_before_runs(
    several: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def begin(*_: object, **__: object) -> list[object]:
        said.append(capsys.readouterr().out)
        return []

    monkeypatch.setattr(sweep, "sweep", begin)
    monkeypatch.setattr(sweep, "check", lambda _: None)
    assert main([*several, "--model", "tiny", "--report"]) == 0
    assert "The reference concat is not among the methods (tiny), so the report will have no tests" in said[0]
    assert main([*several, "--model", "tiny", "--report", "--reference", "tiny"]) == 0
    assert "reference" not in said[1]


@pytest.mark.slow
def test_ablations_are_listed_as_runs(
    several: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.ablations.list()
    monkeypatch.setitem(
        registry.ablations._builders, "tiny", lambda: {"narrow": {"width": 2}, "as-it-is": {"width": 8}}
    )
    assert main([*several, "--model", "tiny", "--ablate", "--seed", "3"]) == 0
    lines = (tmp_path / "runs" / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[4:6]] == ["| tiny", "| tiny: narrow"]
    assert all(path.name.startswith("seed3-") for path in (tmp_path / "runs" / "tiny" / "tiny").glob("seed*"))
    # The whole one is there already: only what is new runs.
    capsys.readouterr()
    assert main([*several, "--model", "tiny", "--seeds", "3,"]) == 2
    assert main([*several, "--model", "tiny,tiny[width=2]", "--seed", "3"]) == 0
    assert "2 runs: 2 already finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seeds", "2", "--seed", "1"], "--seed is for one run and --seeds for several"),
        (["--seeds", "x"], "--seeds expects a number of seeds"),
        (["--model", "tiny,tinny"], "unknown model 'tinny'; did you mean 'tiny'"),
        (["--model", "zz*"], "no model matches 'zz*'"),
        (["--jobs", "0"], "--jobs expects at least 1, got 0"),
        (["--repeats", "0"], "--repeats expects at least 1, got 0"),
        (
            ["--repeats", "2", "--set", "run.repeat=1"],
            "--repeats 2 numbers the starts: leave out --set run.repeat",
        ),
        (["--folds", "3", "--dataset", "synthetic_men"], "has a fixed split"),
        (["--ablate", "--model", "late"], "model 'late' has no ablations"),
        (["--jobs", "1", "--cluster", "timeout_min=3"], "--cluster needs a cluster: add --launcher slurm"),
        (
            ["--report", "--reference", "tinny"],
            "methods that run (tiny; logistic regression, gradient boosting), got 'tinny'",
        ),
        (["--references", "concat"], "--references expects table, embeddings, lightgbm, tabpfn with commas between"),
        (
            ["--references", "table", "--set", "run.references=false"],
            "leaves all reference rows out: leave it out for --references table",
        ),
        (
            ["--report", "--references", "none", "--reference", "gradient boosting"],
            "methods that run (tiny), got 'gradient boosting'",
        ),
        (["--resume", "somewhere", "--references", "table"], "leave out --model, --dataset, --references"),
        (["--resume", "somewhere", "--seeds", "2"], "leave out --model, --dataset, --seeds"),
        (["--resume", "somewhere", "--repeats", "2"], "leave out --model, --dataset, --repeats"),
        (["--resume", "somewhere", "--reference", "x"], "leave out --model, --dataset, --reference"),
        (["--cluster", "timeout_min=3"], "--cluster needs a cluster: add --launcher slurm"),
        (["--reference", "tiny"], "--reference needs a report: add --report"),
        (["--seeds", "2", "--reference", "tiny"], "--reference needs a report: add --report"),
    ],
)
def test_invalid_arguments_are_one_line_errors(
    fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    arguments = ["run", "--model", "tiny", "--dataset", "tiny", *change]
    if "--resume" not in change:
        arguments += ["--out", str(tmp_path / "runs")]
    assert message in complaint(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_sweep_writes_report(several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With scikit-learn's reference rows, against the named reference; a second call trains nothing."""
    out = tmp_path / "runs"
    command = [*several, "--model", "tiny,tiny[width=4]", "--seeds", "2", "--report", "--reference", "tiny"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"The report is in {out / 'report' / 'report.html'}" in text
    page = (out / "report" / "report.md").read_text()
    for row in ("tiny", r"tiny\[width=4\]", "logistic regression", "gradient boosting"):
        assert row in page
    assert "The reference, tiny, was named before the numbers were seen." in page
    ranking = pd.read_csv(out / "report" / "ranking.csv")
    assert set(ranking["method"]) == {"tiny", "tiny[width=4]", "logistic regression", "gradient boosting"}
    before = (out / "report" / "report.html").read_bytes()
    assert main(command) == 0
    assert "4 runs: 4 already finished" in capsys.readouterr().out
    assert (out / "report" / "report.html").read_bytes() == before
    # From the folders alone it is the same.
    assert main(["report", str(out), "--reference", "tiny", "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "ranking.csv").read_bytes() == (out / "report" / "ranking.csv").read_bytes()
    assert "The reference, tiny, was given to this report" in (tmp_path / "again" / "report.md").read_text()
    # Another one, now that the numbers are there, is no reference named beforehand.
    other = ["gradient boosting" if word == "tiny" else word for word in command[-1:]]
    assert main([*command[:-1], *other]) == 0
    assert "The reference, gradient boosting, was given to this report" in (out / "report" / "report.md").read_text()
    assert main(command) == 0
    # A sweep takes what was made small for finished, and reports it, without a byte of its dataset.
    small = tmp_path / "small"
    capsys.readouterr()
    assert main(["compact", str(out), "--out", str(small)]) == 0
    assert "8 runs, 0." in capsys.readouterr().out
    assert main([*command, "--out", str(small)]) == 0
    assert "4 runs: 4 already finished" in capsys.readouterr().out
    again = pd.read_csv(small / "report" / "ranking.csv")
    pd.testing.assert_frame_equal(again, ranking, rtol=0, atol=2e-3)


@pytest.mark.slow
def test_repeats_have_their_own_table(several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*several, "--model", "tiny", "--seeds", "2", "--repeats", "2", "--report"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "Numerical noise on tiny" in text
    out = tmp_path / "runs"
    table, noise = pd.read_csv(out / "table.csv"), pd.read_csv(out / "repeats.csv")
    assert table["runs"].tolist() == [2, 2, 2]  # tiny and the reference rows
    assert noise[["method", "starts", "seeds"]].to_numpy().tolist() == [["tiny", 2, 2]]
    assert len(list(out.glob("tiny/tiny/seed[01]-repeat1-*/metrics.json"))) == 2
    ranking = pd.read_csv(out / "report" / "ranking.csv")
    assert set(ranking["runs"]) == {2}
    reported = pd.read_csv(out / "report" / "noise.csv").set_index("part")
    assert reported.loc["test", "sd_starts"] == pytest.approx(noise["test_auc_sd_starts"][0])
    assert main(command) == 0
    assert "4 runs: 4 already finished" in capsys.readouterr().out


@pytest.mark.slow
def test_tuned_comparison_trains_trials_then_choice(
    several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trials without a test set, then the choice and the recipe with fresh seeds; a second call trains nothing."""
    command = [*several, "--model", "tiny", "--trials", "2", "--seeds", "2"]
    assert main(command) == 0
    assert "tiny on tiny: " in capsys.readouterr().out
    out = tmp_path / "runs"
    trials = sorted(out.glob("tiny/tiny/seed100[012]-*"))
    assert len(trials) == 3 + 6
    for place in trials:
        assert "test" not in read_json(place / folder.METRICS)
        assert set(pd.read_csv(place / folder.PREDICTIONS)["part"]) == {"validation"}
    tested = sorted(out.glob("tiny/tiny/seed[01]-*"))
    assert len(list(out.glob("tiny/tiny/seed[01]-*/tuning.json"))) == 2
    assert all("test" in read_json(place / folder.METRICS) for place in tested)
    rows = pd.read_csv(out / "table.csv")
    assert rows["method"].tolist()[:2] == ["tiny (tuned)", "tiny (at the recipe)"]
    assert main(command) == 0
    assert "3 runs: 3 already finished, 0 to resume, 0 to start" in capsys.readouterr().out
    assert sorted(out.glob("tiny/tiny/seed*")) == sorted([*trials, *tested])
    assert main([*several, "--model", "tiny", "--trials", "3"]) == 2
    assert "--trials expects a power of two" in capsys.readouterr().err


def test_trials_use_launcher_and_five_fresh_seeds(
    several: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}

    def tuned(planned: list[Any], n_trials: int, *_: object, **options: Any) -> list[Any]:
        given.update(options, seeds=[run.settings.run.seed for run in planned], n=n_trials)
        return []

    monkeypatch.setattr(tuning, "run", tuned)
    monkeypatch.setattr(sweep, "Processes", lambda *counts: counts)
    assert main([*several, "--model", "tiny", "--trials", "--jobs", "2", "--overwrite"]) == 0
    assert given == {
        **{"seeds": [0, 1, 2, 3, 4], "n": 16, "launcher": (2, 1), "overwrite": True},
        "out": tmp_path / "runs",
    }
    assert main([*several, "--model", "tiny", "--trials", "4", "--seeds", "7,9", "--launcher", "local"]) == 0
    assert (given["seeds"], given["n"]) == ([7, 9], 4)
    assert isinstance(given["launcher"], cluster.Cluster)
