"""Part of the whole report: the methods over all datasets."""

from mmfusion.comparison.analysis.across import ENOUGH, AcrossDatasets, Standing
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters.chapter import Part
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.comparison.report.palette import styles


def part(across: AcrossDatasets | None) -> Part | None:
    """Mean ranks with the critical difference, and tests against the reference; None without common methods."""
    if across is None:
        return None
    return Part(
        "across-datasets",
        "Across datasets",
        "across",
        (),
        [_ranks(across)],
        values={
            "across": across,
            "enough": ENOUGH,
            "ranks": [_of_ranks(standing) for standing in across.methods],
            "tests": [_of_test(standing) for standing in across.methods if standing.against is not None],
        },
    )


def _ranks(across: AcrossDatasets) -> Picture:
    style = styles([standing.label for standing in across.methods], across.reference)
    half = across.critical_difference / 2
    last = len(across.methods)
    rows = [
        Row(
            standing.label,
            formatting.number(standing.rank, 1),
            (
                Mark(
                    standing.rank,
                    max(standing.rank - half, 1),
                    min(standing.rank + half, last),
                    standing.ranks,
                    style[standing.label],
                ),
            ),
            bold=standing.label == across.reference,
        )
        for standing in across.methods
    ]
    best = across.methods[0]
    return forest(
        "across-ranks",
        "Mean ranks with the critical difference",
        f"Critical-difference diagram of {formatting.plural(last, 'method')} on {len(across.datasets)} datasets. "
        f"First: {best.label}, mean rank {best.rank:.1f}. All numbers are in the table below.",
        rows,
        axis="mean rank (1 is best)",
    )


def _of_ranks(standing: Standing) -> tuple[str, ...]:
    of_datasets = (
        f"{formatting.number(score)} ({rank:g})" for score, rank in zip(standing.scores, standing.ranks, strict=True)
    )
    return (standing.label, formatting.number(standing.rank, 1), *of_datasets)


def _of_test(standing: Standing) -> tuple[str, ...]:
    return (standing.label, formatting.signed(standing.difference), *(f"{p:.2f}" for p in standing.against or ()))
