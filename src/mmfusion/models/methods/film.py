"""FiLM: feature-wise linear modulation (Perez et al., 2018)."""

from collections.abc import Sequence
from typing import Annotated

from mmfusion.models.blueprint import Blueprint, part
from mmfusion.models.registration import method
from mmfusion.options import Among, OneOf, StageIndex, Stages, Widths
from mmfusion.spec import DataSpec


@method("film", tabular_tokenizer=None)
def film(
    spec: DataSpec,
    *,
    n_stages: Stages = 4,
    variant: Annotated[str, OneOf(("perez", "poelsterl"))] = "perez",
    at: Sequence[StageIndex] | None = None,
    table_hidden: Widths | None = None,
    norm: Annotated[bool, Among(False, True)] = False,
) -> Blueprint:
    """Maps scaled and shifted by the table; see :class:`~mmfusion.fusion.maps.Film`.

    The images alone have embeddings: the table acts by scale and shift.

    Args:
        spec: The data.
        n_stages: Stages of the encoder that it can act between, counted from the last.
        variant: ``"perez"``: ``(1 + gamma) * map + beta``, linear in the table, behind each stage. ``"poelsterl"``,
            which DAFT's authors compare with: ``gamma * map + beta`` before the last stage, through 7 hidden features,
            without biases.
        at: The points where it acts, from 0 before the first of these stages or from -1 behind the last; None for the
            variant's.
        table_hidden: Widths of hidden layers behind the table; None for the variant's.
        norm: Normalize before and rectify behind, as in the paper's own blocks.
    """
    perez = variant == "perez"
    points = (list(range(1, n_stages + 1)) if perez else [-2]) if at is None else list(at)
    hidden = ([] if perez else [7]) if table_hidden is None else list(table_hidden)
    block = part("film", at=points, hidden=hidden, bias=perez, offset=float(perez), norm=norm)
    return Blueprint(reads=("images",), encoder=part("convnet", n_stages=n_stages), context="cells", maps=[block])
