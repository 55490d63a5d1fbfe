"""A forest of decision trees as tensors."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmfusion.utils.optional import need


class Forest(NamedTuple):
    """Binary trees of one depth, node i's children being nodes 2i + 1 (left) and 2i + 2.

    A tree that ends earlier goes left to its last level. There is no node for the last level: it has the leaves.

    Attributes:
        feature: Shape ``(trees, 2 ** depth - 1)``, int64: which input a node looks at.
        threshold: The same shape, float32: up to it left, above it right; infinite where a node parts what is missing
            from what is not, NaN where it does not look.
        missing_right: The same shape, bool: where a NaN goes.
    """

    feature: Tensor
    threshold: Tensor
    missing_right: Tensor


def empty_forest(n_trees: int, depth: int) -> Forest:
    """Trees that look at nothing: every case falls into the first leaf."""
    shape = (n_trees, 2**depth - 1)
    return Forest(
        torch.zeros(shape, dtype=torch.int64),
        torch.full(shape, torch.nan, dtype=torch.float32),
        torch.zeros(shape, dtype=torch.bool),
    )


def grow(x: Tensor, labels: Tensor, *, n_trees: int, depth: int, min_leaf: int, seed: int) -> Forest:
    """Fit scikit-learn's random forest.

    Args:
        x: Shape ``(n, d)``, float32; NaN is missing, and each split learns where it goes.
        labels: Shape ``(n,)``: class indices of an integer type, or numbers.
        n_trees: Number of trees.
        depth: Of each, at most.
        min_leaf: Fewest cases of a leaf.
        seed: Of the resampling.

    Returns:
        The trees, on the CPU.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    ensemble = need("sklearn.ensemble", "bench")
    kind = ensemble.RandomForestRegressor if labels.is_floating_point() else ensemble.RandomForestClassifier
    model = kind(n_estimators=n_trees, max_depth=depth, min_samples_leaf=min_leaf, random_state=seed)
    model.fit(x.cpu().float().numpy(), labels.cpu().numpy())
    return exported([estimator.tree_ for estimator in model.estimators_], depth)


def exported(trees: list[Any], depth: int) -> Forest:
    """scikit-learn's trees, none deeper than ``depth``, with every node at its place."""
    forest = empty_forest(len(trees), depth)
    feature, threshold, missing_right = (part.numpy() for part in forest)
    for t, tree in enumerate(trees):
        todo = [(0, 0)]
        while todo:
            node, place = todo.pop()
            if tree.children_left[node] < 0:  # a leaf
                continue
            feature[t, place] = tree.feature[node]
            threshold[t, place] = _rounded_down(tree.threshold[node])
            missing_right[t, place] = not tree.missing_go_to_left[node]
            todo += [(tree.children_left[node], 2 * place + 1), (tree.children_right[node], 2 * place + 2)]
    return forest


def leaves(x: Tensor, forest: Forest) -> tuple[Tensor, Tensor]:
    """Which leaf of each tree a case falls into: all cases and trees at once, level by level.

    Args:
        x: Shape ``(b, d)``, float32; NaN is missing.
        forest: The trees.

    Returns:
        Leaves, shape ``(b, trees)``, int64 from 0 to ``2 ** depth - 1``; and, of the same shape, whether a node on the
        way there looked at something that is missing.
    """
    n_trees, n_nodes = forest.feature.shape
    first = torch.arange(n_trees, device=x.device) * n_nodes
    node = first.new_zeros(x.shape[0], n_trees)
    met = torch.zeros_like(node, dtype=torch.bool)
    feature, threshold, missing_right = (part.flatten() for part in forest)
    for _ in range((n_nodes + 1).bit_length() - 1):
        at = node + first
        value, limit = x.gather(1, feature[at]), threshold[at]
        missing = value.isnan()
        node = 2 * node + 1 + torch.where(missing, missing_right[at], value > limit)
        met = met | (missing & ~limit.isnan())
    return node - n_nodes, met


def _rounded_down(threshold: float) -> np.float32:
    """The largest float32 that is not above: float32 numbers fall to the same side of it as of the float64 one."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))
