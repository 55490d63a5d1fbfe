"""Which runs a comparison needs: methods, datasets, folds and seeds, each with a folder that its settings name."""

import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmfusion import registry
from mmfusion.experiments import file_digests
from mmfusion.experiments.settings import FORMER_DEFAULTS, Run, Settings, merge, parse_override, plain, resolve
from mmfusion.models import ablations
from mmfusion.training.settings import Train

ALL = "all"
"""Every registered model."""

_SECTIONS = ("run", "train", "data", "model")
_DIGITS = 10


@dataclass(frozen=True)
class Method:
    """A row of a comparison: a model, and the settings that are its own.

    Attributes:
        label: What the row is called.
        model: Registered name.
        changes: ``{section: {key: value}}`` on top of what holds for all.
    """

    label: str
    model: str
    changes: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Planned:
    """One run of a comparison.

    Attributes:
        label: Of its method.
        settings: Complete; ``run.out`` is its folder.
        address: Of what it computes, see :func:`address`.
    """

    label: str
    settings: Settings
    address: str

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        return Path(self.settings.run.out or "")

    @property
    def name(self) -> str:
        """For a line that speaks of it."""
        run, fold = self.settings.run, self.settings.data.get("fold")
        return f"{self.label} on {run.dataset}, " + ("" if fold is None else f"fold {fold}, ") + f"seed {run.seed}"


def address(settings: Settings) -> str:
    """A name for what a run computes: equal settings, equal address; another value anywhere, another address.

    An option that is set to its default counts as one that is not set, so that a new version of the package, with more
    options, finds the runs of a former one. Where the run is computed and kept (folders, device, workers) does not
    count; a plug-in, a table of one's own and a file of a split count by their content, wherever they lie.

    Args:
        settings: Complete.

    Returns:
        Ten hexadecimal digits.
    """
    packed, chosen = settings.computed(), settings.run
    data = file_digests.by_content(packed["data"])
    defaults, former = registry.models.defaults(chosen.model), FORMER_DEFAULTS.get(chosen.model, {})
    options = {**{key: defaults[key] for key in former}, **packed["model"]}
    counted = {
        "model": [chosen.model, _set(options, {**defaults, **former})],
        "data": [chosen.dataset, _set(data, registry.datasets.defaults(chosen.dataset))],
        "train": _set(packed["train"], asdict(Train())),
        "run": _set(packed["run"], asdict(Run(chosen.model)), ("model", "dataset")),
        "plugins": file_digests.of_plugins(settings),
    }
    return short(counted)


def short(counted: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits for plain values: equal ones, equal digits."""
    return file_digests.digest(json.dumps(counted, sort_keys=True, default=repr).encode())[:_DIGITS]


def _set(values: Mapping[str, Any], defaults: Mapping[str, Any], but: Container[str] = ()) -> dict[str, Any]:
    own = {key: value for key, value in values.items() if key not in but}
    return {key: value for key, value in own.items() if key not in defaults or plain(value) != plain(defaults[key])}


def methods(text: str, ablate: Sequence[str] | None = None) -> list[Method]:
    """The methods that ``--model`` names.

    Args:
        text: Names, patterns (``mm*``) or ``all``, with commas between. Behind a name may stand options of its own in
            brackets, ``tip[pretrain=true]``, with commas between; of other sections by their full key, as
            ``tip[pretrain=true, train.phase_epochs.pretrain=20]``.
        ablate: Add the ablations of those methods that have some: of these names, or all where it is empty. None: no
            ablations.

    Returns:
        Each once, in the order in which they are named.

    Raises:
        ValueError: If a name, a pattern, an option or an ablation does not exist.
    """
    found: dict[str, Method] = {}
    words = _words(text)
    _check_names(words)
    for word in words:
        name, bracket, options = word.partition("[")
        if not bracket:
            for model in _models(name):
                found.setdefault(model, Method(Path(model).name, model, {}))
            continue
        if not options.endswith("]") or not options.removesuffix("]").strip() or not name:
            raise ValueError(f"--model expects a name, or name[option=value] with closed brackets, got {word!r}")
        changes: dict[str, Any] = {}
        for option in _words(options.removesuffix("]")):
            key = option.partition("=")[0].partition(".")[0].strip()
            changes = merge(changes, parse_override(option if key in _SECTIONS else f"model.{option}"))
        found.setdefault(word, Method(word, name, changes))
    if not found:
        raise ValueError(f"--model expects a name, got {text!r}; see --list-models")
    listed = list(found.values())
    return listed if ablate is None else _with_ablations(listed, ablate)


def plan(
    methods: Sequence[Method],
    datasets: Sequence[str],
    layers: Iterable[Mapping[str, Mapping[str, Any]]] = (),
    *,
    seeds: Sequence[int] = (0,),
    folds: int | None = None,
    out: Path = Path("runs"),
) -> list[Planned]:
    """All runs of a comparison, the first seed of every method before the second of any.

    An option of ``model`` that some of the models have and others do not reaches those that have it.

    Args:
        methods: From :func:`methods`.
        datasets: Registered names.
        layers: ``{section: {key: value}}`` for all of them, the later over the earlier.
        seeds: Of each method, dataset and fold.
        folds: Cross-validation with so many; None: the dataset's own split.
        out: Folder of the folders: ``<out>/<dataset>/<model>/seed<seed>-<address>``.

    Returns:
        Each once: of methods that come to the same settings only the first.

    Raises:
        ValueError: If a setting does not exist or does not fit.
    """
    layers = list(layers)
    asked: dict[str, Any] = {}
    for layer in layers:
        asked = merge(asked, layer)
    known = {method.model: set(registry.models.options(method.model)) for method in methods}
    anybody = set().union(*known.values())
    planned: dict[str, Planned] = {}
    for dataset in datasets:
        registry.datasets.get(dataset)
        for seed in seeds:
            for fold in _folds(dataset, folds):
                for method in methods:
                    model = asked.get("model", {})
                    alien = {key for key in model if key in anybody and key not in known[method.model]}
                    own = {key: value for key, value in model.items() if key not in alien}
                    shared = {**asked, **({"model": own} if "model" in asked else {})}
                    # The sweep fits the reference rows, once for all methods.
                    place = {"run": {"seed": seed, "references": False}, "data": fold}
                    settings = resolve(method.model, dataset, [shared, method.changes, place])
                    one = _placed(settings, method.label, out)
                    planned.setdefault(one.address, one)
    return list(planned.values())


def seeds(text: str) -> list[int]:
    """``5`` as 0 to 4; ``0,3,7`` as those.

    Raises:
        ValueError: If it is neither.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or (len(words) == 1 and int(words[0]) < 1):
        raise ValueError(f"--seeds expects how many, as in 5, or which, as in 0,3,7, got {text!r}")
    numbers = [int(word) for word in words]
    return list(range(numbers[0])) if len(numbers) == 1 else list(dict.fromkeys(numbers))


_WORD = r"(?:[^,\[\]]|\[[^\]]*\])+"


def _words(text: str) -> list[str]:
    """Between commas, but for those in brackets."""
    words = re.findall(_WORD, text)
    if re.sub(_WORD, "", text).strip(", "):
        raise ValueError(f"--model expects a name, or name[option=value] with closed brackets, got {text!r}")
    return [word.strip() for word in words if word.strip()]


def _check_names(words: Iterable[str]) -> None:
    """Ask for every name, so that two wrong ones are told at once."""
    faults = []
    for word in words:
        name, bracket, _ = word.partition("[")
        try:
            if bracket:
                registry.models.get(name)
            else:
                _models(name)
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(dict.fromkeys(faults)))


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
        # Says which models have some.
        ablations.ablate(listed[0].model)
    for method in listed:
        out.append(method)
        if method.model not in have:
            continue
        defaults = registry.models.defaults(method.model)
        for name, options in ablations.ablate(method.model, ablate).items():
            now = defaults | dict(method.changes.get("model", {}))
            if name != ablations.FULL and any(now.get(key) != value for key, value in options.items()):
                changes = merge(method.changes, {"model": options})
                out.append(Method(f"{method.label}: {name}", method.model, changes))
    return out


def _folds(dataset: str, folds: int | None) -> list[dict[str, int]]:
    if folds is None:
        return [{}]
    if folds < 2:
        raise ValueError(f"--folds expects at least 2, got {folds}")
    options = registry.datasets.options(dataset)
    if "folds" in options:
        return [{"folds": folds, "fold": fold} for fold in range(folds)]
    if "fold" in options:
        # A dataset that comes in folds, counted from its default.
        first = options["fold"].default
        return [{"fold": first + fold} for fold in range(folds)]
    raise ValueError(f"dataset {dataset!r} has a split of its own: leave --folds out")


def _placed(settings: Settings, label: str, out: Path) -> Planned:
    where, fold = address(settings), settings.data.get("fold")
    name = f"seed{settings.run.seed}" + ("" if fold is None else f"-fold{fold}") + f"-{where}"
    folder = out / settings.run.dataset / settings.run.model / name
    return Planned(label, replace(settings, run=replace(settings.run, out=str(folder))), where)
