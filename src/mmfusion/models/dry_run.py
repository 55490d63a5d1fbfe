"""Parts that are run without numbers, and whose refusals name them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mmfusion.heads import (
    ConcatHead,
    FusedHead,
    GatedFusion,
    LateHead,
    LowRankFusion,
    MaxFusion,
    SplitFusion,
    TensorFusion,
)
from mmfusion.tokens import Tokens
from mmfusion.utils.meta import run_on_meta

# What torch says of shapes that do not go together, in many words: of matrices, of sums, of norms, of convolutions.
_SHAPES = re.compile(r"shape|size|\bdim|channel|broadcast", re.IGNORECASE)


def run_part(what: str, module: nn.Module, *args: Any, given: str) -> Any:
    """A part on the meta device.

    Args:
        what: The part, for messages: ``"the interaction SelfAttention"``.
        module: The part.
        args: What it takes, on the meta device.
        given: In words, what it takes.

    Returns:
        What it returns, on the meta device.

    Raises:
        ValueError: If shapes do not go together.
    """
    try:
        return run_on_meta(module, *args)
    except KeyError as error:
        raise ValueError(
            f"{what} is built for {error.args[0]!r}, which is not among what it is given, {given}: build it for these "
            "names, or give the model what it is built for"
        ) from error
    except RuntimeError as error:
        if not _is_of_shapes(error):
            raise
        raise ValueError(
            f"{what} does not fit what it is given, {given}: {str(error).rstrip('.')}. Build it for these widths, or "
            "what comes before it for its own"
        ) from error


def check_ending(
    readout: nn.Module, head: nn.Module, stages: Sequence[Mapping[str, Tokens]], names: Sequence[str]
) -> None:
    """Whether a readout and a head fit the stages.

    A part that looks at numbers, computes in another dtype or is lazy cannot be asked before there are some: it is
    left to the first batch.

    Args:
        readout: The stages' tokens to embeddings; bound.
        head: Embeddings to outputs; one that sets ``takes_present`` is told that nothing is missing.
        stages: Tokens on the meta device.
        names: The modalities, for messages.

    Raises:
        ValueError: If shapes do not go together; names the part and the widths.
    """
    try:
        if not _is_lazy(readout):
            found = run_part(_called("readout", readout), readout, stages, given=widths_of(stages))
            if not _is_lazy(head):
                _check_names(head, found, names)
                told = (found, {}) if getattr(head, "takes_present", False) else (found,)
                run_part(
                    _called("head", head), head, *told, given=f"embeddings of the widths {_embedded(found, names)}"
                )
    except RuntimeError:
        return


def _check_names(head: nn.Module, found: Mapping[str, Any], names: Sequence[str]) -> None:
    """Whether the model has the modalities that a head was built for; a head may read fewer than there are."""
    part = head.fusion if isinstance(head, FusedHead) else head
    if isinstance(part, SplitFusion):
        wanted: Sequence[str] = list(part.parts)
    elif isinstance(part, ConcatHead | LateHead | GatedFusion | MaxFusion | LowRankFusion | TensorFusion):
        wanted = part.names
    else:
        return
    given = [name for name in found if name in names]
    if gone := [name for name in wanted if name not in found]:
        raise ValueError(f"{_called('head', head)} is built for {gone}, which the model does not have: it has {given}")


def widths_of(stages: Sequence[Mapping[str, Tokens]]) -> str:
    """Tokens' widths by modality, in words: one number where all stages have it."""
    found = {name: [stage[name].x.shape[-1] for stage in stages if name in stage] for name in stages[-1]}
    return "tokens of the widths " + ", ".join(
        f"{name} {widths[0] if len(set(widths)) == 1 else widths}" for name, widths in found.items()
    )


def bind(readout: nn.Module, call: Callable[[Any], None], stages: Sequence[Mapping[str, Tokens]]) -> None:
    """Build a readout for the stages.

    Raises:
        ValueError: If it is built for a modality that is not among them.
    """
    try:
        call(stages)
    except KeyError as error:
        raise ValueError(
            f"{_called('readout', readout)} is built for {error.args[0]!r}, which the model does not have: it has "
            f"{list(stages[-1])}"
        ) from error


def interaction(module: nn.Module, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
    """An interaction on the meta device.

    Raises:
        ValueError: If shapes do not go together; names the part and the widths.
    """
    out: dict[str, Tokens] = run_part(_called("interaction", module), module, tokens, given=widths_of([tokens]))
    return out


def _called(kind: str, module: nn.Module) -> str:
    return f"the {kind} {type(module).__name__}"


def _embedded(found: Mapping[str, Any], names: Sequence[str]) -> str:
    shown = [name for name in found if name in names] or list(found)
    return ", ".join(f"{name} {x.shape[-1]}" for name in shown if isinstance(x := found[name], Tensor) and x.ndim)


def _is_of_shapes(error: RuntimeError) -> bool:
    return not isinstance(error, NotImplementedError) and _SHAPES.search(str(error)) is not None


def _is_lazy(module: nn.Module) -> bool:
    return any(is_lazy(parameter) for parameter in module.parameters())
