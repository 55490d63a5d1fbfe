"""A comparison that has run: its table, its runs, its report."""

import html
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmfusion.api.predicting import RunEnsemble
from mmfusion.api.trained_run import Run, load
from mmfusion.comparison import summary
from mmfusion.comparison.report import command
from mmfusion.comparison.summary import Row
from mmfusion.comparison.sweep import Outcome
from mmfusion.experiments.argument_names import named
from mmfusion.training.reporter import Reporter


@dataclass(frozen=True, repr=False)
class Study:
    """A comparison. Made by :func:`~mmfusion.compare`.

    Attributes:
        folder: Where its tables and runs are.
        outcomes: One per run, failed ones too.
        rows: One per method and dataset, reference rows last.
        reference_folders: Folders of the reference rows.
        reference: The method that the others are tested against; None: the default.
        metrics: Metrics of the report, as for :func:`~mmfusion.report`.
        beforehand: Whether the reference was named before any run was finished.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]
    rows: tuple[Row, ...]
    reference_folders: tuple[Path, ...] = ()
    reference: str | None = None
    metrics: str = "all"
    beforehand: bool = True

    @property
    def ranking(self) -> pd.DataFrame:
        """One row per dataset and method, the highest mean test AUC first within a dataset.

        Columns: ``runs``, ``auc``, ``auc_sd`` (over runs; NaN for one), ``gap_closed``, ``parameters``, ``seconds``,
        and ``reference_row`` for models of scikit-learn and the like. Differences of means are no verdict:
        :meth:`report` has the tests.
        """
        return summary.ranking(self.rows, n_references=self._n_references)

    @property
    def runs(self) -> dict[str, list[Run]]:
        """The finished runs, by method."""
        runs: dict[str, list[Run]] = {}
        for outcome in self.outcomes:
            if outcome.metrics is not None:
                runs.setdefault(outcome.planned.label, []).append(Run(outcome.planned.folder))
        return runs

    def ensemble(self, method: str) -> RunEnsemble:
        """The mean of a method's finished runs.

        Raises:
            ValueError: If the method has none.
        """
        runs = self.runs
        if method not in runs:
            raise ValueError(
                f"method expects one of {', '.join(runs) or 'none, since no run is finished'}, got {method!r}"
            )
        return load([run.folder for run in runs[method]])

    @named
    def report(
        self,
        out: str | Path | None = None,
        *,
        reference: str | None = None,
        metrics: str | None = None,
        margin: float | None = None,
        formulas: bool = False,
        verbose: bool | Reporter = True,
    ) -> Path:
        """Write the report: a page, tables and figures.

        Args:
            out: Its folder; None: ``report`` in the study's.
            reference: The method that the others are tested against; None: that of the study. Another one counts as
                named after the results were seen.
            metrics: As for :func:`~mmfusion.report`; None: those of the study.
            margin: As there.
            formulas: As there.
            verbose: True to show the ranking, False for silence, or a reporter.

        Returns:
            The page.

        Raises:
            ValueError: If no run with a test set is finished, or a metric or the reference is unknown.
        """
        places = [outcome.planned.folder for outcome in self.outcomes if outcome.metrics is not None]
        other = reference is not None and reference != self.reference
        return command.report(
            [*places, *self.reference_folders],
            verbose,
            reference=reference if other else self.reference,
            metrics=self.metrics if metrics is None else metrics,
            out=self.folder / command.FOLDER if out is None else Path(out),
            beforehand=None if other or metrics is not None else self.beforehand,
            formulas=formulas,
            margin=margin,
        )

    @property
    def _n_references(self) -> int:
        methods = {(outcome.planned.settings.run.dataset, outcome.planned.label) for outcome in self.outcomes}
        return sum((row.dataset, row.method) not in methods for row in self.rows)

    def __repr__(self) -> str:
        n = sum(outcome.metrics is not None for outcome in self.outcomes)
        return f"Study({str(self.folder)!r}: {n} of {len(self.outcomes)} runs finished)\n{self.ranking.to_string()}"

    def _repr_html_(self) -> str:
        head = html.escape(repr(self).split("\n", 1)[0])
        return f"<p><code>{head}</code></p>\n{self.ranking.to_html(float_format='{:.3f}'.format, na_rep='')}"
