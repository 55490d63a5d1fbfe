"""Methods: options of their own and shared ones, declared once."""

import inspect

import pytest

import mmfusion as mmf
from helpers.small import make_spec
from mmfusion.models import Blueprint, Method, method
from mmfusion.models.blueprint import shared_options
from mmfusion.models.registration import blueprint_of
from mmfusion.option_checks import keyword_options
from mmfusion.registry import models
from mmfusion.spec import DataSpec

SPEC = make_spec()
METHODS = [name for name in models.list() if isinstance(models.get(name), Method)]


def test_registered_models_are_blueprints() -> None:
    assert models.list() == METHODS
    assert len(METHODS) >= 25


@pytest.mark.parametrize("name", METHODS)
def test_options_of_methods(name: str) -> None:
    """Its own and the shared ones, each with a default; those of a method are documented."""
    found, shared = models.options(name), keyword_options(shared_options)
    assert all(option.default is not inspect.Parameter.empty for option in found.values())
    assert len(set(shared) - set(found)) <= 3
    builder = models.get(name)
    assert builder.__doc__
    assert isinstance(blueprint_of(name, make_spec()), Blueprint)


@pytest.mark.slow
def test_custom_method(monkeypatch: pytest.MonkeyPatch) -> None:
    models.list()
    monkeypatch.setattr(models, "_builders", dict(models._builders))

    @method("mine", without=("token_norm",), dim=8, hidden=())
    def mine(spec: DataSpec, *, gate: bool = True, dropout: float = 0.25) -> Blueprint:
        """Mine."""
        return Blueprint(vectors="gated" if gate else "concat")

    options = models.options("mine")
    assert (options["dim"].default, options["hidden"].default, options["gate"].default) == (8, (), True)
    assert "token_norm" not in options
    assert mine.blueprint(SPEC).vectors == "gated"
    model = mmf.create_model("mine", SPEC, gate=False, dim=4)
    assert model.blueprint is not None
    assert (model.blueprint.vectors, model.blueprint.dim) == ("concat", 4)
    # One that the function has too goes to both.
    assert mmf.create_model("mine", SPEC, dropout=0.125).blueprint.head["dropout"] == 0.125
    with pytest.raises(ValueError, match="model 'mine' has no option 'token_norm'"):
        mmf.create_model("mine", SPEC, token_norm=True)
    with pytest.raises(ValueError, match="model 'mine': gate expects bool, got 1"):
        mmf.create_model("mine", SPEC, gate=1)


def test_default_of_unknown_shared_option_raises() -> None:
    with pytest.raises(ValueError, match=r"method 'x' sets \['widht'\], which are no shared options"):
        method("x", widht=3)(lambda spec: Blueprint())


def test_blueprint_of_custom_builder_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    models.list()
    monkeypatch.setitem(models._builders, "own", lambda spec: None)
    with pytest.raises(ValueError, match="model 'own' is built by code of its own and has no blueprint"):
        blueprint_of("own", SPEC)
