"""Names to builders, resolved lazily.

Every kind of part has one :class:`Registry` in this module. A part is added by decorating its builder, a
function or a class whose options are keyword-only; a third party adds one from another distribution through an
entry point, which is loaded only when its name is asked for::

    [project.entry-points."mmfusion.models"]
    mine = "my_package.my_module:my_builder"
"""

import builtins
import fnmatch
import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from mmfusion.option_checks import check_options, checked, keyword_options, shown, suggestion

__all__ = ["check_options", "keyword_options"]  # and what is defined here

Builder = TypeVar("Builder", bound=Callable[..., Any])
Choice: TypeAlias = str | Mapping[str, Any]
"""A part chosen in settings: its name, or a mapping with ``name`` and options."""


class PluginError(ImportError):
    """A third party's entry point or file could not be loaded; only its own names are affected."""


class Registry:
    """Builders of one kind of part, by name.

    Args:
        kind: What the parts are, in the singular, for messages: ``"model"``.
        home: The package that registers the built-in names when it is imported; it is imported at the first
            look-up, not before. The entry-point group for third parties has the same name.
    """

    def __init__(self, kind: str, home: str) -> None:
        self.kind = kind
        self.home = home
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """A decorator that adds a builder.

        A class's options are then checked against their declared ranges wherever it is constructed, not by name alone.
        A builder whose code runs again, as a notebook's cell does, takes its own place.

        Raises:
            ValueError: If the name is taken by another builder.
        """

        def add(builder: Builder) -> Builder:
            if name in self._builders and not _is_again(builder, self._builders[name]):
                taken = self._builders[name]
                raise ValueError(
                    f"{self.kind} {name!r} is registered already, by {taken.__module__}.{taken.__qualname__}: "
                    "choose another name"
                )
            if isinstance(builder, type) and "__init__" in vars(builder):
                builder.__init__ = checked(vars(builder)["__init__"])  # type: ignore[misc]  # its own
            self._builders[name] = builder
            return builder

        return add

    def get(self, name: str) -> Callable[..., Any]:
        """The builder of that name. A name of the package's own goes before an entry point's.

        In a name that is unknown a hyphen is read as an underscore: ``"info-nce"`` is ``"info_nce"``.

        Raises:
            ValueError: If there is none; the message suggests the closest names.
            PluginError: If the name is a third party's whose entry point fails to load.
        """
        importlib.import_module(self.home)
        if not isinstance(name, str):  # settings hold anything
            raise ValueError(f"{self.kind} expects a name, got {shown(name)}")
        if name in self._builders:
            return self._builders[name]
        points = self._entry_points().get(name, [])
        if not points and (registered := self.canonical(name)) != name:
            return self.get(registered)
        if len(points) > 1:
            owners = sorted(_owner(point) for point in points)
            raise PluginError(f"{self.kind} {name!r} is offered by {owners}: uninstall all but one")
        if points:
            builder = self._load(points[0])
            self._builders[name] = builder
            return builder
        raise ValueError(f"unknown {self.kind} {name!r}; {suggestion(name, self.list())}")

    def canonical(self, name: str) -> str:
        """The registered name: with underscores where a hyphen was written for one; any other name as it is."""
        spelled = name.replace("-", "_")
        return spelled if name != spelled and name not in self and spelled in self else name

    def create(self, name: str, /, *args: Any, **options: Any) -> Any:
        """Build the part of that name.

        Raises:
            ValueError: If the name or an option is unknown, or an option is of another type or out of the range that
                the builder declares; options are never dropped.
        """
        builder = self.get(name)
        check_options(f"{self.kind} {name!r}", builder, options)
        return builder(*args, **options)

    def build(self, choice: Choice, /, **available: Any) -> Any:
        """Build the part that settings choose, from what is known where it is built.

        Args:
            choice: A registered name, or a mapping with ``name`` and options.
            available: By the name of a parameter, what a builder may take; one that has no such parameter is not given
                it. An option of the choice goes before it.

        Raises:
            ValueError: As :meth:`create`, or if a parameter without a default is neither an option nor available.
        """
        name, options = named(choice, self.kind)
        builder = self.get(name)
        check_options(f"{self.kind} {name!r}", builder, options)
        parameters = inspect.signature(builder).parameters
        given = {key: value for key, value in available.items() if key in parameters and key not in options}
        if absent := [
            key
            for key, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and key not in options
            and key not in given
        ]:
            raise ValueError(f"{self.kind} {name!r} needs {', '.join(absent)}: give it beside its name, as an option")
        return builder(**given, **options)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options that :meth:`create` takes for that name, with their defaults."""
        return keyword_options(self.get(name))

    def defaults(self, name: str) -> dict[str, Any]:
        """What each option of that name is where it is not given; without those that have to be."""
        return {key: option.default for key, option in self.options(name).items() if option.default is not option.empty}

    def list(self, pattern: str = "*") -> builtins.list[str]:
        """All names that match the shell-style pattern, sorted; entry points are listed without loading them."""
        importlib.import_module(self.home)
        return sorted(fnmatch.filter({*self._builders, *self._entry_points()}, pattern))

    def __contains__(self, name: object) -> bool:
        importlib.import_module(self.home)
        return name in self._builders or name in self._entry_points()

    def _entry_points(self) -> dict[str, builtins.list[EntryPoint]]:
        by_name: dict[str, builtins.list[EntryPoint]] = {}
        for point in _points(entry_points, self.home, tuple(sys.path)):
            by_name.setdefault(point.name, []).append(point)
        return by_name

    def _load(self, point: EntryPoint) -> Callable[..., Any]:
        before = dict(self._builders)
        try:
            builder = point.load()
        # A plug-in is foreign code: whatever it raises while being imported is reported as its own failure.
        except Exception as error:
            self._builders = before  # what it registered before it failed would be half of it
            raise PluginError(
                f"{self.kind} {point.name!r} comes from the distribution {_owner(point)!r} ({point.value}), which "
                f"fails to load: {type(error).__name__}: {error}"
            ) from error
        if not callable(builder):
            raise PluginError(
                f"{self.kind} {point.name!r} of the distribution {_owner(point)!r} expects {point.value} to be a "
                f"builder that can be called, it is {builder!r}"
            )
        return builder  # type: ignore[no-any-return]  # an entry point loads to Any; callable() was checked


@functools.lru_cache
def _points(find: Callable[..., Iterable[EntryPoint]], group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group, read once: that opens a file of every installed distribution."""
    return tuple(find(group=group))


def named(choice: Choice, kind: str = "part") -> tuple[str, dict[str, Any]]:
    """The name and the options of a part that settings choose.

    Args:
        choice: A name, or a mapping with ``name`` and options.
        kind: What it chooses, for messages.

    Raises:
        ValueError: If there is no name.
    """
    options = {"name": choice} if isinstance(choice, str) else dict(choice) if isinstance(choice, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"a {kind} is a name, or a mapping with name and options, got {choice!r}")
    return name, options


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _is_again(builder: Callable[..., Any], taken: Callable[..., Any]) -> bool:
    """Whether one builder is the other's code run once more: of the same name, in ``__main__`` or in the same file."""
    name = getattr(builder, "__qualname__", None)
    # All lambdas are called the same.
    if name is None or name != getattr(taken, "__qualname__", None) or name.endswith("<lambda>"):
        return False
    if builder.__module__ == taken.__module__ == "__main__":
        return True
    files = [_source(registry) for registry in (builder, taken)]
    return None not in files and files[0] == files[1]


def _source(builder: Callable[..., Any]) -> Path | None:
    try:
        file = inspect.getfile(inspect.unwrap(builder))
    except (OSError, TypeError):
        return None
    # Code from a text says <string> or <stdin>, all of it the same.
    return None if file.startswith("<") else Path(file).resolve()


class Models(Registry):
    """The models: registered ones, and others by the ending of their names, as blueprints' files by ``.toml``.

    Attributes:
        of_suffix: Builders by the ending.
    """

    def __init__(self) -> None:
        super().__init__("model", "mmfusion.models")
        self.of_suffix: dict[str, Callable[..., Any]] = {}

    def get(self, name: str) -> Callable[..., Any]:
        """The builder of that name; of a file, one that takes the file's content as ``blueprint``."""
        importlib.import_module(self.home)
        if isinstance(name, str):
            for suffix, builder in self.of_suffix.items():
                if name.endswith(suffix):
                    return builder
        return super().get(name)


models = Models()
ablations = Registry("model with ablations", "mmfusion.models.ablations")
backbones = Registry("backbone", "mmfusion.backbones")
image_tokenizers = Registry("image tokenizer", "mmfusion.tokenizers.image")
tabular_tokenizers = Registry("tabular tokenizer", "mmfusion.tokenizers.tabular")
table_encoders = Registry("table encoder", "mmfusion.tokenizers.table_encoders")
compressions = Registry("token compression", "mmfusion.layers.compression")
map_fusions = Registry("map fusion", "mmfusion.fusion.maps")
token_fusions = Registry("token fusion", "mmfusion.fusion.tokens")
poolings = Registry("pooling", "mmfusion.pooling")
vector_fusions = Registry("vector fusion", "mmfusion.fusion.vectors")
decisions = Registry("decision fusion", "mmfusion.fusion.decisions")
heads = Registry("head", "mmfusion.heads")
pretrainings = Registry("pretraining", "mmfusion.models.pretraining")
losses = Registry("loss", "mmfusion.losses")
prototypes = Registry("source of prototypes", "mmfusion.losses.memory")
weightings = Registry("weighting", "mmfusion.losses.weighting")
datasets = Registry("dataset", "mmfusion.data")


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell-style pattern, sorted."""
    return models.list(pattern)


def list_losses(pattern: str = "*") -> list[str]:
    """Names of the registered losses that match a shell-style pattern, sorted."""
    return losses.list(pattern)


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of the registered backbones that match a shell-style pattern, sorted; timm's are not among them."""
    return backbones.list(pattern)


def list_datasets(pattern: str = "*") -> list[str]:
    """Names of the registered datasets that match a shell-style pattern, sorted."""
    return datasets.list(pattern)
