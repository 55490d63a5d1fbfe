"""One run from the command line."""

from pathlib import Path
from types import ModuleType

import pytest

from helpers.commands import complaint
from mmfusion.cli import main
from mmfusion.experiments import folder
from mmfusion.training import checkpoints


@pytest.mark.slow
def test_run_writes_results(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tiny, "--seed", "3", "--set", "train.lr=0.01", "--set", "model.width=4"]) == 0
    text = capsys.readouterr().out
    assert "epoch 2/2" in text
    assert "auc" in text
    assert "waiting for data" in text
    settings = folder.read_settings(tmp_path / "run")
    assert (settings.run.seed, settings.train.lr, settings.train.epochs) == (3, 0.01, 2)
    assert settings.model == {"width": 4}


@pytest.mark.slow
def test_flag_overrides_set(tiny: list[str], tmp_path: Path) -> None:
    assert main([*tiny, "--set", "train.epochs=9"]) == 0
    assert folder.read_settings(tmp_path / "run").train.epochs == 2


@pytest.mark.slow
def test_flags_reach_builders(tiny: list[str], tmp_path: Path) -> None:
    assert main([*tiny, "--encoder", "small", "--weights", "none", "--task", "dx", "--modality-dropout", "0.3"]) == 0
    settings = folder.read_settings(tmp_path / "run")
    assert settings.train.modality_dropout == 0.3
    assert settings.model == {"encoder": "small", "weights": "none"}
    assert settings.data == {"task": "dx"}


@pytest.mark.slow
def test_default_output_folder(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        (["--set", "epochs=3"], "a setting is section.key=value"),
        (["--batch-size", "1"], "--batch-size expects int from 2 to 65536, got 1"),
        (["--root", "/nowhere/at/all"], "no folder /nowhere/at/all"),
        (["--seed", "-1"], "--seed expects int from 0 to 4294967295, got -1"),
    ],
)
def test_invalid_arguments_are_one_line_errors(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    text = complaint([*tiny, *change], capsys)
    assert text.startswith("mmfusion: error: ")
    assert message in text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_none_on_command_line_gives_tensor_fusion(tmp_path: Path) -> None:
    """Its rank is None, written as ``none`` on the command line."""
    sizes = "--set data.n_train=8 --set data.n_validation=8 --set data.n_test=8 --set data.size=32 --epochs 1"
    narrow = "--set model.dim=8 --set model.tensor_dim=2 --set model.hidden=[] --set train.resamples=20"
    words = f"run --model lmf --set model.rank=none {sizes} {narrow} --batch-size 8 --device cpu --set run.cache_gb=0"
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 0
    assert folder.read_settings(tmp_path / "run").model["rank"] is None
    weights, _ = checkpoints.load(tmp_path / "run" / checkpoints.BEST)
    # Two images and a table: the product of three vectors of 1 + 2 features.
    assert [tuple(one.shape) for name, one in weights.items() if one.ndim == 2 and one.shape[1] == 27] == [(8, 27)]


@pytest.mark.slow
def test_unknown_encoder_is_one_line_error(
    fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "run --model image --encoder resnet_of_the_moon --set data.n_train=8 --set data.n_validation=8"
    arguments = [*words.split(), "--set", "data.n_test=8", "--out", str(tmp_path / "run")]
    assert "resnet_of_the_moon" in complaint(arguments, capsys)
    assert not list(tmp_path.iterdir())


def test_missing_model_is_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert "run expects --model NAME; see mmfusion list models" in complaint(["run"], capsys)


@pytest.mark.slow
def test_existing_run_is_not_overwritten(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny) == 0
    before = (tmp_path / "run" / folder.PREDICTIONS).read_bytes()
    assert "already holds a run" in complaint([*tiny, "--seed", "1"], capsys)
    assert (tmp_path / "run" / folder.PREDICTIONS).read_bytes() == before
    assert main([*tiny, "--seed", "1", "--overwrite"]) == 0
    assert (tmp_path / "run" / folder.PREDICTIONS).read_bytes() != before


@pytest.mark.slow
def test_resume_finished_run(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny) == 0
    out = tmp_path / "run"
    before = (out / folder.PREDICTIONS).read_bytes()
    for name in (folder.METRICS, folder.PREDICTIONS):
        (out / name).unlink()
    capsys.readouterr()
    assert main(["run", "--resume", str(out)]) == 0
    assert "continuing after epoch 2 of 2" in capsys.readouterr().out
    assert (out / folder.PREDICTIONS).read_bytes() == before
    text = complaint(["run", "--resume", str(out), "--epochs", "9", "--set", "train.lr=1", "--overwrite"], capsys)
    assert "leave out --epochs, --set, --overwrite" in text
    assert "no run folder" in complaint(["run", "--resume", str(tmp_path / "nowhere")], capsys)
    assert "does not hold a run" in complaint(["run", "--resume", str(tmp_path)], capsys)


@pytest.mark.slow
def test_full_disk_keeps_last_checkpoint(
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--table none.csv --label grade", "no table "),
        ("--dataset table --label grade", "the dataset 'table' needs a table, --table FILE"),
        ("--table some.csv", "the column of the labels, --label COLUMN"),
        ("--table some.csv --label grade", "the table has no column 'grade'; its columns are: a, b"),
        ("--table some.csv --label a --images b c", "the table has no column 'c'"),
        ("--table some.csv --label a --group g --test t", "the table has no column 'g', 't'"),
        ("--dataset synthetic_derm7pt --table some.csv", "dataset 'synthetic_derm7pt' has no option 'table'"),
        ("--dataset pad_ufes_20 --root . --size 8 8", "--size expects int from 1 to 8192, got [8, 8]"),
    ],
)
def test_invalid_table_flags_are_one_line_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some.csv").write_text("a,b\nx,1\ny,2\n")
    assert message in complaint(["run", "--model", "tabular", *words.split()], capsys)
