"""Chapter part: ablations, each against its whole."""

from typing import Any

from mmfusion.comparison.report.chapters.chapter import Chapter, Part
from mmfusion.comparison.report.chapters.compared import compared, differences


def part(chapter: Chapter) -> Part | None:
    """A forest plot and a table for each whole; None without ablations."""
    comparison = chapter.comparison
    wholes: list[tuple[str, dict[str, Any]]] = []
    for number, whole in enumerate(dict.fromkeys(test.reference for test in comparison.ablation_tests), start=1):
        methods = [method for method in comparison.methods if whole in (method.label, method.whole)]
        tests = [
            test for test in comparison.ablation_tests if test.reference == whole and test.metric == chapter.metric
        ]
        picture = differences(chapter, f"ablations-{number}", whole, tests)
        table = compared(chapter, methods, tests, whole, "whole")
        wholes.append((whole, {"pictures": [] if picture is None else [picture], "table": table}))
    if not wholes:
        return None
    pictures = [picture for _, values in wholes for picture in values["pictures"]]
    title = "Ablations: what does each part bring?"
    return Part(chapter.key("ablations"), title, "ablations", comparison.methods, pictures, values={"wholes": wholes})
