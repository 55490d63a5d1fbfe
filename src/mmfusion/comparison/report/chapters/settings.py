"""Chapter part: data, settings, versions and hardware."""

from collections.abc import Mapping
from typing import Any

from mmfusion.comparison.analysis.results import Comparison, Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.document import Block, Lid, Paragraph, Section, Table


def section(chapter: Chapter) -> Section:
    """Data, settings, options, versions."""
    comparison = chapter.comparison
    seeds = formatting.listed((str(seed) for seed in comparison.seeds), most=20)
    blocks: list[Block] = [
        Paragraph(
            f"{formatting.count(comparison.n_cases)} test cases, {formatting.count(comparison.n_validation)} "
            f"validation cases (mean over the runs); seeds {seeds}; {formatting.plural(comparison.folds, 'test set')}."
        ),
        Table(
            "Test cases of each class.",
            ("class", "cases"),
            tuple((name, formatting.count(comparison.prevalence.get(name, 0))) for name in comparison.classes),
            numeric=1,
        ),
    ]
    if comparison.ceilings:
        known = formatting.listed(f"{name} {formatting.number(value)}" for name, value in comparison.ceilings.items())
        blocks.append(Paragraph(f"The best AUC possible is known for these data: {known}."))
    rows = flatten(comparison.shared)
    if rows:
        blocks.append(Table("Settings that all methods share.", ("setting", "value"), tuple(rows)))
    options = [
        (
            method.label,
            formatting.setting(method.options) if method.options else formatting.NONE,
            method.ablation or formatting.NONE,
        )
        for method in comparison.methods
        if method.options or method.ablation
    ]
    if options:
        caption = (
            "Options that distinguish methods of one model, or differ from the defaults, the recipe and the preset."
        )
        blocks.append(Table(caption, ("method", "options", "ablation"), tuple(options)))
    blocks += _all(comparison)
    if comparison.surroundings:
        blocks.append(
            Table(
                "Versions and hardware.",
                ("commit", "runs", "device", "hardware", "versions"),
                tuple(
                    (
                        formatting.NONE if env.commit is None else _commit(env.commit),
                        str(env.n_runs),
                        env.device or formatting.NONE,
                        env.hardware or formatting.NONE,
                        ", ".join(f"{name} {version}" for name, version in env.versions.items()) or formatting.NONE,
                    )
                    for env in comparison.surroundings
                ),
            )
        )
    else:
        blocks.append(Paragraph("No run recorded its versions and hardware.", kind="missing"))
    return Section(chapter.key("settings"), "Data, settings, versions", tuple(blocks))


def common(comparison: Comparison) -> dict[str, str]:
    """Settings with the same value in all methods, but those that a comparison always shares; reference rows aside."""
    settings = [everything(method) for method in comparison.methods if not method.is_row]
    shared = dict(flatten(comparison.shared))
    if not settings:
        return {}
    return {
        name: value
        for name, value in settings[0].items()
        if name not in shared and all(other.get(name) == value for other in settings[1:])
    }


def of_method(comparison: Comparison, method: Method) -> dict[str, str]:
    """The other settings of a method; empty for a reference row, which has no model and no training."""
    if method.is_row:
        return {}
    elsewhere = dict(flatten(comparison.shared)) | common(comparison)
    return {name: value for name, value in everything(method).items() if elsewhere.get(name) != value}


def everything(method: Method) -> dict[str, str]:
    """All settings of a method that predictions depend on, without its model, dataset, seed and fold."""
    settings = {section: dict(method.settings.get(section, {})) for section in ("run", "data", "train", "model")}
    for name in ("model", "dataset"):
        settings["run"].pop(name, None)
    return dict(flatten({section: values for section, values in settings.items() if values}))


def changed(method: Method) -> dict[str, str]:
    """Settings that differ from the defaults, the recipe and the preset."""
    names = {
        name if name.startswith(("run.", "train.")) else f"model.{name}": value
        for name, value in method.changed.items()
    }
    return dict(flatten(names))


def _all(comparison: Comparison) -> list[Block]:
    """Every setting, collapsed: common ones once, then each method's own, changed ones first."""
    tables: list[Table] = []
    if same := common(comparison):
        caption = "Settings with the same value in all methods."
        tables.append(Table(caption, ("setting", "value"), tuple(same.items())))
    rows = []
    for method in comparison.methods:
        others, names = of_method(comparison, method), changed(method)
        unusual = {name: value for name, value in others.items() if name in names}
        usual = {name: value for name, value in others.items() if name not in names}
        if others:
            rows.append((method.label, formatting.setting(unusual), formatting.setting(usual)))
    if rows:
        caption = "Settings of each method: first those that differ from the defaults, the recipe and the preset."
        tables.append(Table(caption, ("method", "changed", "as usual"), tuple(rows)))
    return [Lid("All other settings", tuple(tables))] if tables else []


def _commit(commit: str) -> str:
    """Twelve digits are enough; what follows, ``+changes``, matters."""
    digits, plus, rest = commit.partition("+")
    return digits[:12] + plus + rest


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """``train.epochs``, ``8`` and so on, in their order."""
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{path}.")
        else:
            rows.append((path, formatting.setting(value)))
    return rows
