import dataclasses

from helpers import made_analyses as made
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.report.chapters import calibration, ranking
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.document import Paragraph, Table


def said(found: Comparison) -> str:
    blocks = ranking._tests(Chapter.of(found, 1, 0.95))
    return " ".join(block.text for block in blocks if isinstance(block, Paragraph))


def test_what_the_tests_speak_of() -> None:
    """Test parts are tested over their runs; a single one only over its cases."""
    found = made.small().comparisons[0]
    over_parts = [dataclasses.replace(test, kind="corrected resampled t") for test in found.tests]
    assert "The variation between seeds is in the SD alone." in said(found)
    assert "The variation between seeds" not in said(dataclasses.replace(found, tests=tuple(over_parts)))
    assert "the test is of the difference shown, the mean over the pairs" in said(found)
    assert "counts all methods tested on the same metric" in said(found)


def test_nothing_is_said_of_a_reference_that_tests_nothing() -> None:
    found = made.small().comparisons[0]
    for one, expected in (
        (found, "the reference named beforehand."),
        (dataclasses.replace(found, tests=()), "the reference."),
    ):
        text = ranking.section(Chapter.of(one, 1, 0.95)).blocks[0]
        assert isinstance(text, Paragraph)
        assert f"The diamond and the dashed line are {expected}" in text.text


def test_an_interval_of_ece_may_lie_above_it() -> None:
    section = calibration.section(Chapter.of(made.small().comparisons[0], 1, 0.95))
    [table] = [block for block in section.blocks if isinstance(block, Table)]
    assert "its interval may lie above it" in table.caption
