"""The command ``mmfusion report``: from folders of runs to a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmfusion.comparison.analysis import assemble, grouping
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.collect import collect
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, cell, score
from mmfusion.comparison.report.writing import write
from mmfusion.experiments import console
from mmfusion.experiments.argument_names import named
from mmfusion.experiments.rich_table import rich_table
from mmfusion.metrics.classification import SETS
from mmfusion.training.reporter import Reporter

FOLDER = "report"


@named
def report(
    folders: str | Path | Sequence[str | Path],
    verbose: bool | Reporter = True,
    *,
    reference: str | None = None,
    metrics: str = assemble.ALL,
    out: str | Path | None = None,
    beforehand: bool | None = None,
    formulas: bool = False,
    margin: float | None = None,
) -> Path:
    """Collect finished runs, analyze them, write the report, and show the ranking.

    Nothing is trained and no dataset is read: the predictions in the folders are enough.

    Args:
        folders: Run folders, or folders with run folders below them; or one of them.
        verbose: True to show the ranking, the skipped folders, and the path of the report; False for silence; or a
            reporter that receives them.
        reference: Method that the others are tested against, which must be among the runs; None:
            :data:`~mmfusion.comparison.analysis.assemble.REFERENCE`, without which there are no tests.
        metrics: Metrics to show and to test, separated by commas, or the name of a set of
            :data:`mmfusion.metrics.classification.SETS`, or ``all``.
        out: Folder of the report; None: ``report`` in the first of ``folders``.
        beforehand: For the report of a sweep: whether the reference was named before the runs were finished. Metrics
            that no run has, as a preset may have them for data of other classes, are then left out, and the reference
            may be missing. None: a report of existing runs.
        formulas: As for :func:`~mmfusion.comparison.report.writing.write`.
        margin: As for :func:`~mmfusion.comparison.analysis.assemble.analyse`.

    Returns:
        The page.

    Raises:
        ValueError: If there is no finished run, or a metric or the reference is unknown.
    """
    reporter = console.reporter_of(verbose)
    folders = [folders] if isinstance(folders, str | Path) else list(folders)
    collection = collect(folders)
    skipped = {str(folder.folder): folder.reason for folder in collection.skipped}
    if not collection.runs:
        reasons = "; ".join(f"{place}: {reason}" for place, reason in skipped.items())
        if collection.trials:
            trials = f"{formatting.plural(len(collection.trials), 'trial')} without a test set (run.test=false)"
            reasons = "; ".join(filter(None, (trials, reasons)))
        raise ValueError(
            f"no finished run in {', '.join(map(str, folders))}" + (f" (skipped: {reasons})" if reasons else "")
        )
    if reference is not None and beforehand is None:
        groups = [group for table in grouping.tables(collection.runs) for group in table.groups]
        labels = list(dict.fromkeys(group.label for group in groups))
        if reference not in (*labels, *(name for group in groups for name in (group.name, group.model))):
            raise ValueError(f"reference expects one of the methods that ran ({', '.join(labels)}), got {reference!r}")
    with reporter.working(f"analyzing {formatting.plural(len(collection.runs), 'run')}"):
        is_set = metrics in (assemble.ALL, *SETS)
        chosen = metrics if is_set else [name for word in metrics.split(",") if (name := word.strip())]
        if beforehand is not None and not is_set:
            # The user did not name them, and runs that took hours need a report whatever their classes are.
            known = assemble.available(collection.runs)
            chosen = [name for name in chosen if name in known]
        analysis = assemble.analyse(
            collection.runs,
            reference or assemble.REFERENCE,
            metrics=chosen,
            beforehand=bool(beforehand),
            margin=margin,
            repeats=collection.repeats,
        )
    with reporter.working("writing the report"):
        page = write(
            analysis, Path(folders[0]) / FOLDER if out is None else Path(out), skipped=skipped, formulas=formulas
        )
    for comparison in analysis.comparisons:
        reporter.show(table(comparison, analysis.level))
        for caution in comparison.cautions:
            reporter.say(f"Note: {caution.text}")
    if collection.trials:
        trials = formatting.plural(len(collection.trials), "trial")
        reporter.say(f"{trials} of settings: in no table, since their test sets were not evaluated.")
    for place, reason in skipped.items():
        reporter.say(f"Skipped {place}: {reason}")
    reporter.say(f"The report is in {page}")
    return page


def table(comparison: Comparison, level: float) -> Any:
    """The ranking, for rich."""
    chapter = Chapter.of(comparison, 1, level)
    columns, rows = ["method", "runs", f"test {chapter.metric_words}"], []
    if comparison.reference is not None:
        columns += [f"difference to {comparison.reference}", "p, Holm", "verdict"]
    of_both = (*comparison.tests, *comparison.ablation_tests)
    tests = {test.method: test for test in of_both if test.metric == chapter.metric}
    for method in comparison.methods:
        compared = ["reference" if method.is_reference else formatting.NONE, "", ""]
        if test := tests.get(method.label):
            difference = formatting.interval(test.difference, test.low, test.high, sign=True)
            of_whole = f" (to {test.reference})" if method.whole is not None else ""
            compared = [difference + of_whole, formatting.p_value(test.p_holm), formatting.VERDICTS[test.verdict]]
        row = [method.label, str(len(method.runs)), cell(score(method, chapter.metric)), *compared]
        rows.append(row[: len(columns)])
    return rich_table(comparison.name, columns, rows)
