import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mmfusion.experiments import console
from mmfusion.training.notebook import Notebook
from mmfusion.training.reporter import Silent


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook's display shows in its cell, one entry per drawing."""
    drawings: list[str] = []
    module = ModuleType("IPython.display")
    handle = SimpleNamespace(update=drawings.append)
    vars(module).update(HTML=str, display=lambda content, display_id: handle)
    ipython = ModuleType("IPython")
    vars(ipython).update(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("mmfusion.training.notebook._SECONDS", 0)
    return drawings


def test_bar_is_drawn_and_removed(drawn: list[str]) -> None:
    reporter = console.reporter_of(True)
    assert isinstance(reporter, Notebook)
    with reporter.bar("epoch <1>", 2) as bar:
        bar.advance("loss 0.5")
        bar.advance()
    assert drawn[1] == '<progress value="1" max="2"></progress> <code>epoch &lt;1&gt; 1/2 loss 0.5</code>'
    assert "2/2 loss 0.5" in drawn[2]
    assert drawn[-1] == ""


def test_bar_without_total(drawn: list[str]) -> None:
    with console.reporter_of(True).bar("reading", None) as bar:
        bar.at(3, 9)
    assert drawn[0] == "<progress></progress> <code>reading 0 </code>"
    assert 'value="3" max="9"' in drawn[1]


def test_reporter_outside_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    own: Any = Silent()
    assert console.reporter_of(own) is own
    assert isinstance(console.reporter_of(False), Silent)
    assert not isinstance(console.reporter_of(True), Notebook)
