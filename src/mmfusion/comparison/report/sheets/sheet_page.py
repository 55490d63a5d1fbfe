"""The page of one explained case."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.rendering import rendered
from mmfusion.comparison.report.sheets import overlay, trust
from mmfusion.comparison.report.sheets.bars import case_bars, signed
from mmfusion.experiments.explaining.chosen_cases import BEST, WORDS, WORST
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.experiments.explaining.sheet import Sheet
from mmfusion.explain import Account

BASELINES = {"blur": "blurred", "mean": "at the mean of its image", "zero": "at 0"}
_SECTIONS = (
    ("images", "Where in the images"),
    ("account", "What each part adds"),
    ("probabilities", "Probabilities"),
    ("knowing", "What knowing more would be worth"),
    ("neighbors", "Training cases that resemble this one"),
)


@dataclass(frozen=True)
class SheetPage:
    """A page and the pictures for files.

    Attributes:
        html: The page.
        pictures: Drawn ones.
        images: By name, images of Pillow as large as what they are of.
    """

    html: str
    pictures: tuple[Picture, ...]
    images: dict[str, Any]


def sheet_page(explanation: Explanation, sheet: Sheet, links: list[tuple[str, str]]) -> SheetPage:
    """Draw and write the sheet of a case.

    Args:
        explanation: The result.
        sheet: One of its sheets.
        links: Addresses and texts of other pages.
    """
    pictures = [] if sheet.account is None else [case_bars(sheet, sheet.account)]
    images, files = _images(sheet)
    prototypes = "Prototypes of the classes" if explanation.anchors else "Class means of the training embeddings"
    measured = explanation.trust if not isinstance(explanation.trust, str) else {}
    columns = ["as the model gives it", *(["calibrated"] if sheet.calibrated else [])]
    columns += ["in the set"] if sheet.in_set is not None else []
    values = {
        "title": f"Case {sheet.id}",
        "summary": summary(sheet),
        "warnings": [*sheet.notes, *trust.warnings(explanation)],
        "links": links,
        "named": [*_SECTIONS, ("prototypes", prototypes)],
        "sheet": sheet,
        "images": images,
        "has_map": any(plane.heat is not None for one in sheet.images.values() for plane in one.planes),
        "method": trust.method_name(explanation.options),
        "heat": overlay.HEAT,
        "color_against": overlay.AGAINST,
        "color_for": overlay.FOR,
        "baseline": BASELINES[explanation.options.baseline],
        "no_images": _no_images(sheet),
        "trust": trust.tables(measured),
        "measured": trust.measured_on(measured),
        "no_trust": explanation.trust if isinstance(explanation.trust, str) else "",
        "contributions": pictures,
        "numbers": [] if sheet.account is None else _numbers(sheet, sheet.account),
        "interaction": [] if sheet.account is None else _interaction(sheet.account),
        "lacking": {"regions": "", "account": "", "worth": "", "neighbors": "", "prototypes": "", **sheet.lacking},
        "probability_columns": columns,
        "probabilities": _probabilities(sheet),
        "strong": sheet.label,
        "locked": explanation.locked,
        "classes": explanation.classes,
        "coverage": f"{explanation.options.coverage:.0%}",
        "worth": _worth(sheet),
        "lacks": any("what is missing contributes 0" in note for note in sheet.notes),
        "neighbors": [(one.id, one.label, formatting.number(one.similarity)) for one in sheet.neighbors],
        "thumbnails": _thumbnails(sheet),
        "compared": _compared(explanation),
        "prototype_title": prototypes,
        "prototypes": [
            (name, *(formatting.number(row.get(label, np.nan), 2) for label in explanation.classes))
            for name, row in sheet.prototypes.items()
        ],
        "anchors": explanation.anchors,
    }
    return SheetPage(rendered("sheet", "html", values), tuple(pictures), files)


def summary(sheet: Sheet) -> str:
    """The most important of a case in a sentence or two."""
    if sheet.label is None:
        return "The model's output for this case is not finite: there is no label, and nothing to explain."
    p = sheet.probabilities[sheet.explained]
    text = f"Label {sheet.label}"
    if sheet.true is not None:
        text += f", true class {sheet.true}: {'right' if sheet.right else 'wrong'}"
    text += f". Probability of {sheet.explained} {formatting.number(p)}"
    if sheet.calibrated is not None:
        text += f", calibrated {formatting.number(sheet.calibrated[sheet.explained])}"
    by_loss = sheet.loss is not None and sheet.why in (WORDS[WORST], WORDS[BEST])
    why = f"{sheet.why}, {formatting.number(sheet.loss or 0.0)}" if by_loss else sheet.why
    return f"{text}. Chosen: {why}."


def _images(sheet: Sheet) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Values for the template, and images for files."""
    found, files = [], {}
    for name, one in sheet.images.items():
        most = overlay.most_of(one.planes)
        rows = []
        for number, plane in enumerate(one.planes, start=1):
            rows.append([_panel(name, panel) for panel in overlay.panels(plane, *most)])
            longest = max(plane.pixels.shape[:2])
            for panel in overlay.panels(plane, *most, longest=longest):
                of_plane = f"{name}-{number}" if len(one.planes) > 1 else name
                files[f"{of_plane}-{panel.kind}"] = panel.image
        why = sheet.lacking.get(f"map {name}", "")
        kind = "cut" if one.volume else "flat"
        found.append({"name": name, "rows": rows, "about": one.about, "why": why, "kind": kind})
    return found, files


def _panel(name: str, panel: overlay.Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "address": overlay.data_address(panel.image),
        "width": panel.image.width,
        "height": panel.image.height,
        "alt": f"{name}: {panel.title}",
    }


def _no_images(sheet: Sheet) -> list[tuple[str, str]]:
    reasons = [(part, why) for part, why in sheet.lacking.items() if part.startswith("image ")]
    if sheet.images and "maps" in sheet.lacking:
        reasons.append(("There are no maps", sheet.lacking["maps"]))
    return [(part.removeprefix("image "), why) for part, why in reasons]


def _numbers(sheet: Sheet, account: Account) -> list[tuple[str, ...]]:
    rows = [("", "without any modality", formatting.signed(account.bias), "")]
    for name, value in account.modalities.items():
        rows.append((name, "in all", formatting.signed(value), ""))
        if (parts := account.parts.get(name)) is None:
            continue
        error = formatting.number(parts.presence_error) if parts.presence_error else ""
        rows.append((name, "presence", formatting.signed(account.presence[name]), error))
        cells = sheet.cells.get(name)
        for part, of_part, error_of in zip(parts.names, parts.values.tolist(), parts.errors.tolist(), strict=True):
            label = f"region {part}" if cells is None else f"{part}: {cells.get(part, formatting.NONE)}"
            rows.append((name, label, formatting.signed(of_part), formatting.number(error_of) if error_of else ""))
    return [*rows, ("", "sum", formatting.signed(account.total), "")]


def _interaction(account: Account) -> list[tuple[str, ...]]:
    return [(f"{a} and {b}", signed(value)) for (a, b), value in account.interaction.items()]


def _probabilities(sheet: Sheet) -> list[tuple[str, ...]]:
    rows = []
    for name, p in sheet.probabilities.items():
        row = [name, formatting.number(p)]
        if sheet.calibrated:
            row.append(formatting.number(sheet.calibrated[name]))
        if sheet.in_set is not None:
            row.append("yes" if name in sheet.in_set else "no")
        rows.append(tuple(row))
    return rows


def _worth(sheet: Sheet) -> list[tuple[str, ...]]:
    ordered = sorted(sheet.worth.items(), key=lambda entry: -entry[1].change)
    return [
        (
            name,
            formatting.number(worth.change),
            formatting.NONE if worth.entropy_reduction is None else formatting.signed(worth.entropy_reduction),
            str(worth.n_donors),
        )
        for name, worth in ordered
    ]


def _thumbnails(sheet: Sheet) -> list[dict[str, Any]]:
    found = []
    for one in sheet.neighbors:
        if one.image is not None:
            image = overlay.small_image(one.image, 160)
            title = f"{one.label}, {formatting.number(one.similarity, 2)}"
            found.append(_panel(one.id, overlay.Panel(title, "image", image)))
    return found


def _compared(explanation: Explanation) -> str:
    if explanation.compared is None:
        return "no"
    some, n = explanation.compared
    return f"{some:,}" if some == n else f"{some:,} (drawn from {n:,})"
