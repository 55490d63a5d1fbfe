"""What the numbers were made with."""

from collections.abc import Mapping
from typing import Any

from mmfusion.comparison.analysis.results import Comparison, Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.document import Block, Lid, Paragraph, Section, Table


def section(chapter: Chapter) -> Section:
    """Data, settings, options, versions."""
    found = chapter.comparison
    seeds = formatting.listed((str(seed) for seed in found.seeds), most=20)
    blocks: list[Block] = [
        Paragraph(
            f"{formatting.count(found.n_cases)} test cases, {formatting.count(found.n_validation)} validation cases "
            f"(mean over the runs); seeds {seeds}; {formatting.plural(found.folds, 'test part')}."
        ),
        Table(
            "Test cases of each class.",
            ("class", "cases"),
            tuple((name, formatting.count(found.prevalence.get(name, 0))) for name in found.classes),
            numeric=1,
        ),
    ]
    if found.ceilings:
        known = formatting.listed(f"{name} {formatting.number(value)}" for name, value in found.ceilings.items())
        blocks.append(Paragraph(f"The best AUC possible is known for these data: {known}."))
    rows = flatten(found.shared)
    if rows:
        blocks.append(Table("Settings that all methods share.", ("setting", "value"), tuple(rows)))
    options = [
        (
            method.label,
            formatting.setting(method.options) if method.options else formatting.NONE,
            method.ablation or formatting.NONE,
        )
        for method in found.methods
        if method.options or method.ablation
    ]
    if options:
        caption = "What sets methods of one model apart, or is not as defaults, recipe and preset say."
        blocks.append(Table(caption, ("method", "options", "ablation"), tuple(options)))
    blocks += _all(found)
    if found.surroundings:
        blocks.append(
            Table(
                "Versions and hardware.",
                ("commit", "runs", "device", "hardware", "versions"),
                tuple(
                    (
                        formatting.NONE if one.commit is None else _commit(one.commit),
                        str(one.n_runs),
                        one.device or formatting.NONE,
                        one.hardware or formatting.NONE,
                        ", ".join(f"{name} {version}" for name, version in one.versions.items()) or formatting.NONE,
                    )
                    for one in found.surroundings
                ),
            )
        )
    else:
        blocks.append(Paragraph("No run says with which versions and hardware it was made.", kind="missing"))
    return Section(chapter.key("settings"), "Data, settings, versions", tuple(blocks))


def common(comparison: Comparison) -> dict[str, str]:
    """Settings that are the same in all methods, beside those that a comparison shares anyway; reference rows apart."""
    each = [everything(method) for method in comparison.methods if not method.is_row]
    shared = dict(flatten(comparison.shared))
    if not each:
        return {}
    return {
        name: value
        for name, value in each[0].items()
        if name not in shared and all(one.get(name) == value for one in each[1:])
    }


def own(comparison: Comparison, method: Method) -> dict[str, str]:
    """A method's other settings; none of a reference row, which has no model and no training."""
    if method.is_row:
        return {}
    elsewhere = dict(flatten(comparison.shared)) | common(comparison)
    return {name: value for name, value in everything(method).items() if elsewhere.get(name) != value}


def everything(method: Method) -> dict[str, str]:
    """All of a method's settings that predictions depend on, but its model and dataset, seed and fold."""
    settings = {section: dict(method.settings.get(section, {})) for section in ("run", "data", "train", "model")}
    for name in ("model", "dataset"):
        settings["run"].pop(name, None)
    return dict(flatten({section: values for section, values in settings.items() if values}))


def changed(method: Method) -> dict[str, str]:
    """Those that neither defaults nor recipe nor preset say."""
    names = {
        name if name.startswith(("run.", "train.")) else f"model.{name}": value
        for name, value in method.changed.items()
    }
    return dict(flatten(names))


def _all(comparison: Comparison) -> list[Block]:
    """Every setting, under a lid: of all methods once, then each one's own, what was changed before the rest."""
    tables: list[Table] = []
    if same := common(comparison):
        caption = "Settings that all methods happen to have in common."
        tables.append(Table(caption, ("setting", "value"), tuple(same.items())))
    rows = []
    for method in comparison.methods:
        others, told = own(comparison, method), changed(method)
        mine = {name: value for name, value in others.items() if name in told}
        usual = {name: value for name, value in others.items() if name not in told}
        if others:
            rows.append((method.label, formatting.setting(mine), formatting.setting(usual)))
    if rows:
        caption = "Settings of each method's own, those first that neither defaults nor recipe nor preset say."
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
