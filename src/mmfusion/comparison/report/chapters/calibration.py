"""Chapter part: calibration, raw and after temperature scaling."""

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import UNKNOWN, Chapter, cell, overall, score
from mmfusion.comparison.report.curve_plot import Line, square
from mmfusion.comparison.report.document import Block, Figures, Lid, Paragraph, Section, Table
from mmfusion.comparison.report.palette import MUTED

METRICS = ("brier", "ece", "log_loss")


def section(chapter: Chapter) -> Section:
    """Reliability curves, and a table of raw and scaled calibration."""
    methods = chapter.comparison.methods
    having = [method for method in methods if method.curves.reliability]
    of = "of the likeliest class" if len(chapter.comparison.classes) > 2 else f"of {chapter.comparison.classes[-1]}"
    blocks: list[Block] = []
    if having:
        blocks.append(
            Paragraph(
                f"Cases in bins of the probability {of}: the predicted probability across, the observed frequency "
                f"upwards, with {chapter.percent} intervals. On the dotted diagonal a method is calibrated; below it, "
                "it is overconfident. The dashed grey line is after temperature scaling, fitted on the validation set."
            )
        )
        front = [method for method in having if chapter.style(method).prominent]
        rest = [method for method in having if not chapter.style(method).prominent]
        blocks.append(Figures(tuple(_picture(chapter, method) for method in front)))
        if rest:
            panels = tuple(_picture(chapter, method) for method in rest)
            blocks.append(Lid(f"Reliability of the other {formatting.plural(len(rest), 'method')}", (Figures(panels),)))
    else:
        blocks.append(Paragraph("No method has reliability curves.", kind="missing"))
    blocks.append(_table(chapter))
    blocks += chapter.lacking(
        "A temperature (no validation cases are stored with the runs)",
        [method for method in methods if not method.scaled],
    )
    return Section(chapter.key("calibration"), "Calibration", tuple(blocks))


def _table(chapter: Chapter) -> Table:
    rows = []
    for method in chapter.comparison.methods:
        known = [run.temperature for run in method.runs if run.temperature is not None]
        cells = [cell(value) for name in METRICS for value in (score(method, name), method.scaled.get(name, UNKNOWN))]
        rows.append((method.label, formatting.number(float(np.mean(known)), 2) if known else formatting.NONE, *cells))
    names = [f"{formatting.metric(name)}, {which}" for name in METRICS for which in ("raw", "scaled")]
    return Table(
        "Calibration on the test set, raw and temperature-scaled; lower is better. A temperature above 1 means "
        "that the method was overconfident. ECE is biased upwards for small bins, in resamples more than in the "
        "original cases: its interval may lie above it.",
        ("method", "temperature", *names),
        tuple(rows),
        numeric=1 + 2 * len(METRICS),
        strong=frozenset(number for number, method in enumerate(chapter.comparison.methods) if method.is_reference),
    )


def _picture(chapter: Chapter, method: Method) -> Picture:
    curve = overall(method.curves.reliability)
    style = chapter.style(method)
    # As in the table: for two classes the curve's ECE is over bins of a different probability.
    error = formatting.number(score(method, "ece").mean)
    lines = []
    if curve is not None:
        lines.append(
            Line("raw", curve.x, curve.y, style._replace(prominent=True, width=2.0), curve.low, curve.high, bars=True)
        )
    scaled = overall(method.curves.reliability_scaled)
    if scaled is not None:
        dashed = style._replace(color=MUTED, line=(0, (4, 3)), marker="x", width=1.5, prominent=True)
        lines.append(Line("scaled", scaled.x, scaled.y, dashed))
    return square(
        chapter.key("reliability", chapter.method_key(method)),
        f"{method.label}: ECE {error}",
        f"Reliability of {method.label}, raw"
        + (" and temperature-scaled" if scaled is not None else "")
        + f"; expected calibration error {error}, raw.",
        lines,
        x="probability",
        y="share of cases",
        diagonal=True,
        corner="below",
    )
