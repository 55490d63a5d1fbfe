"""``mmfusion check``: its words and how it ends."""

from pathlib import Path

import pytest

from helpers import trees
from mmfusion.cli import main


@pytest.mark.slow
def test_check_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.men(tmp_path, train=2, test=1)
    words = ["check", "men", "--root", str(root), "--set", "shape=[16,12,4]", "--set", "data.size=[16, 12, 4]"]
    assert main(words) == 0
    assert "men: no faults" in capsys.readouterr().out
    path = root / "1fold/test/Grade_1/PNTE000/t1_bbox.nii.gz"
    content = bytearray(path.read_bytes())
    content[-40] ^= 255
    path.write_bytes(content)
    # Its header is whole.
    assert main([*words, "--fast"]) == 0
    capsys.readouterr()
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "1 fault(s):\n- row" in out
    assert "Restore the files" in out
    assert "t1_bbox.nii.gz" in out
    for wrong, message in (
        (["check", "mne"], "unknown dataset 'mne'; did you mean 'men'?"),
        (["check", "synthetic_derm7pt"], "cannot be checked: it is registered without a planner"),
        ([*words, "--set", "fodl=1"], "has no option 'fodl'; did you mean 'fold'?"),
        ([*words, "--set", "fold"], "a setting is section.key=value, as in --size 128, got 'fold'"),
    ):
        assert main(wrong) == 2
        assert message in capsys.readouterr().err
    assert main(["check", "men", "--root", str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().out
