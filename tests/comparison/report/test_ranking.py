import dataclasses

from helpers import made_analyses
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.report import pages


def markdown_of(comparison: Comparison) -> str:
    return pages.render(made_analyses.analysis(comparison), {})[1]


def test_what_the_tests_are_about() -> None:
    """Several test sets are tested over their runs; a single one only over its cases."""
    [comparison] = made_analyses.small().comparisons
    over_folds = [dataclasses.replace(test, kind="corrected resampled t") for test in comparison.tests]
    text = markdown_of(comparison)
    assert "The variation between seeds is in the SD alone." in text
    assert "the test is of the difference shown, the mean over the pairs" in text
    assert "counts all methods tested on the same metric" in text
    assert "The diamond and the dashed line are the reference named beforehand." in text
    assert "its interval may lie above it" in text
    assert "The variation between seeds" not in markdown_of(dataclasses.replace(comparison, tests=tuple(over_folds)))


def test_the_origin_of_a_reference_without_tests_is_not_named() -> None:
    text = markdown_of(dataclasses.replace(made_analyses.small().comparisons[0], tests=()))
    assert "The diamond and the dashed line are the reference." in text
    assert "There are no tests: no other method has runs that pair with the reference's." in text
