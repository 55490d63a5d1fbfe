"""Chapter part: calibration, raw and after temperature scaling."""

import numpy as np

from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import UNKNOWN, Chapter, Part, cell, overall, score
from mmfusion.comparison.report.curve_plot import Line, square
from mmfusion.comparison.report.palette import REST, foremost

METRICS = ("brier", "ece", "log_loss")
LEAST = 10
"""Cases of a bin that has a band."""


def part(chapter: Chapter) -> Part:
    """Reliability curves, and a table of raw and scaled calibration."""
    methods = chapter.comparison.methods
    drawn = [method for method in methods if method.curves.reliability]
    pictures, collapsed = chapter.panels(drawn, _picture, "Reliability")
    names = [f"{formatting.metric(name)}, {which}" for name in METRICS for which in ("raw", "scaled")]
    values = {"names": names, "rows": [_row(method) for method in methods], "least": LEAST}
    what = "A temperature (no validation cases are stored with the runs)"
    return Part(
        chapter.key("calibration"),
        "Calibration: do the probabilities hold?",
        "calibration",
        methods,
        pictures,
        collapsed,
        values,
        lacking=chapter.lacking(what, lambda method: method.scaled),
    )


def _row(method: Method) -> tuple[str, ...]:
    known = [run.temperature for run in method.runs if run.temperature is not None]
    cells = [
        text
        for name in METRICS
        for text in (cell(score(method, name)), formatting.number(method.scaled.get(name, UNKNOWN).mean))
    ]
    return (method.label, formatting.number(float(np.mean(known)), 2) if known else formatting.NONE, *cells)


def _picture(chapter: Chapter, method: Method) -> Picture:
    curve = overall(method.curves.reliability)
    style = foremost(chapter.style(method))
    # As in the table: for two classes the curve's ECE is over bins of a different probability.
    error = formatting.number(score(method, "ece").mean)
    lines, counts = [], None
    if curve is not None:
        cases = np.ones(0) if curve.share is None else curve.share * chapter.comparison.n_cases
        few = np.resize(cases < LEAST, curve.y.shape)
        low, high = np.where(few, np.nan, curve.low), np.where(few, np.nan, curve.high)
        lines.append(Line("raw", curve.x, curve.y, style._replace(width=2.0), low, high, every=True))
        counts = None if curve.share is None else ("cases", cases)
    scaled = overall(method.curves.reliability_scaled)
    if scaled is not None:
        dashed = style._replace(color=REST, line=(0, (4, 3)), marker="x", width=1.5)
        lines.append(Line("temperature-scaled", scaled.x, scaled.y, dashed))
    return square(
        chapter.key("reliability", chapter.method_key(method)),
        f"{method.label}: ECE {error}",
        f"Reliability of {method.label}, raw"
        + (" and temperature-scaled" if scaled is not None else "")
        + f", above the number of cases in each bin; expected calibration error {error}, raw.",
        lines,
        x="probability",
        y="share of cases",
        diagonal=True,
        counts=counts,
    )
