"""``mmfusion show``: a blueprint that runs as it is printed."""

import tomllib
from pathlib import Path

import pytest
import torch

import mmfusion as mmf
from helpers.commands import complaint
from helpers.small import make_inputs, make_spec
from mmfusion.cli import main


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["show", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cfcml", "tip", "film", "mbt"])
def test_printed_file_gives_same_model(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, spec = tmp_path / "mine.toml", make_spec(images=1)
    file.write_text(shown([name], capsys))
    torch.manual_seed(0)
    published = mmf.create_model(name, spec).eval()
    torch.manual_seed(0)
    mine = mmf.create_model(file, spec).eval()
    inputs = make_inputs(spec, 3)
    assert torch.equal(mine(inputs).logits, published(inputs).logits)
    assert list(mmf.create_loss(mine).state_dict()) == list(mmf.create_loss(published).state_dict())
    # Printed from the file it is the same file, but for the first line, which names it.
    assert shown([str(file)], capsys).splitlines()[1:] == file.read_text().splitlines()[1:]


@pytest.mark.slow
def test_show_with_options_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    plain = tomllib.loads(shown(["cfcml"], capsys))
    wide = tomllib.loads(shown(["cfcml", "--set", "dim=16", "--set", "model.compression=conv"], capsys))
    published = tomllib.loads(shown(["cfcml", "--dataset", "derm7pt"], capsys))
    assert (plain["dim"], wide["dim"]) == (128, 16)
    assert plain["tokenizer"]["image"]["compression"] == "pool"
    assert wide["tokenizer"]["image"]["compression"] == published["tokenizer"]["image"]["compression"] == "conv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cfmcl"], "unknown model 'cfmcl'; did you mean 'cfcml'"),
        (["gmu", "--set", "train.lr=1"], "show prints a model: --set expects KEY=VALUE, got train"),
        (["gmu", "--set", "model.dm=1"], "has no option 'dm'; did you mean 'dim'?"),
        (["nowhere.toml"], "no blueprint nowhere.toml"),
    ],
)
def test_invalid_arguments_are_one_line_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in complaint(["show", *arguments], capsys)
