"""The losses of pytorch-metric-learning.

That library (PML) is imported when a loss is built, not before. Its losses are taken as they are; what this module adds
is which rows they see, and what keeps them finite and their memories sound. Another library decides the shapes inside,
so that ``torch.compile`` breaks its graph here, and a step reads values back from the device.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmfusion.layers.directions import unit
from mmfusion.losses import pml
from mmfusion.losses.base import Loss, Need
from mmfusion.losses.batch import Batch
from mmfusion.losses.distributed import global_batch
from mmfusion.losses.inputs import stack_embeddings, stack_present
from mmfusion.losses.pml import Options
from mmfusion.losses.pml_fixes import Positions, make_history, one_and_memory, parts_of, stabilized
from mmfusion.options import NClasses
from mmfusion.registry import Choice, losses, named
from mmfusion.utils.precision import without_autocast
from mmfusion.utils.tensor_checks import require

Positives: TypeAlias = Literal["class", "case"]


@losses.register("metric")
class MetricLoss(Loss):
    """A loss of pytorch-metric-learning, with its miner, distance and reducer.

    A loss sees the rows that are present, have a label of 0 to k - 1 if it takes labels, and are not
    zero if ``normalize`` (a zero vector has no direction). Where none is left, or the loss is not defined for what is
    left, it is 0 with zero gradient: ``VICRegLoss`` of one case, ``NCALoss`` without a positive, ``ManifoldLoss`` of
    fewer rows than proxies, a signal-to-noise ratio of an embedding without a signal (all entries equal). Rows that are
    present and not finite make it NaN.

    Half precision is computed in float32, with autocast off; parameters keep their dtype. In evaluation nothing is
    remembered. The queue of a ``CrossBatchMemory`` is in the state dict with its position, which PML leaves out.

    NOTE[DIFF] a ``DistributedLossWrapper`` is taken off, and the loss gathers the batches of all processes itself while
    it trains, in a bank or alone. The wrapper multiplies the loss by the number of processes w, so that after
    DistributedDataParallel's averaging the network's gradients are those of one process with the whole batch; the loss
    and the gradients of proxies come out w times too large, each queue has an order of its own, and all processes need
    equally many rows, which they do not have where modalities are missing. Here everything is as in one process. A
    bank does the same for a loss without the wrapper. With ``efficient=True`` the wrapper leaves out the gradient that
    flows through references on other processes; that is an error.

    NOTE[DIFF] where a loss takes the angle of a cosine (``TupletMarginLoss``, ``ArcFaceLoss``), the cosine stays one
    rounding step away from 1 and -1, where the angle has no derivative; the gradient of two equal rows is 0 there.
    PML stops with an error in ``HistogramLoss`` at a cosine of 1, which here is 1 - 1e-6, and in
    ``DynamicSoftMarginLoss`` at distances that differ much, and at every second step: here it has bins for them, and
    its history no gradient. PML compares a row with itself where it comes alone to a ``CrossBatchMemory``, here not.

    Some limits remain. ``SmoothAPLoss`` raises unless all classes of the batch are equally frequent, and in PML 2.9 is
    its paper's only where they are as many as the cases of each; its rows are sorted by class here, as it needs them.
    ``InstanceLoss`` and ``NPairsLoss`` depend on the order of the rows. ``ThresholdConsistentMarginLoss`` looks all its
    positives up among the anchors, and raises an error for pairs of modalities.

    Args:
        loss: A name in ``pytorch_metric_learning.losses``, or a mapping with ``name`` and options; or an instance,
            theirs or any module that makes a scalar of embeddings and labels.
        on: What it looks at. A modality's name. ``"fused"``: ``aux["fused"]``, ``(b, d)``, or without it all
            modalities' embeddings side by side, each a direction if ``normalize``, and zeros where a case lacks one;
            a case that lacks all of them is left out. ``"all"``: the embeddings of all modalities, as m * b rows of
            one width. A pair of names: anchors in the first and references in the second, averaged with the other
            direction, for the cases that have both. A modality called ``"fused"`` or ``"all"`` makes that word
            ambiguous, which is an error when it is used; such a modality can be reached in a pair only.
        miner: One of ``pytorch_metric_learning.miners``, given likewise. It mines in the batch; a ``CrossBatchMemory``
            has another one among its own options.
        distance: One of ``pytorch_metric_learning.distances``, given likewise; None: the loss's default. A miner given
            by name has the same unless its options say otherwise.
        reducer: One of ``pytorch_metric_learning.reducers``, given likewise; None: the loss's default.
        positives: ``"class"``: rows of one class attract each other; ``"case"``: rows of one case, for ``"all"`` and
            for pairs. In a pair a case's own reference attracts it either way. Losses without labels (``VICRegLoss``,
            ``ManifoldLoss``, ``SelfSupervisedLoss``) do not look at this.
        normalize: Pass directions, right at any scale. False passes the embeddings as they are, for a distance
            with ``normalize_embeddings=False``; what is finite then is PML's matter.
        n_classes: k; None if a bank sets it. A loss that must have ``num_classes`` is built when k is known.

    Raises:
        ValueError: If a name or an option is unknown or missing, or the loss does not support a choice.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"n_classes"})

    def __init__(
        self,
        *,
        loss: Choice | nn.Module,
        on: str | Sequence[str] = "fused",
        miner: Choice | nn.Module | None = None,
        distance: Choice | nn.Module | None = None,
        reducer: Choice | nn.Module | None = None,
        positives: Positives = "class",
        normalize: bool = True,
        n_classes: NClasses | None = None,
    ) -> None:
        super().__init__()
        self.on = _place(on)
        self.positives: Positives = positives
        self.normalize = normalize
        self.loss_function: nn.Module | None = None
        self._gathers = False
        given = {"distance": pml.part("distances", distance), "reducer": pml.part("reducers", reducer)}
        chosen = {name: part for name, part in given.items() if part is not None}
        if isinstance(loss, nn.Module):
            if chosen:
                parts = " and ".join(chosen)
                raise ValueError(f"{type(loss).__name__} is built already: give it its {parts} there, or give its name")
            loss, self._gathers = pml.unwrapped(loss)
            self._kind, self._options = type(loss), {}
        else:
            name, options = named(loss, "loss of pytorch-metric-learning")
            self._kind = pml.find("losses", name)
            self._options = _merged(self._kind, chosen, options)
        if isinstance(miner, nn.Module):
            miner, gathers = pml.unwrapped(miner)
            self._gathers |= gathers
        self.miner = pml.part("miners", miner, **{key: part for key, part in chosen.items() if key == "distance"})
        self._check_use()
        if isinstance(loss, nn.Module):
            # PML's record of attributes says 0 where a loss does not keep the number.
            self._install(loss, getattr(loss, "num_classes", None) or None)
        elif "num_classes" in self._options or "num_classes" not in pml.required(self._kind):
            self._install(pml.build(self._kind, self._options), self._options.get("num_classes"))
        if n_classes is not None:
            self.set_n_classes(n_classes)

    def _check_use(self) -> None:
        name, across = self._kind.__name__, isinstance(self.on, tuple)
        if across and not pml.accepts(self._kind, "ref_emb"):
            raise ValueError(f"{name} cannot compare two modalities: on must not be a pair, got {self.on}")
        if "ref_emb" in pml.required_arguments(self._kind) and not across:
            raise ValueError(f"{name} compares two modalities: on must be a pair of names, got {self.on!r}")
        if self.positives == "case" and pml.accepts(self._kind, "labels"):
            if not across and self.on != "all":
                raise ValueError(
                    f"with on={self.on!r} a case has no positive but itself: positives='case' needs on='all' or a pair "
                    "of names"
                )
            if "num_classes" in pml.required(self._kind):
                raise ValueError(f"{name} has proxies of classes: positives must be 'class', got 'case'")
        if self.miner is not None and not pml.accepts(self._kind, "indices_tuple"):
            raise ValueError(f"{name} takes no miner, got {type(self.miner).__name__}")
        if type(self.miner).__name__ == "EmbeddingsAlreadyPackagedAsTriplets":
            raise ValueError("the rows of a batch are not packaged as triplets: choose another miner")

    def set_n_classes(self, n_classes: int) -> None:
        """Receive the number of classes; a loss that needs it is built now."""
        super().set_n_classes(n_classes)
        if self.loss_function is None:
            self._install(pml.build(self._kind, {**self._options, "num_classes": n_classes}), n_classes)

    def _install(self, loss: nn.Module, n_classes: int | None) -> None:
        self.loss_function = loss
        self.n_classes = n_classes
        if parts_of(loss, "CrossBatchMemory"):
            self.positions = Positions(loss)
        for part in parts_of(loss, "DynamicSoftMarginLoss"):
            make_history(part)

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings or ``aux["fused"]``, and labels.

        Raises:
            ValueError: If shapes or dtypes do not fit, a modality is unknown, or the number of classes is.
        """
        function = self.loss_function
        if function is None:
            raise ValueError("the number of classes is unknown: give the loss n_classes, or put it into a LossBank")
        if self._gathers and self.training:
            batch = Batch(global_batch(batch.inputs))
        x, labels = self._rows(batch, function)
        self._check_size(x, function)
        # PML returns zeros that hang on nothing, and DistributedDataParallel waits for the gradient of every parameter.
        nothing = (x * 0).sum()
        for parameter in function.parameters():
            nothing = nothing + (parameter.to(x.dtype) * 0).sum()
        if x.shape[1] < max([1, *(part.K for part in parts_of(function, "ManifoldLoss"))]):
            return nothing
        if not bool(x.isfinite().all()):
            return nothing + x.sum() * torch.nan  # PML hides it here, stops there, and remembers it
        with without_autocast(x), stabilized(function, x, remember=self.training):
            value = self._directed(function, labels, *x)
            if len(x) == 2:
                value = (value + self._directed(function, labels, *x.flip(0))) / 2
        # Of finite rows, a loss that is not finite is one that is not defined for them.
        return value + nothing if bool(value.isfinite()) else nothing

    def _rows(self, batch: Batch, function: nn.Module) -> tuple[Tensor, Tensor | None]:
        """What the loss is to see: anchors (and references) ``(1 or 2, n, d)``, and labels ``(n,)``."""
        x, counted = _embeddings(batch, self.on, self.normalize)
        labels = self._labels(batch, counted, function) if pml.accepts(self._kind, "labels") else None
        if labels is not None and self.positives == "class":
            counted = counted & (labels >= 0)
            if self.n_classes is not None:
                counted = counted & (labels < self.n_classes)
        if self.normalize:
            counted = counted & (x != 0).any(-1).all(0)  # NaN is no zero: it has to come through
        rows = counted.nonzero().squeeze(1)
        if labels is not None and parts_of(function, "SmoothAPLoss"):
            rows = rows[labels[rows].argsort(stable=True)]
        x = x[:, rows]
        return unit(x) if self.normalize else x, None if labels is None else labels[rows]

    def _labels(self, batch: Batch, counted: Tensor, function: nn.Module) -> Tensor:
        times = len(batch.embeddings) if self.on == "all" else 1
        n_cases = len(counted) // times
        if self.positives == "class":
            labels = batch.labels
            require("labels", labels, torch.int64, n_cases)
        else:
            labels = torch.arange(n_cases, device=counted.device)
            for memory in parts_of(function, "CrossBatchMemory"):
                # No case is one of those remembered.
                labels = labels + memory.label_memory.max().to(labels.device) + 1
        return labels.repeat(times)

    def _check_size(self, x: Tensor, function: nn.Module) -> None:
        name = type(function).__name__
        width = next((self._options[option] for option in pml.WIDTHS if option in self._options), None)
        for memory in parts_of(function, "CrossBatchMemory"):
            width = memory.embedding_size
            if x.shape[1] > memory.memory_size:
                raise ValueError(f"{name} remembers {memory.memory_size} rows, fewer than the {x.shape[1]} of a batch")
        if width not in (None, x.shape[2]):
            raise ValueError(f"{name} was built for embeddings of width {width}, got width {x.shape[2]}")

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


def _merged(kind: type[nn.Module], parts: Options, options: Options) -> dict[str, Any]:
    """All options of a loss given by name."""
    if twice := sorted(set(parts) & set(options)):
        raise ValueError(f"{kind.__name__} is given its {' and '.join(twice)} twice: once is enough")
    for width in pml.required(kind) & set(pml.WIDTHS) - set(options):
        raise ValueError(
            f"{kind.__name__} needs {width}: the width of what it looks at, that of the modality's "
            "embeddings, of aux['fused'], or without it the sum of all modalities' widths"
        )
    pml.check_options(kind, {**parts, **options})
    return {**parts, **options}


def _place(on: str | Sequence[str]) -> str | tuple[str, str]:
    if isinstance(on, str):
        return on
    match on:
        case [str(first), str(second)] if first != second:
            return first, second
    raise ValueError(f"on must be a modality's name, 'fused', 'all' or a pair of names, got {on!r}")


def _embeddings(batch: Batch, on: str | tuple[str, str], normalize: bool) -> tuple[Tensor, Tensor]:
    """What a loss could look at, ``(1 or 2, n, d)``, and which rows are present, ``(n,)``."""
    if on in ("fused", "all"):
        if on in batch.embeddings:
            raise ValueError(f"on={on!r} is ambiguous, a modality has this name: give it another")
        if on == "fused":
            return _fused(batch, normalize)
        x = stack_embeddings(batch.embeddings)
        return x.flatten(0, 1)[None], stack_present(batch.embeddings, batch.present, x).flatten()
    names = on if isinstance(on, tuple) else (on,)
    if unknown := [name for name in names if name not in batch.embeddings]:
        raise ValueError(f"unknown embeddings {unknown}, expected some of {list(batch.embeddings)}: fix the loss's on")
    named = {name: batch.embeddings[name] for name in names}
    x = stack_embeddings(named)
    return x, stack_present(named, batch.present, x).all(0)


def _fused(batch: Batch, normalize: bool) -> tuple[Tensor, Tensor]:
    parts: list[Tensor] = []
    presence: list[Tensor] = []
    for name, embedding in batch.embeddings.items():
        x = stack_embeddings({name: embedding})
        present = stack_present({name: embedding}, batch.present, x)
        x = torch.where(present.unsqueeze(-1), x, 0.0)
        parts.append(unit(x) if normalize else x)
        presence.append(present)
    if "fused" in batch.aux:
        parts = [stack_embeddings({"fused": batch.aux["fused"]})]
    if not parts:
        raise ValueError("on='fused' needs aux['fused'] or embeddings, got neither")
    rows = [part.shape[1] for part in (*parts, *presence)]
    if len(set(rows)) > 1:
        raise ValueError(f"embeddings and aux['fused'] must have one row per case, got {rows} rows")
    x = torch.cat(parts, -1)
    all_rows = torch.ones(1, rows[0], dtype=torch.bool, device=x.device)
    return x, torch.cat(presence or [all_rows]).any(0)
