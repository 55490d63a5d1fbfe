"""Points of many axes in two: PCA, t-SNE, UMAP."""

import importlib.util
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

Neighbors: TypeAlias = Literal["auto", "umap", "tsne", "none"]
"""A projection that keeps neighbors together; ``"auto"``: UMAP where it is installed, else t-SNE."""
PCA, TSNE, UMAP = "PCA", "t-SNE", "UMAP"
_NAMES = {"umap": UMAP, "tsne": TSNE}


class Projected(NamedTuple):
    """Points in the plane.

    Attributes:
        name: Of the projection.
        points: Shape ``(n, 2)``.
        shares: Share of the variance along each axis; empty where the projection has none.
    """

    name: str
    points: Floats
    shares: tuple[float, ...] = ()


def chosen(neighbors: Neighbors) -> tuple[str, ...]:
    """The projections to draw: PCA, then the other one, if there is one.

    Raises:
        ValueError: If there is no such projection.
    """
    if neighbors not in ("auto", *_NAMES, "none"):
        raise ValueError(f"neighbors expects 'auto', 'umap', 'tsne' or 'none', got {neighbors!r}")
    if neighbors == "auto":
        neighbors = "umap" if importlib.util.find_spec("umap") is not None else "tsne"
    return (PCA,) if neighbors == "none" else (PCA, _NAMES[neighbors])


def project(x: Floats, name: str, seed: int) -> Projected:
    """Project all points by one fit.

    Args:
        x: Shape ``(n, d)``, n at least 1.
        name: ``"PCA"``, ``"t-SNE"`` or ``"UMAP"``.
        seed: Of the last two.

    Returns:
        Points; those of t-SNE and UMAP need at least four, of fewer the PCA is returned.

    Raises:
        ImportError: If scikit-learn or umap-learn is not installed.
    """
    if name == PCA or len(x) < 4:
        return _pca(x)
    if name == TSNE:
        manifold = need("sklearn.manifold", "bench")
        perplexity = min(30.0, (len(x) - 1) / 3)
        found = manifold.TSNE(
            perplexity=perplexity, max_iter=500, init="pca", random_state=seed, n_jobs=1
        ).fit_transform(x)
    else:
        umap = need("umap", "umap")
        found = umap.UMAP(n_neighbors=min(15, len(x) - 1), random_state=seed, n_jobs=1, init="pca").fit_transform(x)
    return Projected(name, np.asarray(found, dtype=np.float64))


def _pca(x: Floats) -> Projected:
    """The two directions of the most variance; a distance in the plane is at most that of the points."""
    centered = x - x.mean(axis=0)
    _, values, axes = np.linalg.svd(centered, full_matrices=False)
    axes = axes[:2]
    # An axis has no sign of its own: its largest entry is positive.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    points = centered @ (axes * signs[:, None]).T
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    total = float((values**2).sum())
    shares = [float(v) / total if total else 0.0 for v in values[:2] ** 2]
    return Projected(PCA, points, (*shares, 0.0)[:2])
