"""Settings of a run: defaults, then the recipe, then the user's settings.

Later layers win, key by key: the defaults below, the dataset's recipe, the recipe's part for one model, what the
user set. Every key is checked; an unknown one is an error that names the closest.
"""

import difflib
import json
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from mmfusion import registry
from mmfusion.data.samplers import OPTIONS as SAMPLERS
from mmfusion.data.samplers.choose import SAMPLERS as SAMPLER_CLASSES
from mmfusion.data.transforms import Augment
from mmfusion.experiments import recipes, trust
from mmfusion.experiments.builder_options import typed_options
from mmfusion.metrics.classification import metric_faults
from mmfusion.models import Blueprint
from mmfusion.models import blueprint as blueprints
from mmfusion.models.registration import is_file
from mmfusion.option_checks import alternatives, check_names, value_faults
from mmfusion.options import Name, OneOf, Range, Seed
from mmfusion.training.settings import Train

DEFAULT_DATASET = "synthetic_derm7pt"
FORMER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"cfcml": {"compression": "conv", "hidden": [128, 16]}}
"""Defaults of models that have changed since results were published.

Settings of new runs always name these options, so that a file that does not is of a run with the former defaults; and
the addresses of a sweep's runs contain them, so that no run is mistaken for one with another default.
"""
BLUEPRINT = "blueprint.toml"
"""Name of the model of a run that was given a blueprint and no file."""
DEVICES = ("auto", "cpu", "cuda")

_PLACE = ("out", "device", "cache", "cache_gb", "root", "plugins", "robustness", "references", "preset", "notes")
_SPEED = ("workers",)


@dataclass
class RunSettings:
    """What is run, and where.

    Attributes:
        model: Registered name.
        dataset: Registered name.
        root: Folder of the dataset; None for a generated one.
        seed: Of everything random.
        repeat: Number of a repeat with the same seed: 0 starts from the seed's weights, any other number from weights
            that differ from these by rounding, for the spread that rounding alone leads to.
        out: The run's folder; None: ``runs/<dataset>/<model>/seed<seed>``, with ``-repeat<repeat>`` and
            ``-fold<fold>`` where they are set.
        device: ``auto`` takes CUDA where there is one.
        precision: Of training. ``no`` is float32, for convolutions and matrix products on a GPU too; ``tf32`` computes
            those in TF32 there; ``bf16`` and ``fp16`` are automatic mixed precision. The results of a trained model are
            always computed in float32.
        cache: Folder for what is computed once for many runs, such as decoded images or a frozen encoder's maps; None:
            the user's cache.
        cache_gb: Most that decoded images may take there, in GB; 0: they are not kept.
        plugins: Python files that register more parts.
        preset: The preset that the settings come from, as ``--preset`` names it.
        notes: Sentences listed with the result, after the dataset's notes.
        robustness: Whether the test set is also evaluated with missing cells and modalities. It changes neither the
            training nor any other result.
        references: Whether scikit-learn's reference rows on the table are fitted and listed next to the result. In a
            sweep they are fitted once per dataset, split and seed instead.
        test: Whether the test set is evaluated. False is for a trial of settings: the run ends with its validation
            metrics and predictions, and nothing of the test set but its cases' names is written.
    """

    model: Name
    dataset: Name = DEFAULT_DATASET
    root: Name | None = None
    seed: Seed = 0
    repeat: Seed = 0
    out: Name | None = None
    device: Annotated[str, OneOf(DEVICES)] = "auto"
    precision: Annotated[str, OneOf(("no", "tf32", "bf16", "fp16"))] = "no"
    cache: Name | None = None
    cache_gb: Annotated[float, Range(0, 1e6)] = 20.0
    plugins: list[str] = field(default_factory=list)
    preset: str | None = None
    notes: list[str] = field(default_factory=list)
    robustness: bool = True
    references: bool = True
    test: bool = True


@dataclass
class Settings:
    """All settings of a run; plain values, equal by value, JSON by :meth:`to_dict`.

    Attributes:
        run: What and where.
        train: The budget.
        data: Options of the dataset's builder.
        model: Options of the model's builder.
    """

    run: RunSettings
    train: Train = field(default_factory=Train)
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, for JSON."""
        return asdict(self)

    def computed(self) -> dict[str, Any]:
        """As :meth:`to_dict`, without where a run is computed and kept, and what is evaluated and listed afterwards."""
        packed = self.to_dict()
        packed["run"] = {key: value for key, value in packed["run"].items() if key not in _PLACE}
        packed["train"] = {key: value for key, value in packed["train"].items() if key not in _SPEED}
        return packed

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "Settings":
        """The inverse of :meth:`to_dict`, with every key and value checked.

        Raises:
            ValueError: If a section or key is unknown, or a value is of the wrong type or out of range.
        """
        check_sections(packed)
        _closest("section", packed, [f.name for f in fields(cls)])
        settings = cls(
            run=_fill(RunSettings, "run", packed.get("run", {})),
            train=_fill(Train, "train", packed.get("train", {})),
            data=dict(packed.get("data", {})),
            model=dict(packed.get("model", {})),
        )
        # Runs made when names had hyphens are read as runs of the same names with underscores.
        settings.run.model = registry.models.canonical(settings.run.model)
        settings.run.dataset = registry.datasets.canonical(settings.run.dataset)
        train, augment = settings.train, settings.augment
        if faults := metric_faults(train.metric):
            raise ValueError(f"train.metric {faults}")
        if unknown := sorted(set(train.sampler_options) - set(SAMPLERS[train.sampler])):
            raise ValueError(
                f"train.sampler_options names {unknown}; the sampler {train.sampler!r} takes: "
                f"{', '.join(SAMPLERS[train.sampler]) or 'no options'}"
            )
        options = typed_options("train.sampler_options", SAMPLER_CLASSES[train.sampler].__init__, train.sampler_options)
        train.sampler_options = options
        if not settings.run.test and train.select_on == "test":
            raise ValueError("run.test=false leaves the test set alone, train.select_on=test chooses the epoch on it")
        if train.precompute and (train.freeze != "all" or not augment.images_idle):
            raise ValueError(
                "train.precompute needs an encoder that always sees the same: train.freeze=all and no train.augment of "
                f"images, got freeze={train.freeze!r} and augment={train.augment}"
            )
        return settings

    @classmethod
    def from_file(cls, packed: Mapping[str, Any]) -> "Settings":
        """The settings of a run from its file, with the former defaults of options that it does not name.

        Args:
            packed: The content of ``settings.json``, without its format.

        Raises:
            ValueError: As :meth:`from_dict`.
        """
        settings = cls.from_dict(packed)
        for option, value in FORMER_DEFAULTS.get(settings.run.model, {}).items():
            settings.model.setdefault(option, value)
        return settings

    @property
    def augment(self) -> Augment:
        """What ``train.augment`` says; corruption of tables is not fitted yet.

        Raises:
            ValueError: If one of its settings is unknown or out of its range.
        """
        try:
            return Augment.from_settings(self.train.augment)
        except ValueError as error:
            raise ValueError(f"train.augment: {error}") from error

    def check_options(self) -> None:
        """Check the free sections against the builders that receive them.

        Raises:
            ValueError: If the model, the dataset or one of their options is unknown.
        """
        check_names(f"model {self.run.model!r}", registry.models.get(self.run.model), self.model)
        if "root" in self.data:
            raise ValueError("data.root is set as run.root")
        for name, instead in (("progress", ""), ("cache", ": see run.cache and run.cache_gb")):
            if name in self.data:
                raise ValueError(f"data.{name} is set by the run{instead}")
        check_names(f"dataset {self.run.dataset!r}", registry.datasets.get(self.run.dataset), self.data)

    def typed(self) -> "Settings":
        """The same with the free sections as their builders want them: ``none`` is None where they take it.

        Raises:
            ValueError: If an option of a builder is of another type than the builder says.
        """
        model, data = registry.models.get(self.run.model), registry.datasets.get(self.run.dataset)
        return replace(
            self, model=typed_options("model", model, self.model), data=typed_options("data", data, self.data)
        )


def resolve(
    model: str | Path | Blueprint,
    dataset: str = DEFAULT_DATASET,
    overrides: Iterable[Mapping[str, Mapping[str, Any]]] = (),
) -> Settings:
    """Defaults, recipe and overrides, merged and checked.

    Args:
        model: Registered name, a blueprint's ``.toml`` file, or a blueprint.
        dataset: Registered name.
        overrides: ``{section: {key: value}}``, the later over the earlier.

    Returns:
        Settings whose every key exists.

    Raises:
        ValueError: If a name, section, key or value is not valid.
    """
    overrides = list(overrides)
    requested: Any = merge({}, *overrides)
    plugins = requested.get("run", {}).get("plugins", []) if isinstance(requested.get("run"), Mapping) else []
    if isinstance(plugins, list):  # another type raises an error with all other faults of the settings
        trust.run_given(str(path) for path in plugins)
    blueprint: dict[str, Any] = {}
    if isinstance(model, Blueprint):
        blueprint, model = {"blueprint": model.to_dict()}, BLUEPRINT
    elif is_file(model):
        # The file's content is a setting: the run can be loaded where the file is not.
        of_model = requested.get("model", {})
        content = of_model.get("blueprint") if isinstance(of_model, Mapping) else None
        blueprint = {"blueprint": blueprints.read(model).to_dict() if content is None else content}
        model = Path(model).name
    model = str(model)
    # Looked up first: of several faults, the unknown name is reported.
    model_options = registry.models.options(model)
    registry.datasets.get(dataset)
    model, dataset = registry.models.canonical(model), registry.datasets.canonical(dataset)
    merged: dict[str, Any] = {"run": {"model": model, "dataset": dataset}}
    recipe = recipes.load(dataset, model, model_options)
    train = requested.get("train", {})
    if isinstance(train, Mapping) and train.get("precompute") is True and not train.get("augment"):
        # Maps from disk always see the same image; the recipe's augmentation is not requested by the user.
        recipe["train"].pop("augment", None)
    if blueprint:
        recipe["model"] = blueprint  # a file says all about its model
    settings = Settings.from_dict(merge(merged, recipe, *overrides))
    settings.check_options()
    defaults = registry.models.defaults(model)
    for option in FORMER_DEFAULTS.get(model, {}):
        settings.model.setdefault(option, plain(defaults[option]))
    return settings.typed()


def check_sections(packed: Mapping[str, Any]) -> None:
    """Check that what is given for each section has keys: merged over it, anything else would drop its recipe.

    Raises:
        ValueError: Naming the section.
    """
    for name, section in packed.items():
        if not isinstance(section, Mapping):
            raise ValueError(f"{name} is a section: set one of its keys, as in {name}.key=..., got {section!r:.80}")


def plain(value: Any) -> Any:
    """A value as a settings file has it: a list where a builder's default is a tuple."""
    return json.loads(json.dumps(value, default=repr))


def parse_override(text: str) -> dict[str, Any]:
    """``section.key=value`` as nested dictionaries.

    Args:
        text: The value is TOML (``3``, ``1e-4``, ``true``, ``[1, 2]``, ``"text"``). Anything else is text as it stands,
            also within a list, since a shell removes quotes: ``[nevus, melanoma]``.

    Returns:
        ``{"section": {"key": value}}``, deeper for more dots.

    Raises:
        ValueError: If there is no ``=``, or not both a section and a key.
    """
    path, equals, raw = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or len(keys) < 2 or not all(keys):
        raise ValueError(f"a setting is section.key=value, as in data.size=128, got {text!r}")
    value = _value(raw.strip())
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _value(raw: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    inner = raw[1:-1]
    if raw.startswith("[") and raw.endswith("]") and not set(inner) & set("[]{}\"'"):
        return [_value(item.strip()) for item in inner.split(",") if item.strip()]
    return raw


def merge(base: Mapping[str, Any], *updates: Mapping[str, Any]) -> dict[str, Any]:
    """All of them, later values over earlier ones; dictionaries are merged in depth, and none is changed."""
    merged = dict(base)
    for update in updates:
        for key, value in update.items():
            old = merged.get(key)
            merged[key] = merge(old if isinstance(old, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return merged


def _fill(section: type[Any], name: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is a section: set one of its keys, as in {name}.{fields(section)[0].name}=...")
    _closest(f"key of [{name}]", values, [f.name for f in fields(section)])
    hints = typing.get_type_hints(section, include_extras=True)
    typed = {key: _typed(value, hints[key]) for key, value in values.items()}
    faults = [fault for key, value in typed.items() for fault in value_faults(f"{name}.{key}", value, hints[key])]
    if faults:
        raise ValueError("; ".join(faults))
    return section(**typed)


def _closest(kind: str, given: Iterable[str], valid: list[str]) -> None:
    for name in given:
        if name not in valid:
            close = difflib.get_close_matches(name, valid, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"unknown {kind} {name!r}; {hint}Valid: {', '.join(sorted(valid))}")


def _typed(value: Any, hint: Any) -> Any:
    """The value as its field wants it: an integer will do for a float, ``none`` for an optional field's None."""
    options = alternatives(hint)
    if type(None) in options and (value is None or value == "none"):
        return None
    is_float = any((typing.get_args(alternative) or (alternative,))[0] is float for alternative in options)
    return float(value) if is_float and type(value) is int and abs(value) < 2**63 else value
