"""Roles in docstrings: each form that Sphinx knows becomes a link or code, and what names nothing is reported."""

import importlib.util
import logging
from pathlib import Path
from types import ModuleType

import pytest

griffe = pytest.importorskip("griffe")

HOOKS = Path(__file__).parents[2] / "docs" / "hooks"
CODE = '''
class Base:
    """A base."""

    def forward(self):
        """Inherited."""


class Part(Base):
    """A part."""
'''


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HOOKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("role", "link"),
    [
        (":class:`Part`", ("small.Part", "Part")),
        (":class:`~small.Base`", ("small.Base", "Base")),
        (":py:meth:`Part.forward`", ("small.Base.forward", "Part.forward")),
        (":meth:`forward`", ("small.Base.forward", "forward")),
        (":meth:`the pass <small.Base.forward>`", ("small.Base.forward", "the pass")),
        (":class:`.Base`", ("small.Base", "Base")),
        (":func:`os.stat`", None),
        (":class:`torch.nn.Conv3d`", None),
        (":exc:`ValueError`", None),
    ],
)
def test_role_becomes_link_or_code(role: str, link: tuple[str, str] | None) -> None:
    with griffe.temporary_visited_module(CODE, module_name="small") as module:
        text = hook("docstrings").Roles(module).replace(f"See {role}.", module["Part"])
    shown = f'<autoref identifier="{link[0]}" optional><code>{link[1]}</code></autoref>' if link else None
    assert text == f"See {shown or '`' + role.split('`')[1] + '`'}."


@pytest.mark.parametrize("name", ["Abent", "small.Abent", "Part.backward", "the part <Abent>"])
def test_role_of_unknown_name_is_reported(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with griffe.temporary_visited_module(CODE, module_name="small") as module, caplog.at_level(logging.WARNING):
        text = hook("docstrings").Roles(module).replace(f":class:`{name}`", module["Part"])
    assert text == f"`{name.split(' <')[0]}`"
    assert f"small.Part: nothing is named :class:`{name}`" in caplog.text
