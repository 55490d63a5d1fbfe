import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmfusion.experiments.modality_gap import projections
from mmfusion.experiments.modality_gap.projections import PCA, TSNE, UMAP, chosen, project

RNG = np.random.default_rng(0)


def test_pca_matches_sklearn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = RNG.normal(size=(20, 5)) * [3, 2, 1, 0.5, 0.1] + 7
    found = project(x, PCA, 0)
    reference = decomposition.PCA(2).fit(x)
    np.testing.assert_allclose(np.abs(found.points), np.abs(reference.transform(x)), atol=1e-10)
    np.testing.assert_allclose(found.shares, reference.explained_variance_ratio_)
    # A rotation is another basis of the same picture.
    turn, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    np.testing.assert_allclose(np.abs(project(x @ turn, PCA, 0).points), np.abs(found.points), atol=1e-10)


@pytest.mark.parametrize("x", [np.ones((1, 3)), np.ones((5, 3)), RNG.normal(size=(3, 1))])
@pytest.mark.parametrize("name", [PCA, TSNE])
def test_few_or_equal_points_are_finite(x: Any, name: str) -> None:
    found = project(x, PCA if len(x) > 3 else name, 0)
    assert found.name == PCA
    assert found.points.shape == (len(x), 2)
    assert np.isfinite(found.points).all()
    assert len(found.shares) == 2
    assert 0 <= sum(found.shares) <= 1 + 1e-12


@pytest.mark.slow
def test_tsne_is_deterministic_and_separates_clusters() -> None:
    x = np.concatenate([RNG.normal(size=(10, 4)), RNG.normal(size=(10, 4)) + 50])
    one, again = (project(x, TSNE, 3).points for _ in range(2))
    np.testing.assert_array_equal(one, again)
    within = max(np.ptp(one[:10], axis=0).max(), np.ptp(one[10:], axis=0).max())
    assert np.linalg.norm(one[:10].mean(0) - one[10:].mean(0)) > within


class Fake:
    """In the place of umap-learn: the first two columns, and what it was called with."""

    def __init__(self, **options: Any) -> None:
        Fake.options = options

    def fit_transform(self, x: Any) -> Any:
        return x[:, :2].astype(np.float32)


def test_umap_is_chosen_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections.importlib.util, "find_spec", lambda name: None)
    assert chosen("auto") == (PCA, TSNE)
    assert chosen("none") == (PCA,)
    monkeypatch.setattr(projections.importlib.util, "find_spec", lambda name: object() if name == "umap" else None)
    assert chosen("auto") == (PCA, UMAP)
    assert chosen("tsne") == (PCA, TSNE)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    x = RNG.normal(size=(9, 4))
    found = project(x, UMAP, 5)
    assert (found.name, found.shares) == (UMAP, ())
    np.testing.assert_allclose(found.points, x[:, :2], rtol=1e-6)
    assert (Fake.options["n_neighbors"], Fake.options["random_state"]) == (8, 5)


def test_missing_umap_and_unknown_name_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r'this needs umap-learn: pip install "mmfusion\[umap\]"'):
        project(RNG.normal(size=(9, 4)), UMAP, 0)
    with pytest.raises(ValueError, match="neighbors expects 'auto', 'umap', 'tsne' or 'none', got 'lda'"):
        chosen("lda")  # type: ignore[arg-type]  # an unknown projection
