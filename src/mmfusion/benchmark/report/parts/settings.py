"""What the numbers were made with."""

from collections.abc import Mapping
from typing import Any

from mmfusion.benchmark.report import words
from mmfusion.benchmark.report.document import Block, Paragraph, Section, Table
from mmfusion.benchmark.report.parts.chapter import Chapter


def section(chapter: Chapter) -> Section:
    """Data, settings, options, versions."""
    found = chapter.comparison
    seeds = words.listed((str(seed) for seed in found.seeds), most=20)
    blocks: list[Block] = [
        Paragraph(
            f"{words.count(found.n_cases)} test cases, {words.count(found.n_validation)} validation cases (mean over "
            f"the runs); seeds {seeds}; {words.plural(found.folds, 'test part')}."
        ),
        Table(
            "Test cases of each class.",
            ("class", "cases"),
            tuple((name, words.count(found.prevalence.get(name, 0))) for name in found.classes),
            numeric=1,
        ),
    ]
    if found.ceilings:
        known = words.listed(f"{name} {words.number(value)}" for name, value in found.ceilings.items())
        blocks.append(Paragraph(f"The best AUC possible is known for these data: {known}."))
    rows = flatten(found.shared)
    if rows:
        blocks.append(Table("Settings that all methods share.", ("setting", "value"), tuple(rows)))
    options = [
        (method.label, words.setting(method.options) if method.options else words.NONE, method.ablation or words.NONE)
        for method in found.methods
        if method.options or method.ablation
    ]
    if options:
        blocks.append(Table("What sets methods of one model apart.", ("method", "options", "ablation"), tuple(options)))
    if found.surroundings:
        blocks.append(
            Table(
                "Versions and hardware.",
                ("commit", "runs", "device", "hardware", "versions"),
                tuple(
                    (
                        words.NONE if one.commit is None else _commit(one.commit),
                        str(one.n_runs),
                        one.device or words.NONE,
                        one.hardware or words.NONE,
                        ", ".join(f"{name} {version}" for name, version in one.versions.items()) or words.NONE,
                    )
                    for one in found.surroundings
                ),
            )
        )
    else:
        blocks.append(Paragraph("No run says with which versions and hardware it was made.", kind="missing"))
    return Section(chapter.key("settings"), "Data, settings, versions", tuple(blocks))


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
            rows.append((path, words.setting(value)))
    return rows
