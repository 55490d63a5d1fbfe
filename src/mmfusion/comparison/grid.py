"""Planned runs of a comparison: methods, datasets, folds and seeds, each with a folder named by its settings."""

import itertools
import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmfusion import registry
from mmfusion.experiments import file_digests
from mmfusion.experiments import folder as folders
from mmfusion.experiments.settings import FORMER_DEFAULTS, RunSettings, Settings, merge, parse_override, plain, resolve
from mmfusion.models import ablations
from mmfusion.training.settings import Train

ALL = "all"
"""Every registered model."""

_SECTIONS = ("run", "train", "data", "model")
_DIGITS = 10


@dataclass(frozen=True)
class Method:
    """A method of a comparison: a model and its own settings.

    Attributes:
        label: Name of its row.
        model: Registered name.
        changes: ``{section: {key: value}}`` on top of the shared settings.
        fixed: Those of them that make the method what it is, as ``section.key``: options in brackets and those of an
            ablation. They are not tuned.
    """

    label: str
    model: str
    changes: Mapping[str, Mapping[str, Any]]
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One run of a comparison.

    Attributes:
        label: Label of its method.
        settings: Complete settings; ``run.out`` is its folder.
        address: Digest of its settings, see :func:`address`.
        fixed: Settings that are not tuned, see :class:`Method`.
    """

    label: str
    settings: Settings
    address: str
    fixed: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Its folder, which need not exist yet."""
        return Path(self.settings.run.out or "")

    @property
    def name(self) -> str:
        """Method, dataset, fold, seed and repeat, for messages."""
        run, fold = self.settings.run, self.settings.data.get("fold")
        place = ("" if fold is None else f"fold {fold}, ") + f"seed {run.seed}"
        return f"{self.label} on {run.dataset}, {place}" + (f", repeat {run.repeat}" if run.repeat else "")


def address(settings: Settings) -> str:
    """Digest of all settings that change what a run computes: equal for equal settings only.

    An option set to its default counts as not set, so that a new version of the package, with more options, finds the
    runs of a former one. Folders, device and workers do not count; plug-ins, tables and split files count by their
    content, not by their path.

    Args:
        settings: Complete settings.

    Returns:
        Ten hexadecimal digits.
    """
    sections, chosen = settings.computed(), settings.run
    data = file_digests.by_content(sections["data"])
    defaults, former = registry.models.defaults(chosen.model), FORMER_DEFAULTS.get(chosen.model, {})
    options = {**{key: defaults[key] for key in former}, **sections["model"]}
    counted = {
        "model": [chosen.model, _set(options, {**defaults, **former})],
        "data": [chosen.dataset, _set(data, registry.datasets.defaults(chosen.dataset))],
        "train": _set(sections["train"], asdict(Train())),
        "run": _set(sections["run"], asdict(RunSettings(chosen.model)), ("model", "dataset")),
        "plugins": file_digests.of_plugins(settings),
    }
    return short(counted)


def short(counted: Mapping[str, Any]) -> str:
    """Digest of plain values, ten hexadecimal digits."""
    return file_digests.digest(json.dumps(counted, sort_keys=True, default=repr).encode())[:_DIGITS]


def _set(values: Mapping[str, Any], defaults: Mapping[str, Any], without: Container[str] = ()) -> dict[str, Any]:
    """The values that differ from their defaults."""
    return {
        key: value
        for key, value in values.items()
        if key not in without and (key not in defaults or plain(value) != plain(defaults[key]))
    }


def methods(text: str, ablate: Sequence[str] | None = None) -> list[Method]:
    """The methods that ``--model`` names.

    Args:
        text: Names, patterns (``mm*``) or ``all``, separated by commas. Options of one method follow its name in
            brackets, ``tip[pretrain=true]`` or ``concat[hidden=[128, 16]]``, separated by commas; those of other
            sections have their full key, ``tip[pretrain=true, train.phase_epochs.pretrain=20]``.
        ablate: Names of ablations to add for the methods that have them; empty: all. None: no ablations.

    Returns:
        Each method once, in the order of their names in ``text``.

    Raises:
        ValueError: If a name, a pattern, an option or an ablation does not exist.
    """
    by_label: dict[str, Method] = {}
    faults: dict[str, None] = {}
    for word in _words(text):
        name, bracket, options = word.partition("[")
        try:
            models = _models(name)
        except ValueError as error:  # one error names all wrong names
            faults[str(error)] = None
            continue
        if not bracket:
            for model in models:
                by_label.setdefault(model, Method(Path(model).name, model, {}))
            continue
        if not options.endswith("]") or not options.removesuffix("]").strip() or not name:
            raise ValueError(f"model expects a name, or name[option=value] with closed brackets, got {word!r}")
        changes: dict[str, Any] = {}
        for option in _words(options.removesuffix("]")):
            key = option.partition("=")[0].partition(".")[0].strip()
            changes = merge(changes, parse_override(option if key in _SECTIONS else f"model.{option}"))
        by_label.setdefault(word, Method(word, name, changes, _keys(changes)))
    if faults:
        raise ValueError("; ".join(faults))
    if not by_label:
        raise ValueError(f"model expects a name, got {text!r}")
    listed = list(by_label.values())
    return listed if ablate is None else _with_ablations(listed, ablate)


def plan(
    methods: Sequence[Method],
    datasets: Sequence[str],
    layers: Iterable[Mapping[str, Mapping[str, Any]]] = (),
    *,
    seeds: Sequence[int] = (0,),
    folds: int | None = None,
    repeats: int = 1,
    out: Path = Path("runs"),
) -> list[Planned]:
    """All runs of a comparison, the first seed of every method before the second of any, repeats last.

    An option of ``model`` that only some of the models have is passed to these alone.

    Args:
        methods: From :func:`methods`.
        datasets: Registered names.
        layers: ``{section: {key: value}}`` for all methods, later layers over earlier ones.
        seeds: Seeds for each method, dataset and fold.
        folds: Number of folds of the cross-validation; None: the dataset's own split.
        repeats: Starts of each method, dataset, fold and seed: the seed's own, and others that differ by rounding, see
            ``run.repeat``.
        out: Parent of the folders ``<out>/<dataset>/<model>/seed<seed>-<address>``.

    Returns:
        Each run once: of several methods with the same settings only the first.

    Raises:
        ValueError: If a setting does not exist or does not fit.
    """
    layers = list(layers)
    merged = merge({}, *layers)
    starts = _starts(repeats, merged)
    known = {method.model: set(registry.models.options(method.model)) for method in methods}
    any_option = set().union(*known.values())
    planned: dict[str, Planned] = {}
    for dataset in datasets:
        registry.datasets.get(dataset)
        for start, seed in itertools.product(starts, seeds):
            for fold in _folds(dataset, folds):
                for method in methods:
                    shared = dict(merged)
                    if "model" in merged:
                        # An option that no model has is an error of `resolve`.
                        unknown = any_option - known[method.model]
                        shared["model"] = {k: v for k, v in merged["model"].items() if k not in unknown}
                    # The sweep fits the reference rows, once for all methods.
                    place = {"run": {"seed": seed, "references": False, **start}, "data": fold}
                    settings = resolve(method.model, dataset, [shared, method.changes, place])
                    run = replace(placed(settings, method.label, out), fixed=method.fixed)
                    planned.setdefault(run.address, run)
    return list(planned.values())


def seeds(text: str) -> list[int]:
    """Seeds of ``--seeds``: ``5`` means 0 to 4, ``0,3,7`` these three.

    Raises:
        ValueError: If ``text`` is neither.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or (len(words) == 1 and int(words[0]) < 1):
        raise ValueError(f"seeds expects a number of seeds, as in 5, or a list of seeds, as in 0,3,7, got {text!r}")
    numbers = [int(word) for word in words]
    return list(range(numbers[0])) if len(numbers) == 1 else list(dict.fromkeys(numbers))


_BRACKETS = r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]"
"""Brackets, in which a value may be a list: ``[hidden=[128, 16]]``."""
_WORD = rf"(?:[^,\[\]]|{_BRACKETS})+"


def _words(text: str) -> list[str]:
    """Parts between commas that are not in brackets."""
    words = re.findall(_WORD, text)
    if re.sub(_WORD, "", text).strip(", "):
        raise ValueError(f"model expects a name, or name[option=value] with closed brackets, got {text!r}")
    return [word.strip() for word in words if word.strip()]


def _models(name: str) -> list[str]:
    if name == ALL:
        return registry.models.list()
    if any(letter in name for letter in "*?"):
        matched = registry.models.list(name)
        if not matched:
            raise ValueError(f"no model matches {name!r}; there are: {', '.join(registry.models.list())}")
        return matched
    registry.models.get(name)
    return [registry.models.canonical(name)]


def _with_ablations(listed: Sequence[Method], ablate: Sequence[str]) -> list[Method]:
    out: list[Method] = []
    have = [method.model for method in listed if method.model in registry.ablations]
    if not have:
        # Raises the error that lists the models with ablations.
        ablations.ablate(listed[0].model)
    for method in listed:
        out.append(method)
        if method.model not in have:
            continue
        defaults = registry.models.defaults(method.model)
        for name, options in ablations.ablate(method.model, ablate).items():
            current = defaults | dict(method.changes.get("model", {}))
            if name != ablations.FULL and any(current.get(key) != value for key, value in options.items()):
                changes = merge(method.changes, {"model": options})
                fixed = (*method.fixed, *_keys({"model": options}))
                out.append(Method(f"{method.label}: {name}", method.model, changes, fixed))
    return out


def _starts(repeats: int, settings: Mapping[str, Mapping[str, Any]]) -> list[dict[str, int]]:
    if repeats < 1:
        raise ValueError(f"repeats expects at least 1, got {repeats}")
    if repeats == 1:
        return [{}]
    if "repeat" in settings.get("run", {}):
        raise ValueError(f"repeats={repeats} numbers the starts: leave out run.repeat")
    return [{"repeat": number} for number in range(repeats)]


def _folds(dataset: str, folds: int | None) -> list[dict[str, int]]:
    if folds is None:
        return [{}]
    if folds < 2:
        raise ValueError(f"folds expects at least 2, got {folds}")
    options = registry.datasets.options(dataset)
    if "folds" in options:
        return [{"folds": folds, "fold": fold} for fold in range(folds)]
    if "fold" in options:
        # A dataset with fixed folds, counted from its default.
        first = options["fold"].default
        return [{"fold": first + fold} for fold in range(folds)]
    raise ValueError(f"dataset {dataset!r} has a fixed split: leave out folds={folds}")


def _keys(changes: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{section}.{key}" for section, values in changes.items() for key in values)


def placed(settings: Settings, label: str, out: Path) -> Planned:
    """A run with its folder and address.

    Args:
        settings: Complete settings.
        label: Label of its method.
        out: Parent of the folders, as for :func:`plan`.
    """
    digest = address(settings)
    folder = out / settings.run.dataset / settings.run.model / f"{folders.name(settings)}-{digest}"
    return Planned(label, replace(settings, run=replace(settings.run, out=str(folder))), digest)
