"""Calibration, decisions and subgroups, as the report shows them."""

import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest

from helpers import made_analyses
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.chapters import calibration, decision, subgroup_gaps
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.metrics.decision import useful_range

pytest.importorskip("matplotlib")


def texts(picture: Picture) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture.inline).iter("text")]


def chapter(n_classes: int = 2) -> Chapter:
    names = ("benign", "malignant", "other")[:n_classes]
    methods = [made_analyses.method(name, 0.8, names, reference=name == "concat") for name in ("cfcml", "concat")]
    return Chapter.of(made_analyses.comparison(methods, names), 1, 0.95)


def test_reliability_shows_cases_per_bin() -> None:
    part = calibration.part(chapter())
    assert {"cases", "raw", "temperature-scaled"} <= set(texts(part.pictures[0]))
    # A tenth of 320 cases in every bin.
    assert "10" in texts(part.pictures[0])


@pytest.mark.slow
def test_bin_of_few_cases_has_no_band() -> None:
    of = chapter()
    [curve] = of.comparison.methods[0].curves.reliability
    few = dataclasses.replace(curve, share=np.full(10, (calibration.LEAST - 1) / 320))
    bands = []
    for one in (curve, few):
        curves = dataclasses.replace(of.comparison.methods[0].curves, reliability=(one,), reliability_scaled=())
        method = dataclasses.replace(of.comparison.methods[0], curves=curves)
        changed = dataclasses.replace(of.comparison, methods=(method, of.comparison.methods[1]))
        bands.append("fill-opacity: 0.18" in calibration.part(Chapter.of(changed, 1, 0.95)).pictures[0].inline)
    assert bands == [True, False]


def test_two_classes_have_one_wide_decision_curve() -> None:
    of = chapter()
    part = decision.part(of)
    assert len(part.pictures) == 1
    assert part.pictures[0].phone
    assert {"cfcml", "concat", "net benefit", "threshold"} <= set(texts(part.pictures[0]))
    benefit, share = of.comparison.methods[0].curves.net_benefit[0].y, 106 / 266
    low, high = useful_range(benefit, share) or (0, 0)
    assert part.values["rows"][0] == ("cfcml", f"{low:.2f}\u2013{high:.2f}")


def test_several_classes_have_one_decision_curve_each() -> None:
    part = decision.part(chapter(3))
    assert [picture.title.split(",")[0] for picture in part.pictures] == ["benign", "malignant", "other"]
    assert not any(picture.phone for picture in part.pictures)
    assert [len(row) for row in part.values["rows"]] == [4, 4]


def test_subgroups_show_worst_and_gap() -> None:
    part = subgroup_gaps.part(chapter())
    (by, classes, left_out, columns, rows), age = part.values["tables"]
    assert (by, classes, left_out, columns) == ("sex", ("benign", "malignant"), [], ["female", "male"])
    assert rows[0] == ("cfcml", "male", "0.020 (\u22120.010 to 0.050)", "0.810", "0.790")
    assert age[4][0][:3] == ("cfcml", "over 60", "0.050")
    assert part.values["least"] == 10


def test_subgroups_that_cannot_be_compared_are_named() -> None:
    of = chapter()
    methods = []
    for method in of.comparison.methods:
        female = {"auc": made_analyses.score(float("nan"))}
        changed = [dataclasses.replace(g, scores=female) if g.value == "female" else g for g in method.subgroups]
        methods.append(dataclasses.replace(method, subgroups=tuple(changed), gaps=()))
    part = subgroup_gaps.part(Chapter.of(dataclasses.replace(of.comparison, methods=tuple(methods)), 1, 0.95))
    assert part.pictures == []
    assert part.values["tables"][0] == ("sex", (), ["female"], ["male"], [])
