"""Leaves of a fitted forest as tokens."""

from typing import Annotated

import torch
from torch import Tensor, nn

from mmfusion.options import Count, Range, Width
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing, TabularTokenizer, vectors
from mmfusion.tokenizers.tabular.forest import Forest, empty_forest, grow, leaves
from mmfusion.tokenizers.tabular.marginals import Marginals
from mmfusion.tokens import Table, Tokens
from mmfusion.utils.precision import as_bits, from_bits


@tabular_tokenizers.register("trees")
class TreeTokenizer(TabularTokenizer):
    """One token a decision tree: a learned vector of the leaf that the case falls into.

    The trees are a random forest, grown by :meth:`fit` on the training rows and their labels by scikit-learn, and kept
    as tensors from then on: they are in the state dict, of a size that the options decide, and nothing but torch is
    needed to use them. Leaves as inputs of a further model: He et al., 2014, "Practical lessons from predicting clicks
    on ads at Facebook", section 3.1, with boosted trees. NOTE[DIFF] A forest's trees are independent, and find a place
    for a missing cell in each split.

    A tree sees numbers as they are and each category as a column of zeros and ones.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        n_trees: Trees, and so tokens.
        depth: Of each tree; it has up to ``2 ** depth`` leaves.
        min_leaf: Fewest training rows of a leaf.
        missing: What a missing cell becomes. ``"token"``: each split sends it where it learned to, and a learned vector
            of its column is added to all tokens. ``"mask"``: a tree that has to look at it is masked. ``"impute"``: the
            column's mean, or the shares of its categories, go into the trees, and a learned vector is added to all
            tokens.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: Width,
        n_trees: Count = 32,
        depth: Annotated[int, Range(1, 12)] = 4,
        min_leaf: Count = 5,
        missing: Missing = "token",
    ) -> None:
        super().__init__(columns, dim=dim, n_tokens=n_trees, missing=missing)
        self.needs_rows = True
        self.n_trees, self.depth, self.min_leaf = n_trees, depth, min_leaf
        self.leaves = vectors(n_trees * 2**depth, dim)
        self.absent = None if missing == "mask" else vectors(len(columns), dim)
        forest = empty_forest(n_trees, depth)
        self.feature = nn.Buffer(forest.feature)
        self.threshold = nn.Buffer(as_bits(forest.threshold))
        self.missing_right = nn.Buffer(forest.missing_right)
        self.first_leaf = nn.Buffer(torch.arange(n_trees) * 2**depth)
        places = Marginals(columns)
        self.column = nn.Buffer(places.column)
        self.code = nn.Buffer(torch.arange(len(places.column)) - places.first_row[places.column])
        self.fitted = nn.Buffer(torch.zeros((), dtype=torch.bool))
        # What the buffer says, where no device has to be asked.
        self._fitted = False
        self.register_load_state_dict_post_hook(_notice)  # type: ignore[no-untyped-call]  # torch has no types there

    @torch.no_grad()
    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Grow the forest.

        Args:
            table: All training rows, on the CPU.
            labels: Shape ``(n,)``: class indices int64, or numbers.

        Raises:
            ValueError: If the table has other columns, or there are no labels.
            ImportError: If scikit-learn is not installed.
        """
        if labels is None:
            raise ValueError("the tabular tokenizer 'trees' learns from labels: fit(table, labels)")
        super().fit(table, labels)
        forest = grow(
            self._inputs(Table(*(part.to(self.column.device) for part in table))),
            labels,
            n_trees=self.n_trees,
            depth=self.depth,
            min_leaf=self.min_leaf,
            seed=int(torch.randint(2**31 - 1, ())),
        )
        self.feature.copy_(forest.feature)
        self.threshold.copy_(as_bits(forest.threshold))
        self.missing_right.copy_(forest.missing_right)
        self.fitted.fill_(True)
        self._fitted = True

    def tokens(self, table: Table) -> Tokens:
        """One token a tree."""
        if not self._fitted and not table.numerical.is_meta:
            raise ValueError(
                "the tabular tokenizer 'trees' has no trees yet: fit(table, labels) on the training rows, or load a "
                "state dict of one that was fitted"
            )
        forest = Forest(self.feature, from_bits(self.threshold), self.missing_right)
        leaf, met = leaves(self._inputs(table), forest)
        x = nn.functional.embedding(leaf + self.first_leaf, self.leaves)
        gone = torch.cat([table.numerical.isnan(), table.categorical < 0], 1)
        if self.absent is None:
            return Tokens(x, ~(met | gone.all(1, keepdim=True)))
        return Tokens(x + (gone.to(x.dtype) @ self.absent.to(x.dtype)).unsqueeze(1))

    def _inputs(self, table: Table) -> Tensor:
        """What the trees look at, ``(b, n_num + categories)``, float32; NaN is missing."""
        numbers, codes = table.numerical.float(), table.categorical[:, self.column]
        missing = torch.full((), torch.nan, device=numbers.device)
        if self.marginals is not None:
            numbers = torch.where(numbers.isnan(), self.marginals.mean.float(), numbers)
            missing = self.marginals.share.float()
        return torch.cat([numbers, torch.where(codes < 0, missing, (codes == self.code).float())], 1)


def _notice(tokenizer: TreeTokenizer, keys: object) -> None:
    """After a state dict was loaded."""
    tokenizer._fitted = not tokenizer.fitted.is_meta and bool(tokenizer.fitted)
