"""From a table to tokens.

- ``feature``: one token per column, a linear map of a number or a category's vector (FT-Transformer).
- ``periodic``, ``piecewise_linear``: the same with richer embeddings of numbers.
- ``text``: one token per column, a sentence read by a frozen text encoder, as CFCML has it.
- ``tabtransformer``: one token a categorical column that knows of the others, one for all numbers.
- ``trees``: one token a tree of a fitted forest, its leaf's vector.
- ``mlp``: one token for the whole table.

All keep one protocol, and so does a tokenizer of your own, a :class:`TabularTokenizer`:

- A builder is registered by name, here or through an entry point of the group ``mmfusion.tokenizers.tabular``. It takes
  the :class:`~mmfusion.spec.Columns` and keyword-only options, of which ``dim`` is one.
- It has ``columns``, ``dim`` and ``n_tokens``, and maps a :class:`~mmfusion.tokens.Table` to a tuple of one set of
  :class:`~mmfusion.tokens.Tokens`, ``(b, n_tokens, dim)``; a learned [CLS] token goes before them where one is asked
  for.
- A missing cell, NaN or a category below 0, becomes what ``missing`` says: a learned vector, nothing, or what is
  expected of the column.
- What is learned from training rows is learned by ``fit(table, labels)``, which a run calls once before it trains, if
  ``needs_rows``; it is kept in buffers.

For example::

    import torch
    from mmfusion.registry import tabular_tokenizers
    from mmfusion.spec import Columns
    from mmfusion.tokenizers import TabularTokenizer
    from mmfusion.tokens import Table, Tokens
    from torch import nn

    @tabular_tokenizers.register("count")
    class Count(TabularTokenizer):
        def __init__(self, columns: Columns, *, dim: int) -> None:
            super().__init__(columns, dim=dim, n_tokens=1)
            self.embedding = nn.Embedding(len(columns) + 1, dim)

        def tokens(self, table: Table) -> Tokens:
            there = torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1)
            return Tokens(self.embedding(there.sum(1, keepdim=True)))

Wherever a tabular tokenizer is chosen, ``"count"`` or ``{"name": "count"}`` will do then.
"""

# For their names: each module registers its own.
from mmfusion.tokenizers.tabular import feature, mlp, periodic, piecewise_linear, tabtransformer, text, trees

__all__ = ["feature", "mlp", "periodic", "piecewise_linear", "tabtransformer", "text", "trees"]
