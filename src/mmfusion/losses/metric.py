"""pytorch-metric-learning's losses as terms.

That library (PML) is imported when a term is built, not before. Its losses are taken as they are; what this module adds
is which rows they see, and what keeps them finite and their memories sound. Another library decides the shapes inside,
so that ``torch.compile`` breaks its graph here, and a step reads values back from the device.
"""

import inspect
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmfusion.layers.directions import unit
from mmfusion.losses.base import Loss
from mmfusion.losses.distributed import global_batch
from mmfusion.losses.inputs import check_labels, single_target, stack_embeddings, stack_present
from mmfusion.losses.pml import (
    Options,
    Positions,
    Positives,
    Recipe,
    built_part,
    check_miner,
    check_size,
    check_use,
    find,
    make_history,
    mended,
    one_and_memory,
    parts_of,
    recipe_of,
    unwrapped,
    what_it_takes,
)
from mmfusion.registry import losses
from mmfusion.tokens import LossInputs
from mmfusion.utils.precision import without_autocast


class MetricLoss(Loss):
    """A loss of pytorch-metric-learning, with its miner, distance and reducer.

    A loss sees the rows that are there (``inputs.present``), have a label of 0 to k - 1 if it takes labels, and are not
    zero if ``normalise`` (a zero vector has no direction). Where none is left, or the loss is not defined for what is
    left, it is 0 with zero gradient: ``VICRegLoss`` of one case, ``NCALoss`` without a positive, ``ManifoldLoss`` of
    fewer rows than proxies, a signal-to-noise ratio of an embedding without a signal (all entries equal). Rows that are
    there and not finite make it NaN.

    Half precision is computed in float32, with autocast off; parameters keep their dtype. In evaluation nothing is
    remembered. The queue of a ``CrossBatchMemory`` is in the state dict with its position, which PML leaves out.

    NOTE[DIFF] a ``DistributedLossWrapper`` is taken off, and the term gathers the batches of all processes itself while
    it trains (:attr:`gathers`). The wrapper multiplies the loss by the number of processes w, so that after
    DistributedDataParallel's averaging the network's gradients are those of one process with the whole batch; the loss
    and the gradients of proxies come out w times too large, each queue has an order of its own, and all processes need
    equally many rows, which they do not have where modalities are missing. Here everything is as in one process. A
    bank does the same for a loss without the wrapper. With ``efficient=True`` the wrapper leaves out the gradient that
    flows through references on other processes; that is refused.

    NOTE[DIFF] where a loss takes the angle of a cosine (``TupletMarginLoss``, ``ArcFaceLoss``), the cosine stays one
    rounding step away from 1 and -1, where the angle has no derivative; the gradient of two equal rows is 0 there.
    PML stops with an error in ``HistogramLoss`` at a cosine of 1, which here is 1 - 1e-6, and in
    ``DynamicSoftMarginLoss`` at distances that differ much, and at every second step: here it has bins for them, and
    its history no gradient. PML compares a row with itself where it comes alone to a ``CrossBatchMemory``, here not.

    Some limits remain. ``SmoothAPLoss`` raises unless all classes of the batch are equally frequent, and in PML 2.9 is
    its paper's only where they are as many as the cases of each; its rows are sorted by class here, as it needs them.
    ``InstanceLoss`` and ``NPairsLoss`` depend on the order of the rows. ``ThresholdConsistentMarginLoss`` looks all its
    positives up among the anchors, and is refused for pairs of modalities.

    Args:
        loss: A name in ``pytorch_metric_learning.losses``; or an instance, theirs or any module that makes a scalar of
            embeddings and labels.
        on: What it looks at. A modality's name. ``"fused"``: ``aux["fused"]``, ``(b, d)``, or without it all
            modalities' embeddings side by side, each a direction if ``normalise``, and zeros where a case lacks one;
            a case that lacks all of them is left out. ``"all"``: the embeddings of all modalities, as m * b rows of
            one width. A pair of names: anchors in the first and references in the second, averaged with the other
            direction, for the cases that have both. A modality called ``"fused"`` or ``"all"`` makes that word
            ambiguous, which is an error when it is used; such a modality can be reached in a pair only.
        miner: A name in ``pytorch_metric_learning.miners``, or an instance. It mines in the batch; a
            ``CrossBatchMemory`` has another one among its own options.
        distance: A name in ``pytorch_metric_learning.distances``, or an instance; None: the loss's own. A miner given
            by name has the same unless its options say otherwise.
        reducer: A name in ``pytorch_metric_learning.reducers``, or an instance; None: the loss's own.
        options: Of a loss given by name.
        miner_options: Of a miner given by name.
        distance_options: Of a distance given by name.
        reducer_options: Of a reducer given by name.
        positives: ``"class"``: rows of one class attract each other; ``"case"``: rows of one case, for ``"all"`` and
            for pairs. In a pair a case's own reference attracts it either way. Losses without labels (``VICRegLoss``,
            ``ManifoldLoss``, ``SelfSupervisedLoss``) do not look at this.
        normalise: Hand over directions, right at any scale. False hands the embeddings over as they are, for a distance
            with ``normalize_embeddings=False``; what is finite then is PML's matter.
        n_classes: k; None if a bank is to say it. A loss that must have ``num_classes`` is built when k is known.

    Raises:
        ValueError: If a name or an option is unknown or missing, or the loss cannot do what is asked.
    """

    def __init__(
        self,
        loss: str | nn.Module,
        *,
        on: str | Sequence[str] = "fused",
        miner: str | nn.Module | None = None,
        distance: str | nn.Module | None = None,
        reducer: str | nn.Module | None = None,
        options: Options | None = None,
        miner_options: Options | None = None,
        distance_options: Options | None = None,
        reducer_options: Options | None = None,
        positives: Positives = "class",
        normalise: bool = True,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        if positives not in get_args(Positives):
            raise ValueError(f"positives must be one of {get_args(Positives)}, got {positives!r}")
        self.on = _place(on)
        self.positives: Positives = positives
        self.normalise = normalise
        self.loss_function: nn.Module | None = None
        self._n_classes: int | None = None
        distance = built_part("distances", distance, distance_options)
        parts = {"distance": distance, "reducer": built_part("reducers", reducer, reducer_options)}
        parts = {name: part for name, part in parts.items() if part is not None}
        self._recipe: Recipe | None = None
        if isinstance(loss, str):
            self._recipe = recipe_of(find("losses", loss), parts, options or {})
            kind = self._recipe.kind
        else:
            loss, self.gathers = unwrapped(loss)
            kind = type(loss)
            if parts or options:
                given = " and ".join(parts) or "options"
                raise ValueError(f"{kind.__name__} is built already: give it its {given} there, or give it by name")
        self._takes = what_it_takes(kind)
        check_use(kind, self._takes, self.on, positives)
        if isinstance(miner, str):
            miner_options = {**({} if distance is None else {"distance": distance}), **(miner_options or {})}
        elif miner is not None:
            miner, gathers = unwrapped(miner)
            self.gathers = self.gathers or gathers
        self.miner = built_part("miners", miner, miner_options)
        check_miner(kind, self._takes, self.miner)
        if isinstance(loss, nn.Module):
            # PML's record of attributes says 0 where a loss does not keep the number.
            self._install(loss, getattr(loss, "num_classes", None) or None)
        elif self._recipe is not None and not self._recipe.lacks_classes:
            self._install(self._recipe.made(), self._recipe.options.get("num_classes"))
        if n_classes is not None:
            self.n_classes = n_classes

    @property
    def n_classes(self) -> int | None:
        """k, where it is known; setting it builds a loss that has waited for it."""
        return self._n_classes

    @n_classes.setter
    def n_classes(self, n_classes: int | None) -> None:
        if self._n_classes not in (None, n_classes):
            raise ValueError(f"the term was built for {self._n_classes} classes, it cannot have {n_classes}")
        if self.loss_function is None and self._recipe is not None and n_classes is not None:
            self._install(self._recipe.made(num_classes=n_classes), n_classes)
        self._n_classes = n_classes

    def _install(self, loss: nn.Module, n_classes: int | None) -> None:
        self.loss_function = loss
        self._n_classes = n_classes
        if parts_of(loss, "CrossBatchMemory"):
            self.positions = Positions(loss)
        for part in parts_of(loss, "DynamicSoftMarginLoss"):
            make_history(part)

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs.

        Raises:
            ValueError: If shapes or dtypes do not fit, a modality is not there, or the number of classes is not known.
        """
        function = self.loss_function
        if function is None:
            raise ValueError("the number of classes is not known: give the term n_classes, or put it into a LossBank")
        if self.gathers and self.training:
            inputs = global_batch(inputs)
        x, labels = self._rows(inputs, function)
        check_size(function, x, self._recipe.width if self._recipe is not None else None)
        # PML returns zeros that hang on nothing, and DistributedDataParallel waits for the gradient of every parameter.
        nothing = (x * 0).sum()
        for parameter in function.parameters():
            nothing = nothing + (parameter.to(x.dtype) * 0).sum()
        if x.shape[1] < max([1, *(part.K for part in parts_of(function, "ManifoldLoss"))]):
            return nothing
        if not bool(x.isfinite().all()):
            return nothing + x.sum() * torch.nan  # PML hides it here, stops there, and remembers it
        with without_autocast(x), mended(function, x, remember=self.training):
            if len(x) == 1:
                value = self._directed(function, labels, x[0])
            else:
                value = (self._directed(function, labels, *x) + self._directed(function, labels, *x.flip(0))) / 2
        # Of finite rows, a loss that is not finite is one that is not defined for them.
        return value + nothing if bool(value.isfinite()) else nothing

    def _rows(self, inputs: LossInputs, function: nn.Module) -> tuple[Tensor, Tensor | None]:
        """What the loss is to see: anchors (and references) ``(1 or 2, n, d)``, and labels ``(n,)``."""
        x, there = _embeddings(inputs, self.on, self.normalise)
        labels = self._labels(inputs, there, function) if self._takes.labels else None
        if labels is not None and self.positives == "class":
            there = there & (labels >= 0)
            if self._n_classes is not None:
                there = there & (labels < self._n_classes)
        if self.normalise:
            there = there & (x != 0).any(-1).all(0)  # NaN is no zero: it has to come through
        rows = there.nonzero().squeeze(1)
        if labels is not None and parts_of(function, "SmoothAPLoss"):
            rows = rows[labels[rows].argsort(stable=True)]
        x = x[:, rows]
        return unit(x) if self.normalise else x, None if labels is None else labels[rows]

    def _labels(self, inputs: LossInputs, there: Tensor, function: nn.Module) -> Tensor:
        times = len(inputs.embeddings) if self.on == "all" else 1
        n_cases = len(there) // times
        if self.positives == "class":
            labels = single_target(inputs)
            check_labels(labels, n_cases)
        else:
            labels = torch.arange(n_cases, device=there.device)
            for memory in parts_of(function, "CrossBatchMemory"):
                # No case is one of those remembered.
                labels = labels + memory.label_memory.max().to(labels.device) + 1
        return labels.repeat(times)

    def _directed(
        self, function: nn.Module, labels: Tensor | None, x: Tensor, references: Tensor | None = None
    ) -> Tensor:
        more: dict[str, Any] = {}
        if references is not None:
            more["ref_emb"] = references
            if labels is not None:
                # A copy: with the anchors' own labels PML takes the references for the anchors, and leaves out the
                # diagonal, where each case's own reference is.
                more["ref_labels"] = labels.clone()
        if self.miner is not None:
            more["indices_tuple"] = self.miner(x, labels, **more)
        if len(x) == 1 and labels is not None and function in parts_of(function, "CrossBatchMemory"):
            return one_and_memory(function, x, labels)
        # PML would cast the parameters for good.
        cast = {name: parameter.to(x.dtype) for name, parameter in function.named_parameters()}
        value = functional_call(function, cast, (x,) if labels is None else (x, labels), more)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(f"{type(function).__name__} must return a scalar, got {got}: choose another reducer")
        return value.reshape(())

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"on={self.on!r}, positives={self.positives!r}, normalise={self.normalise}"


@losses.register("metric")
def metric(**options: Any) -> MetricLoss:
    """:class:`MetricLoss` with ``loss`` among its options, as a registry and a recipe give them."""
    return MetricLoss(**options)


def _options_of_metric() -> inspect.Signature:
    parameters = inspect.signature(MetricLoss).parameters.values()
    return inspect.Signature([parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters])


metric.__signature__ = _options_of_metric()  # type: ignore[attr-defined]  # what inspect.signature() shows


# Which rows


def _place(on: str | Sequence[str]) -> str | tuple[str, str]:
    if isinstance(on, str):
        return on
    match on:
        case [str(first), str(second)] if first != second:
            return first, second
    raise ValueError(f"on must be a modality's name, 'fused', 'all' or a pair of names, got {on!r}")


def _embeddings(inputs: LossInputs, on: str | tuple[str, str], normalise: bool) -> tuple[Tensor, Tensor]:
    """What a loss could look at, ``(1 or 2, n, d)``, and which rows are there, ``(n,)``."""
    if on in ("fused", "all"):
        if on in inputs.embeddings:
            raise ValueError(f"on={on!r} is ambiguous, a modality is called so: give that another name")
        if on == "fused":
            return _fused(inputs, normalise)
        x = stack_embeddings(inputs.embeddings)
        return x.flatten(0, 1)[None], stack_present(inputs.embeddings, inputs.present, x).flatten()
    names = on if isinstance(on, tuple) else (on,)
    if unknown := [name for name in names if name not in inputs.embeddings]:
        raise ValueError(f"there are no embeddings {unknown}, there are {list(inputs.embeddings)}: mend the term's on")
    named = {name: inputs.embeddings[name] for name in names}
    x = stack_embeddings(named)
    return x, stack_present(named, inputs.present, x).all(0)


def _fused(inputs: LossInputs, normalise: bool) -> tuple[Tensor, Tensor]:
    parts: list[Tensor] = []
    presence: list[Tensor] = []
    for name, embedding in inputs.embeddings.items():
        x = stack_embeddings({name: embedding})
        here = stack_present({name: embedding}, inputs.present, x)
        x = torch.where(here.unsqueeze(-1), x, 0.0)
        parts.append(unit(x) if normalise else x)
        presence.append(here)
    if "fused" in inputs.aux:
        parts = [stack_embeddings({"fused": inputs.aux["fused"]})]
    if not parts:
        raise ValueError("on='fused' needs aux['fused'] or embeddings, there are neither")
    rows = [part.shape[1] for part in (*parts, *presence)]
    if len(set(rows)) > 1:
        raise ValueError(f"embeddings and aux['fused'] must have one row a case, got {rows} rows")
    x = torch.cat(parts, -1)
    everywhere = torch.ones(1, rows[0], dtype=torch.bool, device=x.device)
    return x, torch.cat(presence or [everywhere]).any(0)
