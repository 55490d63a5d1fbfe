"""Methods: registered functions from a spec and a few options to a blueprint."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from mmfusion.models.assembly import assemble
from mmfusion.models.blueprint import Blueprint, read, shared_options
from mmfusion.models.fusion_model import FusionModel
from mmfusion.option_checks import check_options
from mmfusion.registry import models
from mmfusion.spec import Columns, DataSpec, Image

OF_IMAGES = ("encoder", "weights", "shared_encoder")


class Method:
    """A published method: ``method(spec, **options)`` is a model, ``method.blueprint(spec, **options)`` its blueprint.

    The options are the function's own, and those that all methods share
    (:func:`~mmfusion.models.blueprint.shared_options`).

    Args:
        name: As registered.
        function: From a spec and its own options, keyword-only, to a blueprint.
        defaults: Of shared options, where they are not the usual ones.
        without: Shared options that have no effect in this method.
    """

    def __init__(
        self, name: str, function: Callable[..., Blueprint], defaults: dict[str, Any], without: Collection[str] = ()
    ) -> None:
        self.name = name
        self.function = function
        functools.update_wrapper(self, function)
        own_parameters = inspect.signature(function, eval_str=True).parameters
        known = inspect.signature(shared_options, eval_str=True).parameters
        values = {key: option.default for key, option in known.items()} | defaults
        self.shared = {key: value for key, value in values.items() if key not in without}
        if unknown := sorted((set(defaults) | set(without)) - set(known)):
            raise ValueError(f"method {name!r} sets {unknown}, which are no shared options; there are {list(known)}")
        shared = [_with_default(known[key], value) for key, value in self.shared.items() if key not in own_parameters]
        self.__signature__ = inspect.Signature([*own_parameters.values(), *shared], return_annotation=FusionModel)

    def __call__(self, spec: DataSpec, **options: Any) -> FusionModel:
        """The method's model."""
        try:
            return assemble(self.blueprint(spec, **options), spec)
        except ValueError as error:
            raise ValueError(f"model {self.name!r}: {error}") from error

    def blueprint(self, spec: DataSpec, **options: Any) -> Blueprint:
        """The method's blueprint.

        Raises:
            ValueError: If an option is unknown or out of range, or the method is not for such data.
        """
        check_options(f"model {self.name!r}", self, options)
        own_parameters = {key: value for key, value in options.items() if key not in self.shared}
        shared = self.shared | {key: value for key, value in options.items() if key in self.shared}
        return self.function(spec, **own_parameters).changed(**shared)


def _with_default(parameter: inspect.Parameter, value: Any) -> inspect.Parameter:
    """A shared option's parameter with a default of a method; None is a value where it is that default."""
    annotation = parameter.annotation | None if value is None else parameter.annotation
    return parameter.replace(default=value, annotation=annotation)


def method(
    name: str, *, without: Collection[str] = (), **defaults: Any
) -> Callable[[Callable[..., Blueprint]], Method]:
    """A decorator that registers a function from a spec to a :class:`~mmfusion.models.blueprint.Blueprint` as a model.

    Args:
        name: To register.
        without: Options that all methods share and that have no effect in this one.
        defaults: Of shared options, where they are not the usual ones.
    """

    def add(function: Callable[..., Blueprint]) -> Method:
        return models.register(name)(Method(name, function, defaults, without))

    return add


class FromFile:
    """The builder of models that are named by a blueprint's file: its options are the file's content and the shared."""

    def __init__(self) -> None:
        known = inspect.signature(shared_options, eval_str=True).parameters.values()
        shared = [_with_default(option, None) for option in known]
        spec = inspect.Parameter("spec", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=DataSpec)
        content = inspect.Parameter("blueprint", inspect.Parameter.KEYWORD_ONLY, annotation=Mapping[str, Any])
        self.__signature__ = inspect.Signature([spec, content, *shared], return_annotation=FusionModel)
        self.__name__ = self.__qualname__ = "blueprint"

    def __call__(self, spec: DataSpec, *, blueprint: Mapping[str, Any], **options: Any) -> FusionModel:
        """The model of a file."""
        return assemble(Blueprint.from_dict(blueprint).changed(**options), spec)


models.of_suffix[".toml"] = FromFile()


def blueprint_of(model: str | Path | Blueprint, spec: DataSpec | None = None, **options: Any) -> Blueprint:
    """The blueprint of a registered method, of a file, or one with changes.

    Args:
        model: A registered name, a ``.toml`` file or a blueprint.
        spec: The data; None: an image and a table, of two classes.
        options: Of the method; of a file or a blueprint the shared options alone.

    Raises:
        ValueError: If the name or an option is unknown, or the model is no blueprint.
    """
    if isinstance(model, Blueprint):
        return model.changed(**options)
    if is_file(model):
        return read(model).changed(**options)
    builder = models.get(str(model))
    if not isinstance(builder, Method):
        raise ValueError(f"model {str(model)!r} is built by code of its own and has no blueprint")
    return builder.blueprint(NOMINAL if spec is None else spec, **options)


NOMINAL = DataSpec({"image": Image(3, (224, 224)), "table": Columns(("number",), (("category", 2),))}, n_classes=2)
"""Data for a blueprint that is only printed."""


def is_file(model: object) -> bool:
    """Whether a model is named by a blueprint's file."""
    return isinstance(model, Path) or (isinstance(model, str) and model.endswith(".toml"))
