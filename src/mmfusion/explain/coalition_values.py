"""The output of one case with some modalities in full, and one with some of its columns or regions."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from mmfusion.explain.outputs import Score
from mmfusion.explain.regions import Baseline, without_content
from mmfusion.explain.undisturbed import rows_of
from mmfusion.models import FusionModel
from mmfusion.models.shapes import dtype_of
from mmfusion.tokens import Content, Table, Tokens


class CoalitionValues:
    """Values of coalitions, see :mod:`mmfusion.explain.account`.

    Tokens of the other modalities are made once, unless map fusions make them depend on what is tried.

    Args:
        model: In evaluation mode, without gradients.
        case: One row of each modality that the case has.
        score: What is explained, of this case.
        regions: By image, the numbers ``0..n - 1`` of its regions, shape ``size``.
        baseline: What a region is replaced by.
        batch_size: Coalitions at once.
    """

    def __init__(
        self,
        model: FusionModel,
        case: Mapping[str, Content],
        score: Score,
        regions: Mapping[str, Tensor],
        baseline: Baseline | Tensor,
        batch_size: int,
    ) -> None:
        self.model, self.case, self.score, self.regions, self.batch_size = model, case, score, regions, batch_size
        self.eps = torch.finfo(dtype_of(model)).eps
        self._empty = {name: without_content(cast("Tensor", case[name]), baseline) for name in regions}
        self._whole = model.tokenize(case, self._presence(1, list(case))) if model.tokens_apart and case else None

    def players(self, name: str) -> Tensor:
        """Positions of a table's known cells, or numbers of an image's regions, shape ``(n,)``."""
        content = self.case[name]
        if isinstance(content, Table):
            return known_cells(content)[0].nonzero().squeeze(1)
        n = int(self.regions[name].max()) + 1 if name in self.regions else 0
        return torch.arange(n, device=self.score.index.device)

    def of(self, name: str, kept: Tensor, subsets: Sequence[Sequence[str]]) -> Tensor:
        """Values of coalitions.

        Args:
            name: The modality of which parts are tried.
            kept: Which of its :meth:`players`, shape ``(r, n)`` bool.
            subsets: Other modalities, in full.

        Returns:
            Shape ``(len(subsets), r)``, float64, on the CPU.
        """
        chunks = [self._of(name, rows, subsets) for rows in torch.split(kept, self.batch_size)]
        return torch.cat(chunks, 1).double().cpu()

    def _of(self, name: str, kept: Tensor, subsets: Sequence[Sequence[str]]) -> Tensor:
        some = self._with(name, kept.to(self.score.index.device))
        n = len(kept)
        if self._whole is None:
            repeated = rows_of(self.case, self.score.index.new_zeros(n))
            inputs = {**repeated, name: some}
            outputs = [self.model(inputs, self._presence(n, [name, *subset])) for subset in subsets]
            return torch.stack([self.score(output) for output in outputs])
        own = self.model.tokenize({name: some}, self._presence(n, [name]))
        values = []
        for subset in subsets:
            tokens = [
                {**of_own, **{other: _expanded(of_whole[other], n) for other in subset if other in of_whole}}
                for of_own, of_whole in zip(own, self._whole, strict=True)
            ]
            values.append(self.score(self.model.predict(tokens, self._presence(n, [name, *subset]))))
        return torch.stack(values)

    def _with(self, name: str, kept: Tensor) -> Content:
        content, players = self.case[name], self.players(name)
        if isinstance(content, Table):
            known = kept.new_zeros(len(kept), content.numerical.shape[1] + content.categorical.shape[1])
            known[:, players] = kept
            return only_cells(content, known)
        keep = kept[:, self.regions[name].to(kept.device)].unsqueeze(1)
        return torch.where(keep, cast("Tensor", content), self._empty[name])

    def _presence(self, n: int, names: Sequence[str]) -> dict[str, Tensor]:
        return {
            name: torch.full((n,), name in names, dtype=torch.bool, device=self.score.index.device)
            for name in self.model.names
        }


def known_cells(table: Table) -> Tensor:
    """Which cells are known, numerical columns first, shape ``(b, n)`` bool."""
    return torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1)


def only_cells(table: Table, known: Tensor) -> Table:
    """A table with the other cells missing; ``known`` as :func:`known_cells`, or many rows for a table of one."""
    numerical, categorical = torch.split(known, [table.numerical.shape[1], table.categorical.shape[1]], 1)
    return Table(torch.where(numerical, table.numerical, torch.nan), torch.where(categorical, table.categorical, -1))


def is_masked_without_cells(model: FusionModel, name: str, table: Content) -> bool:
    """Whether a reader of a table masks all of it when no cell is known."""
    empty = only_cells(table, torch.zeros_like(known_cells(table))) if isinstance(table, Table) else table
    readers = [part[name] for part in (model.tokenizers, model.context.tokenizers) if name in part]
    sets = [tokens for reader in readers for tokens in reader(empty)]
    return any(tokens.mask is not None and not bool(tokens.mask.any()) for tokens in sets)


def _expanded(tokens: Tokens, n: int) -> Tokens:
    mask = None if tokens.mask is None else tokens.mask.expand(n, -1)
    return Tokens(tokens.x.expand(n, -1, -1), mask)
