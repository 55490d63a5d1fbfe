import dataclasses

import pytest

from helpers import made_analyses
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.report import pages


def markdown_of(comparison: Comparison) -> str:
    return pages.render(made_analyses.analysis(comparison), {})[1]


@pytest.mark.slow
def test_what_the_tests_are_about() -> None:
    [comparison] = made_analyses.small().comparisons
    text = markdown_of(comparison)
    assert "for other test cases and other training runs" in text
    assert "AUC alone carries verdicts, from 5 pairs of runs on" in text
    assert "The diamond and the dashed line are the reference named beforehand." in text
    assert "ECE is debiased, and has no interval" in text
    assert "Other metrics, exploratory, without verdicts: 1 table" in text
    assert "No interval for cfcml and image: most resamples leave it undefined." in text


@pytest.mark.slow
def test_a_single_run_is_about_other_cases_only() -> None:
    methods = [
        made_analyses.method(name, value, runs=1, reference=name == "concat")
        for name, value in (("cfcml", 0.9), ("concat", 0.88))
    ]
    comparison = made_analyses.comparison(methods)
    tests = [dataclasses.replace(test, no_verdict="one seed", n_runs=1, kind="cases") for test in comparison.tests]
    text = markdown_of(dataclasses.replace(comparison, tests=tuple(tests)))
    assert "for other test cases only: there is one run per method" in text
    assert "No verdict on cfcml: one seed." in text
    assert "no verdict" in text
    assert "Ranks have no intervals" in text


@pytest.mark.slow
def test_ablations_have_their_own_table() -> None:
    [comparison] = made_analyses.small().comparisons
    best, *others = comparison.methods
    ablation = dataclasses.replace(
        made_analyses.method("cfcml: no-anchors", 0.99, seed=5), ablation="no-anchors", whole="cfcml"
    )
    ranked = dataclasses.replace(best, ranks=(1, 2))
    test = dataclasses.replace(comparison.tests[0], method=ablation.label, reference="cfcml")
    text = markdown_of(dataclasses.replace(comparison, methods=(ranked, *others, ablation), ablation_tests=(test,)))
    assert "Ablations of cfcml: each is tested against the whole" in text
    ranking = text[text.index("Ranking: mean over") :]
    table = [
        line for line in text[: text.index("Ablations of cfcml")].splitlines() if line.startswith("| cfcml: no-anch")
    ]
    assert not table
    assert "AUC against cfcml" in ranking
    assert "1 (1 to 2)" in text


@pytest.mark.slow
def test_the_origin_of_a_reference_without_tests_is_not_named() -> None:
    text = markdown_of(dataclasses.replace(made_analyses.small().comparisons[0], tests=()))
    assert "The diamond and the dashed line are the reference." in text
    assert "There are no tests: no other method has runs that pair with the reference's." in text
