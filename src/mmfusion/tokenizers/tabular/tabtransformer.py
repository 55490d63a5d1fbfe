"""Categories that know of each other."""

from functools import partial

import torch
from torch import Tensor, nn

from mmfusion.layers.attention import TransformerBlock
from mmfusion.options import Depth, Dropout, Expansion, Heads, Width
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing, TabularTokenizer, vectors
from mmfusion.tokenizers.tabular.feature import FeatureTokenizer
from mmfusion.tokens import Table, Tokens


@tabular_tokenizers.register("tabtransformer")
class TabTransformer(TabularTokenizer):
    """TabTransformer (Huang et al., 2020, arXiv 2012.06678): a token a categorical column, one for all numbers.

    Categories are embedded and made contextual by transformer layers, in which the numbers do not take part; the
    numbers are normalized into one further token, the last.

    NOTE[DIFF] The paper concatenates the column's identity with the category's embedding, here the two are added, as by
    :class:`~mmfusion.tokenizers.FeatureTokenizer`. It normalizes the numbers themselves over the columns, which
    turns a single one into 0 whatever it was; here their linear map is normalized over its features. Blocks normalise
    before, not after, and are fewer than its six: clinical tables are small. The flattening and the MLP behind it are
    the model's.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        depth: Transformer layers.
        n_heads: Heads of each attention; divides ``dim``.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
        missing: What a missing cell becomes. ``"token"``: a category a learned token, a number a learned vector that is
            added to the numbers'. ``"mask"``: a category is masked, a number is left out, and their token is masked
            where there is none. ``"impute"``: what is expected of the column, plus a learned vector.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: Width,
        depth: Depth = 2,
        n_heads: Heads = 4,
        expansion: Expansion = 2.0,
        dropout: Dropout = 0.0,
        missing: Missing = "token",
    ) -> None:
        n_tokens = len(columns.categorical) + bool(columns.numerical)
        super().__init__(columns, dim=dim, n_tokens=n_tokens, missing=missing)
        self.categories: FeatureTokenizer | None = None
        self.blocks = nn.Sequential()
        if columns.categorical:
            self.categories = FeatureTokenizer(Columns((), columns.categorical), dim=dim, missing=missing)
            block = partial(TransformerBlock, dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
            self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        if columns.numerical:
            self.project = nn.Linear(len(columns.numerical), dim)
            self.norm = nn.LayerNorm(dim)
            self.absent = None if missing == "mask" else vectors(len(columns.numerical), dim)

    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Learn the marginals, for ``missing="impute"``."""
        super().fit(table, labels)
        if self.categories is not None:
            self.categories.fit(Table(table.numerical[:, :0], table.categorical), labels)

    def tokens(self, table: Table) -> Tokens:
        """The categories' tokens in the spec's order, then the numbers'."""
        sets: list[Tokens] = []
        if self.categories is not None:
            sets.append(self.blocks(self.categories.tokens(Table(table.numerical[:, :0], table.categorical))))
        if self.columns.numerical:
            sets.append(self._numbers(table.numerical.to(self.project.weight.dtype)))
        if len(sets) == 1:
            return sets[0]
        masks = [of_set.mask for of_set in sets if of_set.mask is not None]
        return Tokens(torch.cat([of_set.x for of_set in sets], 1), torch.cat(masks, 1) if masks else None)

    def _numbers(self, values: Tensor) -> Tokens:
        missing = values.isnan()
        mean = 0.0 if self.marginals is None else self.marginals.mean.to(values.dtype)
        x = self.project(torch.where(missing, mean, values))
        if self.absent is not None:
            x = x + missing.to(x.dtype) @ self.absent.to(x.dtype)
        any_known = None if self.absent is not None else ~missing.all(1, keepdim=True)
        return Tokens(self.norm(x).unsqueeze(1), any_known)
