"""Embeddings, presence and labels in the shapes that losses compute on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.tokens import LossInputs, Present
from mmfusion.utils.precision import full_precision
from mmfusion.utils.tensor_checks import require

Embeddings: TypeAlias = Mapping[str, Tensor] | Sequence[Tensor] | Tensor
"""One ``(b, d)`` per modality, by name or in order, or all of them stacked, ``(m, b, d)``."""


def loss_inputs(
    inputs: LossInputs | Embeddings,
    labels: Tensor | None = None,
    present: Present | Tensor | None = None,
    aux: Mapping[str, Tensor] | None = None,
) -> LossInputs:
    """One form of the ways in which losses and banks are called.

    Args:
        inputs: Loss inputs, returned as they are; or embeddings, whose modalities are named ``"0"``, ``"1"`` and so on
            where they have no names; or the logits of one output, ``(b, k)``.
        labels: Shape ``(b,)`` int64; not with loss inputs. None: no target, for a loss that needs none.
        present: Which cases have which modality, by name or ``(m, b)``; with embeddings only.
        aux: More tensors by name; not with loss inputs.

    Returns:
        Loss inputs with the target ``"label"``.

    Raises:
        ValueError: If presence does not fit the embeddings, or something is given next to loss inputs.
    """
    if isinstance(inputs, LossInputs):
        if labels is not None or present is not None or aux is not None:
            raise ValueError("labels, present and aux are part of LossInputs: give them there, or give embeddings")
        return inputs
    targets = {} if labels is None else {"label": labels}
    if isinstance(inputs, Tensor) and inputs.ndim != 3:
        return LossInputs({"label": inputs}, {}, targets, {}, aux or {})
    named = inputs if isinstance(inputs, Mapping) else {str(i): x for i, x in enumerate(inputs)}
    if isinstance(present, Tensor):
        if len(present) != len(named):
            raise ValueError(
                f"present must be bool of shape (m, b) for {len(named)} modalities, got {tuple(present.shape)}"
            )
        present = {name: present[i] for i, name in enumerate(named)}
    elif present and not isinstance(inputs, Mapping):
        raise ValueError("present by name needs embeddings by name; with stacked embeddings give present as (m, b)")
    return LossInputs({}, named, targets, present or {}, aux or {})


def stack_embeddings(embeddings: Mapping[str, Tensor]) -> Tensor:
    """All modalities as one tensor.

    Args:
        embeddings: Shape ``(b, d)`` by modality.

    Returns:
        Shape ``(m, b, d)``, in float32 or float64.

    Raises:
        ValueError: If shapes or dtypes do not fit; the modality is named.
    """
    if not embeddings:
        raise ValueError(
            "at least one modality's embeddings are needed, (b, d) by name or all of them as (m, b, d), got none"
        )
    shape: tuple[int | str, ...] = ("b", "d")
    for name, x in embeddings.items():
        require(f"the embeddings of {name!r}", x, "floating point", *shape)
        shape = x.shape  # of the first one, for all
    return torch.stack([full_precision(x) for x in embeddings.values()])


def stack_present(names: Mapping[str, Tensor], present: Present, like: Tensor) -> Tensor:
    """Which cases have which modality, as one tensor.

    Args:
        names: Their keys are the modalities, in order.
        present: ``(b,)`` bool by name; a modality left out has all cases.
        like: Stacked embeddings, shape ``(m, b, d)``.

    Returns:
        Shape ``(m, b)``, bool; True is present.

    Raises:
        ValueError: If a shape or dtype does not fit.
    """
    all_cases = torch.ones(like.shape[1], dtype=torch.bool, device=like.device)
    rows = [present.get(name, all_cases) for name in names]
    for name, row in zip(names, rows, strict=True):
        require(f"present[{name!r}]", row, torch.bool, like.shape[1])
    return torch.stack(rows)


class Units(NamedTuple):
    """The directions of the embeddings.

    Attributes:
        x: Shape ``(m, b, d)``, of length 1; zero where a case lacks the modality, or its embedding is zero.
        present: Shape ``(m, b)``, bool; True is present.
    """

    x: Tensor
    present: Tensor


def units_of(embeddings: Mapping[str, Tensor], present: Present) -> Units:
    """Stack and normalize; what a case lacks is replaced by zeros before, so that it may hold anything.

    Args:
        embeddings: Shape ``(b, d)`` by modality.
        present: Which cases have which modality.

    Returns:
        Directions and presence.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    x = stack_embeddings(embeddings)
    if not present:
        return Units(unit(x), torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
    mask = stack_present(embeddings, present, x)
    return Units(unit(torch.where(mask.unsqueeze(-1), x, 0.0)), mask)


def check_label_range(labels: Tensor, n_classes: int) -> None:
    """Raise an error for class indices out of range.

    Raises:
        ValueError: With the smallest and the largest label.
    """
    if labels.numel() and bool(((labels < 0) | (labels >= n_classes)).any()):
        low, high = int(torch.min(labels)), int(torch.max(labels))
        raise ValueError(f"labels must lie in 0..{n_classes - 1}, got {low} to {high}")


def single_target(inputs: LossInputs) -> Tensor:
    """The labels of the only target.

    Raises:
        ValueError: If there are none, or several.
    """
    if not inputs.targets:
        raise ValueError("labels are needed with embeddings: call loss(embeddings, labels)")
    if len(inputs.targets) != 1:
        raise ValueError(f"this loss works on one target, got {sorted(inputs.targets)}")
    return next(iter(inputs.targets.values()))
