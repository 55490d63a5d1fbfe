from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from helpers import run_folders
from mmfusion.comparison.analysis.curves import LIKELIEST, MACRO, confusion, curves
from mmfusion.comparison.analysis.judged import judge
from mmfusion.comparison.analysis.resampling import Sampled, sample
from mmfusion.comparison.reading import read
from mmfusion.metrics.classification import evaluate
from mmfusion.metrics.curves import GRID


def sampled(path: Path, n_resamples: int = 60, **options: object) -> list[Sampled]:
    runs = [judge(read(run_folders.write(path / str(seed), seed=seed, **options))) for seed in (0, 1)]
    return sample(runs, n_resamples=n_resamples, seed=0)


def test_one_curve_for_two_classes(tmp_path: Path) -> None:
    runs = sampled(tmp_path, n=60)
    result = curves(runs[:1], 0.95)
    cases = runs[0].judged.cases
    [roc], [pr] = result.roc, result.precision_recall
    assert (roc.of, pr.of) == ("melanoma", "melanoma")
    fpr, tpr, _ = sk.roc_curve(cases.labels, cases.probabilities[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(roc.y, np.interp(GRID, fpr, tpr))
    assert roc.area == pytest.approx(sk.roc_auc_score(cases.labels, cases.probabilities[:, 1]))
    precision, recall, _ = sk.precision_recall_curve(cases.labels, cases.probabilities[:, 1])
    wanted = [precision[:-1][recall[:-1] >= x - 1e-9][-1] for x in GRID[1:]]
    np.testing.assert_allclose(pr.y[1:], wanted)
    assert pr.area == pytest.approx(sk.average_precision_score(cases.labels, cases.probabilities[:, 1]))


def test_one_curve_per_class_and_their_mean(tmp_path: Path) -> None:
    runs = sampled(tmp_path, n=60, names=("a", "b", "c"))
    result = curves(runs, 0.95)
    assert [curve.of for curve in result.roc] == ["a", "b", "c", MACRO]
    assert [curve.of for curve in result.reliability] == ["a", "b", "c", LIKELIEST]
    assert [curve.of for curve in result.reliability_scaled] == ["a", "b", "c", LIKELIEST]
    np.testing.assert_allclose(result.roc[3].y, np.mean([curve.y for curve in result.roc[:3]], axis=0))
    auc = np.mean([run.raw["auc"].value for run in runs])
    assert result.roc[3].area == pytest.approx(auc)
    assert result.precision_recall[3].area == pytest.approx(np.mean([r.raw["average_precision"].value for r in runs]))
    assert result.reliability[3].area == pytest.approx(np.mean([run.raw["ece"].value for run in runs]))
    assert result.reliability_scaled[3].area == pytest.approx(np.mean([run.scaled["ece"].value for run in runs]))


def test_bands_contain_curve_and_narrow_with_n(tmp_path: Path) -> None:
    widths = []
    for n in (40, 400):
        runs = sampled(tmp_path / str(n), n=n, n_resamples=100, strength=0.7)
        result = curves(runs, 0.95)
        for curve in (*result.roc, *result.precision_recall):
            assert (curve.low <= curve.high).all()
            inside = (curve.low - 1e-9 <= curve.y) & (curve.y <= curve.high + 1e-9)
            assert inside.mean() > 0.9
        widths.append(np.mean(result.roc[0].high - result.roc[0].low))
    assert widths[1] < 0.5 * widths[0]


def test_reliability_by_hand(tmp_path: Path) -> None:
    frame = run_folders.predictions(n=4, parts=("test",))
    frame["label"] = ["melanoma", "nevus", "melanoma", "nevus"]
    frame["prob_melanoma"] = [0.95, 0.97, 0.5, 0.5]
    frame["prob_nevus"] = 1 - frame["prob_melanoma"]
    run = judge(read(run_folders.write(tmp_path / "a", frame=frame)))
    result = curves(sample([run], n_resamples=20, seed=0), 0.95)
    [curve] = result.reliability
    full = np.flatnonzero(curve.share)
    np.testing.assert_allclose(curve.share[full], [0.5, 0.5])
    np.testing.assert_allclose(curve.x[full], [0.5, 0.96])
    np.testing.assert_allclose(curve.y[full], [0.5, 0.5])
    # Debiased: gaps of 0 and 0.46, of two cases each, are within their noise.
    assert curve.area == 0
    assert np.isnan(np.delete(curve.y, full)).all()
    assert result.reliability_scaled == ()


def test_absent_class_has_undefined_curve(tmp_path: Path) -> None:
    frame = run_folders.predictions(n=20, names=("a", "b", "c"), parts=("test",))
    frame["label"] = frame["label"].replace("c", "a")
    run = judge(read(run_folders.write(tmp_path / "a", frame=frame)))
    result = curves(sample([run], n_resamples=20, seed=0), 0.95)
    assert np.isnan(result.roc[2].y).all()
    assert np.isnan(result.precision_recall[2].area)
    np.testing.assert_allclose(result.roc[3].y, (result.roc[0].y + result.roc[1].y) / 2)
    assert result.roc[3].area == pytest.approx(evaluate(run.cases.probabilities, run.cases.labels)["auc"][0])


def test_confusion_is_mean_over_runs(tmp_path: Path) -> None:
    runs = sampled(tmp_path, n=60, names=("a", "b", "c"), strength=0.5)
    result = confusion(runs)
    by_hand = [sk.confusion_matrix(run.judged.cases.labels, run.judged.cases.probabilities.argmax(1)) for run in runs]
    np.testing.assert_allclose(result.counts, np.mean(by_hand, axis=0))
    np.testing.assert_allclose(result.shares.sum(axis=1), 1)
