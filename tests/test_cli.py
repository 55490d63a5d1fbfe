import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from mmfusion import cli, registry
from mmfusion.benchmark import sweep
from mmfusion.cli import main
from mmfusion.training import checkpoints, folder, run


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fakes", Path(__file__).with_name("training") / "fakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(monkeypatch)
    return module


@pytest.fixture
def tiny(fakes: ModuleType, tmp_path: Path) -> list[str]:
    """The arguments of a run that works, into ``tmp_path/run``."""
    words = "run --model tiny --dataset tiny --epochs 2 --batch-size 16 --device cpu --set train.resamples=50 --out"
    return [*words.split(), str(tmp_path / "run")]


def complaint(arguments: Sequence[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """What a command that fails says: one line, and nothing but."""
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert err.startswith("mmfusion: ")
    assert err.count("\n") == 1
    return err


def test_a_run_from_the_command_line(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tiny, "--seed", "3", "--set", "train.lr=0.01", "--set", "model.width=4"]) == 0
    text = capsys.readouterr().out
    assert "epoch 2/2" in text
    assert "auc" in text
    assert "waiting for data" in text
    settings = folder.read_settings(tmp_path / "run")
    assert (settings.run.seed, settings.train.lr, settings.train.epochs) == (3, 0.01, 2)
    assert settings.model == {"width": 4}


@pytest.mark.slow
def test_a_flag_has_the_last_word(tiny: list[str], tmp_path: Path) -> None:
    assert main([*tiny, "--set", "train.epochs=9"]) == 0
    assert folder.read_settings(tmp_path / "run").train.epochs == 2


def test_flags_that_are_options_of_the_builders(tiny: list[str], tmp_path: Path) -> None:
    assert main([*tiny, "--encoder", "small", "--weights", "none", "--task", "dx", "--modality-dropout", "0.3"]) == 0
    settings = folder.read_settings(tmp_path / "run")
    assert settings.train.modality_dropout == 0.3
    assert settings.model == {"encoder": "small", "weights": "none"}
    assert settings.data == {"task": "dx"}


def test_the_default_folder(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*tiny[:-2], "--seed", "5"]) == 0
    assert (tmp_path / "runs" / "tiny" / "tiny" / "seed5" / folder.METRICS).is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model", "tinny"], "unknown model 'tinny'; did you mean 'tiny'"),
        (["--dataset", "tinny"], "unknown dataset 'tinny'; did you mean 'tiny'"),
        (["--set", "model.widht=3"], "model 'tiny' has no option 'widht'; did you mean 'width'"),
        (["--set", "model.width=abc"], "model.width expects int, got 'abc'"),
        (["--set", "data.m=3"], "dataset 'tiny' has no option 'm'"),
        (["--set", "data.n=abc"], "data.n expects int, got 'abc'"),
        (["--set", "train.epoch=3"], "unknown key of [train] 'epoch'; did you mean 'epochs'"),
        (["--set", "trian.epochs=3"], "unknown section 'trian'; did you mean 'train'"),
        (["--set", "epochs=3"], "--set expects section.key=value"),
        (["--batch-size", "1"], "batch_size expects at least 2, got 1"),
        (["--root", "/nowhere/at/all"], "no folder /nowhere/at/all"),
        (["--seed", "-1"], "run.seed expects a number 0 or greater"),
    ],
)
def test_what_is_refused(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    text = complaint([*tiny, *change], capsys)
    assert text.startswith("mmfusion: error: ")
    assert message in text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_tensor_fusion_from_the_command_line(tmp_path: Path) -> None:
    """Its rank is None, which a shell has no word for but ``none``."""
    sizes = "--set data.n_train=8 --set data.n_validation=8 --set data.n_test=8 --set data.size=32 --epochs 1"
    narrow = "--set model.dim=8 --set model.tensor_dim=2 --set model.hidden=[] --set train.resamples=20"
    words = f"run --model lmf --set model.rank=none {sizes} {narrow} --batch-size 8 --device cpu --set run.cache_gb=0"
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 0
    assert folder.read_settings(tmp_path / "run").model["rank"] is None
    weights, _ = checkpoints.load(tmp_path / "run" / checkpoints.BEST)
    # Two images and a table: the product of three vectors of 1 + 2 features.
    assert [tuple(one.shape) for name, one in weights.items() if one.ndim == 2 and one.shape[1] == 27] == [(8, 27)]


def test_an_unknown_encoder(fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "run --model image --encoder resnet_of_the_moon --set data.n_train=8 --set data.n_validation=8"
    arguments = [*words.split(), "--set", "data.n_test=8", "--out", str(tmp_path / "run")]
    assert "resnet_of_the_moon" in complaint(arguments, capsys)
    assert not list(tmp_path.iterdir())


def test_a_model_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "run expects --model NAME; see --list-models" in complaint(["run"], capsys)


@pytest.mark.slow
def test_a_run_is_not_overwritten(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny) == 0
    before = (tmp_path / "run" / folder.PREDICTIONS).read_bytes()
    assert "already holds a run" in complaint([*tiny, "--seed", "1"], capsys)
    assert (tmp_path / "run" / folder.PREDICTIONS).read_bytes() == before
    assert main([*tiny, "--seed", "1", "--overwrite"]) == 0
    assert (tmp_path / "run" / folder.PREDICTIONS).read_bytes() != before


def test_resume(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny) == 0
    out = tmp_path / "run"
    before = (out / folder.PREDICTIONS).read_bytes()
    for name in (folder.METRICS, folder.PREDICTIONS):
        (out / name).unlink()
    capsys.readouterr()
    assert main(["run", "--resume", str(out)]) == 0
    assert "going on after epoch 2 of 2" in capsys.readouterr().out
    assert (out / folder.PREDICTIONS).read_bytes() == before
    text = complaint(["run", "--resume", str(out), "--epochs", "9", "--set", "train.lr=1", "--overwrite"], capsys)
    assert "leave out --epochs, --set, --overwrite" in text
    assert "no run folder" in complaint(["run", "--resume", str(tmp_path / "nowhere")], capsys)
    assert "does not hold a run" in complaint(["run", "--resume", str(tmp_path)], capsys)


def test_a_disk_that_is_full(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoints.write_bytes

    def full(path: Path, content: bytes) -> None:
        if path.name == checkpoints.LAST and path.exists():
            monkeypatch.setattr("os.fsync", _no_space)
        real(path, content)

    monkeypatch.setattr(checkpoints, "write_bytes", full)
    text = complaint(tiny, capsys)
    assert "No space left on device; the former one is still whole" in text
    assert checkpoints.load(tmp_path / "run" / checkpoints.LAST)[1]["progress"]["epoch"] == 1


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_ctrl_c(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoints.save

    def stop(path: Path, *rest: object) -> None:
        if path.name == checkpoints.BEST:
            raise KeyboardInterrupt
        real(path, *rest)

    monkeypatch.setattr(checkpoints, "save", stop)
    text = complaint(tiny, capsys, code=130)
    assert f"before the end of the first epoch; start again with: mmfusion run --resume {tmp_path / 'run'}" in text

    def at_once(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "build", at_once)
    assert "nothing was written yet" in complaint([*tiny[:-1], str(tmp_path / "other")], capsys, code=130)
    assert not (tmp_path / "other").exists()


def test_a_fault_of_ours_keeps_its_traceback(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(run, "start", broken)
    with pytest.raises(RuntimeError, match="ours"):
        main(tiny)


def test_the_traceback_on_demand(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMFUSION_DEBUG", "1")
    with pytest.raises(ValueError, match="at least 2"):
        main([*tiny, "--batch-size", "1"])


def test_predict(tiny: list[str], fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny) == 0
    table, out = tmp_path / "new.csv", tmp_path / "out.csv"
    fakes.table(64, seed=2).drop(columns="dx").to_csv(table, index=False)
    arguments = ["predict", str(tmp_path / "run"), "--table", str(table), "--root", str(tmp_path), "--out", str(out)]
    assert main(arguments) == 0
    found = pd.read_csv(out)
    wanted = pd.read_csv(tmp_path / "run" / folder.PREDICTIONS).query("part == 'test'")
    assert list(found["case"]) == list(wanted["id"])
    assert found["prob_bad"].to_numpy() == pytest.approx(wanted["prob_bad"].to_numpy(), abs=1e-12)
    capsys.readouterr()
    assert "exists already" in complaint(arguments, capsys)
    assert "no table" in complaint([*arguments, "--table", "nowhere.csv", "--out", str(tmp_path / "b.csv")], capsys)
    assert not (tmp_path / "b.csv").exists()


PLUGIN = """
from mmfusion.registry import models

@models.register("mine")
def mine(spec, *, width: int = 4):
    return models.create("tiny", spec, width=width)
"""


def forget() -> None:
    """As a new process would."""
    registry.models._builders.pop("mine", None)
    for name in [name for name in sys.modules if name.startswith("mmfusion_plugin_")]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_plugin(
    tiny: list[str],
    fakes: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One file, one decorator: trained, resumed and asked for predictions by the run's folder alone."""
    monkeypatch.setattr(registry.models, "_builders", dict(registry.models._builders))
    place, table, out = tmp_path / "plugin", tmp_path / "new.csv", tmp_path / "run"
    place.mkdir()
    (place / "my_models.py").write_text(PLUGIN)
    fakes.table(8, seed=2).to_csv(table, index=False)
    monkeypatch.chdir(place)
    mine = [*tiny, "--model", "mine"]
    assert "unknown model 'mine'" in complaint(mine, capsys)
    assert main([*mine, "--plugin", "my_models.py"]) == 0
    assert folder.read_settings(out).run.plugins == [str(place / "my_models.py")]
    monkeypatch.chdir(tmp_path)

    forget()
    before = (out / folder.PREDICTIONS).read_bytes()
    (out / folder.METRICS).unlink()
    assert main(["run", "--resume", str(out)]) == 0
    assert (out / folder.PREDICTIONS).read_bytes() == before
    forget()
    predict = ["predict", str(out), "--table", str(table), "--root", str(tmp_path), "--out"]
    assert main([*predict, str(tmp_path / "a.csv")]) == 0
    forget()
    assert main(["list", "models", "mi*", "--plugin", str(place / "my_models.py")]) == 0
    assert capsys.readouterr().out.endswith("mine\n")

    moved = place.rename(tmp_path / "elsewhere") / "my_models.py"
    forget()
    (out / folder.METRICS).unlink()
    for command in (["run", "--resume", str(out)], [*predict, str(tmp_path / "b.csv")]):
        assert "my_models.py: give its place with --plugin" in complaint(command, capsys)
        forget()
        assert main([*command, "--plugin", str(moved)]) == 0
        forget()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_plugin_that_fails(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.py").write_text("import nothing_of_that_name")
    text = complaint([*tiny, "--plugin", str(tmp_path / "bad.py")], capsys)
    assert "bad.py fails to load: ModuleNotFoundError: No module named 'nothing_of_that_name'" in text
    assert [path.name for path in tmp_path.iterdir()] == ["bad.py"]


def test_names_are_listed(fakes: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--list-models"]) == 0
    assert capsys.readouterr().out.split() == registry.models.list()
    assert main(["run", "--list-datasets"]) == 0
    assert capsys.readouterr().out.split() == registry.datasets.list()
    assert main(["list", "models", "tin*"]) == 0
    assert capsys.readouterr().out == "tiny\n"
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("models:\n  ")


@pytest.mark.slow
def test_the_benchmark_script_is_the_same_command() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "run.py"
    done = subprocess.run([sys.executable, script, "--list-models"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == registry.models.list()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--table none.csv --label grade", "no table "),
        ("--dataset table --label grade", "the dataset 'table' needs a table: --table FILE"),
        ("--table some.csv", "needs the column of the labels: --label COLUMN"),
        ("--table some.csv --label grade", "the table has no column 'grade'; its columns are: a, b"),
        ("--table some.csv --label a --images b c", "the table has no column 'c'"),
        ("--table some.csv --label a --group g --test t", "the table has no column 'g', 't'"),
        ("--dataset synthetic-derm7pt --table some.csv", "dataset 'synthetic-derm7pt' has no option 'table'"),
        ("--dataset pad-ufes-20 --root . --size 8 8", "data.size expects int, got [8, 8]"),
    ],
)
def test_flags_of_a_table_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some.csv").write_text("a,b\nx,1\ny,2\n")
    assert message in complaint(["run", "--model", "tabular", *words.split()], capsys)


@pytest.fixture
def several(fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of small runs, into ``tmp_path/runs``; they run in this process."""
    monkeypatch.setattr(sweep, "Processes", lambda *_: sweep.Here())
    words = "run --dataset tiny --epochs 1 --batch-size 16 --device cpu --set train.resamples=50 --out"
    return [*words.split(), str(tmp_path / "runs")]


@pytest.mark.slow
def test_several_runs(several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*several, "--model", "tiny,tiny[width=4]", "--seeds", "1"]) == 0
    text = capsys.readouterr().out
    assert "2 runs: 0 finished already, 0 to go on with, 2 to begin" in text
    assert "tiny[width=4]" in text
    assert "test AUC" in text
    out = tmp_path / "runs"
    assert {path.name for path in out.iterdir()} == {"tiny", "table.csv", "table.md"}
    assert len(list(out.glob("tiny/tiny/seed0-*/metrics.json"))) == 2
    assert "| tiny[width=4] |" in (out / "table.md").read_text()


def test_a_reference_that_is_not_there_is_told_before_anything_runs(
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
def test_ablations_are_runs_beside_it(
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
    assert "2 runs: 2 finished already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--seeds", "2", "--seed", "1"], "--seed is of one run, --seeds of several"),
        (["--seeds", "x"], "--seeds expects how many"),
        (["--model", "tiny,tinny"], "unknown model 'tinny'; did you mean 'tiny'"),
        (["--model", "zz*"], "no model matches 'zz*'"),
        (["--jobs", "0"], "--jobs expects at least 1, got 0"),
        (["--folds", "3", "--dataset", "synthetic-men"], "has a split of its own"),
        (["--ablate", "--model", "late"], "model 'late' has no ablations"),
        (["--jobs", "1", "--cluster", "timeout_min=3"], "--cluster has options of --launcher slurm"),
        (
            ["--report", "--reference", "tinny"],
            "methods that run (tiny; logistic regression, gradient boosting), got",
        ),
        (["--resume", "somewhere", "--seeds", "2"], "leave out --model, --dataset, --seeds"),
        (["--resume", "somewhere", "--reference", "x"], "leave out --model, --dataset, --reference"),
        (["--cluster", "timeout_min=3"], "--cluster has options of --launcher slurm"),
        (["--reference", "tiny"], "--reference is of a report: give --report too"),
        (["--seeds", "2", "--reference", "tiny"], "--reference is of a report: give --report too"),
    ],
)
def test_several_runs_that_are_refused(
    fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    arguments = ["run", "--model", "tiny", "--dataset", "tiny", *change]
    if "--resume" not in change:
        arguments += ["--out", str(tmp_path / "runs")]
    assert message in complaint(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_sweep_ends_in_a_report(several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reference rows of scikit-learn, against the reference that was named; a second time all is there."""
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
    assert "4 runs: 4 finished already" in capsys.readouterr().out
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
    assert "4 runs: 4 finished already" in capsys.readouterr().out
    again = pd.read_csv(small / "report" / "ranking.csv")
    pd.testing.assert_frame_equal(again, ranking, rtol=0, atol=2e-3)


def test_a_report_of_nothing(several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no finished run" in complaint(["report", str(tmp_path)], capsys)


def test_a_report_of_several_datasets_has_the_metrics_of_each() -> None:
    words = ["run", "--preset", "paper", "--dataset", "derm7pt,men", "--report"]
    reference, metrics = cli._judged_by(cli._parser().parse_args(words))
    assert reference == "concat"
    assert {"g_mean", "accuracy_Grade_1"} <= set(metrics.split(","))
