"""Chapter part: data, settings, versions and hardware."""

from collections.abc import Mapping
from typing import Any

from mmfusion.comparison.analysis.results import Comparison, Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, Part


def part(chapter: Chapter) -> Part:
    """Data, settings, options, versions."""
    comparison = chapter.comparison
    none = formatting.NONE
    values = {
        "classes": [(name, formatting.count(comparison.prevalence.get(name, 0))) for name in comparison.classes],
        "ceilings": [f"{name} {formatting.number(value)}" for name, value in comparison.ceilings.items()],
        "shared": list(flatten(comparison.shared).items()),
        "options": [
            (method.label, formatting.setting(method.options) if method.options else none, method.ablation or none)
            for method in comparison.methods
            if method.options or method.ablation
        ],
        "common": list(common(comparison).items()),
        "rest": _rest(comparison),
        "surroundings": [
            (
                none if env.commit is None else short_commit(env.commit),
                str(env.n_runs),
                env.device or none,
                env.hardware or none,
                ", ".join(f"{name} {version}" for name, version in env.versions.items()) or none,
            )
            for env in comparison.surroundings
        ],
    }
    return Part(chapter.key("settings"), "Data, settings, versions", "settings", comparison.methods, values=values)


def common(comparison: Comparison) -> dict[str, str]:
    """Settings with the same value in all methods, but those that a comparison always shares; reference rows aside."""
    settings = [everything(method) for method in comparison.methods if not method.is_row]
    shared = flatten(comparison.shared)
    return {
        name: value
        for name, value in (settings[0] if settings else {}).items()
        if name not in shared and all(other.get(name) == value for other in settings[1:])
    }


def of_method(comparison: Comparison, method: Method) -> dict[str, str]:
    """The other settings of a method; empty for a reference row, which has no model and no training."""
    if method.is_row:
        return {}
    elsewhere = flatten(comparison.shared) | common(comparison)
    return {name: value for name, value in everything(method).items() if elsewhere.get(name) != value}


def everything(method: Method) -> dict[str, str]:
    """All settings of a method that predictions depend on, without its model, dataset, seed and fold."""
    settings = {section: dict(method.settings.get(section, {})) for section in ("run", "data", "train", "model")}
    for name in ("model", "dataset"):
        settings["run"].pop(name, None)
    return flatten({section: values for section, values in settings.items() if values})


def changed(method: Method) -> dict[str, str]:
    """Settings that differ from the defaults, the recipe and the preset."""
    return flatten(
        {
            name if name.startswith(("run.", "train.")) else f"model.{name}": value
            for name, value in method.changed.items()
        }
    )


def _rest(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Each method's own settings: changed ones, then the others."""
    rows = []
    for method in comparison.methods:
        others, names = of_method(comparison, method), changed(method)
        unusual = {name: value for name, value in others.items() if name in names}
        usual = {name: value for name, value in others.items() if name not in names}
        if others:
            rows.append((method.label, formatting.setting(unusual), formatting.setting(usual)))
    return rows


def short_commit(commit: str) -> str:
    """Twelve digits are enough; what follows, ``+changes``, matters."""
    digits, plus, rest = commit.partition("+")
    return digits[:12] + plus + rest


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """``train.epochs``, ``8`` and so on, in their order."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        path = f"{prefix}{name}"
        flat |= (
            flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: formatting.setting(value)}
        )
    return flat
