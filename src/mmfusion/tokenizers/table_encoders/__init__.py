"""Table encoders: what a method makes of a tabular tokenizer's tokens before they meet other modalities.

A builder takes the :class:`~mmfusion.spec.Columns` and keyword-only options, of which ``dim`` is one and ``of``, a
tabular tokenizer, another. It maps a :class:`~mmfusion.tokens.Table` to a tuple of one set of tokens. In a blueprint it
takes the place of a tabular tokenizer.
"""

from mmfusion.tokenizers.table_encoders import compressed, known_cells, tip

__all__ = ["compressed", "known_cells", "tip"]
