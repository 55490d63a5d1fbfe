"""The page of an external validation, of results made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import browser
from mmfusion.comparison.report import external_page
from mmfusion.experiments.external.duplicates import Duplicate
from mmfusion.experiments.external.external_evaluation import ExternalEvaluation
from mmfusion.experiments.external.scores import LabelledCases, score, score_subgroups
from mmfusion.experiments.external.shift import Shift
from mmfusion.experiments.external.true_labels import TrueLabels
from mmfusion.experiments.locked import Locked
from mmfusion.metrics.conformal import calibration_scores
from mmfusion.training.result_files import read_json

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.slow
EVIL = "<script>console.error('evil')</script><img src=x onerror=console.error(1)>"
PROGRAM = browser.chromium()


def evaluation(
    classes: tuple[str, ...] = ("good", "bad"),
    *,
    labels: bool = True,
    single: bool = False,
    broken: bool = False,
    shared: bool = False,
    name: str = "other.csv",
) -> ExternalEvaluation:
    rng, n, k = np.random.default_rng(0), 60, len(classes)
    locked = Locked(0.4 if k == 2 else None, 1.5)
    y = np.zeros(n, dtype=np.int64) if single else np.arange(n) % k
    p = rng.dirichlet(np.ones(k), n) + 0.5 * np.eye(k)[y]
    cases = LabelledCases(y, tuple(f"g{i // 2}" for i in range(n)), p / p.sum(1, keepdims=True))
    locked = replace(locked, scores=calibration_scores(cases.probabilities, y))
    if broken:
        cases.probabilities[0] = np.nan
    options = {"n_resamples": 30, "seed": 0}
    scores = score(cases, locked, classes, **options)
    sites = {name: [f"{name} {i // 2 % 2}" for i in range(n)]}
    subgroups = () if broken else score_subgroups(cases, sites, locked, classes, **options)
    own = None if shared else score(cases, locked, classes, **options)
    return ExternalEvaluation(
        ("/home/somebody/runs/seed0",),
        name,
        classes,
        locked,
        pd.DataFrame({"id": range(n), "label": "x"}),
        TrueLabels(y, classes, {name: 2}, 3) if labels else None,
        scores if labels else None,
        own,
        subgroups if labels else (),
        (
            Shift("column", name, "1 ± 2", "3 ± 4", 9, 9, 0.6, 1e-5, 1e-4),
            Shift("embedding", "meta", "", "", 9, 9, 0.01, 0.5, 0.9),
        ),
        () if shared else (Duplicate(name, "t1", "the image derm"),),
        "the folder does not say which" if shared else "",
        (f"A note on {name}.",),
        cases if labels else None,
        None if own is None else cases,
    )


def test_page_has_both_datasets_and_is_one_file(tmp_path: Path) -> None:
    found = evaluation()
    page = external_page.write_evaluation(found, tmp_path / "out")
    text = page.read_text()
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "cases.csv",
        "duplicates.csv",
        "evaluation.html",
        "evaluation.json",
    ]
    for figure in ("reliability", "roc", "precision", "confusion-1", "confusion-2", "decision-1", "risk-coverage"):
        assert f'<figure id="{figure}"' in text, figure
    assert '<figure id="subgroups-1"' in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "/home/somebody" not in text
    assert "external validation of seed0" in text
    auc = found.scores.metrics["auc"] if found.scores else None
    assert auc is not None
    assert f"the AUC is {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})" in text
    assert "the image derm" in text
    assert text.count("<figcaption>Confusion matrix, ") == 2
    counted = replace(found, subgroups=tuple(replace(one, metrics={}) for one in found.subgroups))
    assert 'data-label="balanced accuracy"' in text
    only = external_page.render(counted)
    assert 'data-label="balanced accuracy"' not in only
    assert "No two subgroups of a property could be compared" in only
    assert "On another hospital's data nothing is guaranteed" in text
    assert read_json(page.parent / "evaluation.json")["shifts"][0]["shifted"] is True
    assert external_page.render(found) == text


@pytest.mark.parametrize(
    ("found", "said", "figures"),
    [
        (evaluation(labels=False), "60 cases of other.csv, without metrics", False),
        (evaluation(broken=True), "60 cases of other.csv, without metrics", False),
        (evaluation(single=True), "there is no AUC, since they are of one class", True),
        (evaluation(shared=True), "Shifts are not tested", True),
        (evaluation(("a", "b", "c")), "the AUC is", True),
    ],
    ids=["no labels", "not finite", "one class", "shared", "three classes"],
)
def test_missing_results_are_stated(found: ExternalEvaluation, said: str, figures: bool) -> None:
    text = external_page.render(found)
    assert said in text
    assert ('<figure id="confusion-1"' in text) == figures
    assert "nan" not in text.replace("finance", "")


@pytest.mark.skipif(PROGRAM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_page_has_no_scripts_or_horizontal_scroll(tmp_path: Path) -> None:
    assert PROGRAM is not None
    page = external_page.write_evaluation(
        evaluation(("a class with a very long name, indeed", EVIL), name=EVIL), tmp_path / "out"
    )
    assert "<script" not in page.read_text()
    result, console = browser.measure(PROGRAM, page, tmp_path, (360, 390, 800, 1300))
    assert console == []
    for width, found in result.items():
        assert found["scroll"] <= found["client"], width
        assert not found["small"], width
        assert not found["outside"], width
        assert not found["covered"], width
