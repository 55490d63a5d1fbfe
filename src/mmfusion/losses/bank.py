"""The loss bank: named, weighted terms."""

from collections.abc import Mapping

from torch import Tensor, nn

from mmfusion.losses.anchors import AnchorLoss, AnchorSet, anchors_of
from mmfusion.losses.base import Loss
from mmfusion.losses.distributed import global_batch
from mmfusion.losses.inputs import Embeddings, check_label_range, loss_inputs, single_target
from mmfusion.losses.weighting import Schedule, Weighting
from mmfusion.tokens import LossInputs, Present


class LossBank(nn.Module):
    """Terms with their weights, computed together.

    The anchor terms share one set of prototypes a batch. A term of weight 0 is not computed. In training mode, where
    several processes train together (``torch.distributed``), each computes the terms of the batch of all, and
    DistributedDataParallel's averaging makes of the gradients those of one process with the whole batch; every process
    must call the bank then.

    Args:
        n_classes: k, told to the terms that were built without it; None where no term needs it.
        terms: By name, ``(weight, term)``; a term is a module from :class:`~mmfusion.tokens.LossInputs` to a scalar, a
            weight is a number or a :class:`~mmfusion.losses.weighting.Schedule`.
        prototypes: Where the anchor terms take their prototypes from,
            :class:`~mmfusion.losses.memory.MovingPrototypes` or :class:`~mmfusion.losses.memory.MemoryPrototypes`;
            None: from the batch.
        weighting: Finds the weights while training, from the given ones; None: they stay.
        across_processes: False leaves each process with its own batch.

    Raises:
        ValueError: If a weight is negative or not finite, a term knows another number of classes, or a schedule stands
            beside a weighting.
    """

    def __init__(
        self,
        n_classes: int | None,
        terms: Mapping[str, tuple[float | Schedule, nn.Module]],
        *,
        prototypes: nn.Module | None = None,
        weighting: Weighting | None = None,
        across_processes: bool = True,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.across_processes = across_processes
        self.weights: dict[str, float] = {}
        self.schedules = nn.ModuleDict()
        self.terms = nn.ModuleDict()
        self.prototypes = prototypes
        for name, (weight, term) in terms.items():
            if isinstance(weight, Schedule):
                self.schedules[name] = weight
            elif 0 <= weight < float("inf"):
                self.weights[name] = float(weight)
            else:
                raise ValueError(f"the weight of {name!r} must be finite and not negative, got {weight}")
            if isinstance(term, Loss):
                if term.n_classes is None:
                    term.n_classes = n_classes
                elif n_classes not in (None, term.n_classes):
                    raise ValueError(f"{name!r} was built for {term.n_classes} classes, the bank has {n_classes}")
            self.terms[name] = term
        self.weighting = weighting
        if weighting is not None:
            if len(self.schedules):
                raise ValueError(
                    f"{type(weighting).__name__} finds all weights: give {sorted(self.schedules)} a number, no schedule"
                )
            weighting.bind({name: weight for name, weight in self.weights.items() if weight > 0})
        self._last: dict[str, Tensor] = {}

    def forward(
        self,
        inputs: LossInputs | Embeddings,
        labels: Tensor | None = None,
        present: Present | Tensor | None = None,
        aux: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """All terms of a batch.

        Args:
            inputs: Loss inputs; or embeddings, a dict of ``(b, d)`` or stacked ``(m, b, d)``.
            labels: Shape ``(b,)`` int64; with embeddings only.
            present: Which cases have which modality; with embeddings only.
            aux: More tensors by name, for terms that ask for some; with embeddings only.

        Returns:
            Weighted scalars by name, to be summed.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        inputs = loss_inputs(inputs, labels, present, aux)
        return self.of_batches(inputs, self.gathered(inputs))

    def gathered(self, inputs: LossInputs) -> LossInputs:
        """The batch of all processes where they train together, this process's otherwise."""
        return global_batch(inputs) if self.training and self.across_processes else inputs

    def of_batches(self, own: LossInputs, together: LossInputs) -> dict[str, Tensor]:
        """:meth:`forward` from this process's batch and the batch of all."""
        values: dict[str, Tensor] = {}
        shared: AnchorSet | None = None
        for name, term in self.terms.items():
            if self.weights.get(name) == 0:
                continue
            if isinstance(term, AnchorLoss) and term.prototypes is None:
                if shared is None:
                    shared = anchors_of(together, self.n_classes, self.prototypes)
                values[name] = term.of_anchors(shared)
            else:
                values[name] = term(own if getattr(term, "gathers", False) else together)
        self._last = {name: value.detach() for name, value in values.items()}
        if self.weighting is not None:
            weighted: dict[str, Tensor] = self.weighting(values, together.embeddings)
            return weighted
        return {name: self._weight(name) * value for name, value in values.items()}

    def _weight(self, name: str) -> float | Tensor:
        if name in self.schedules:
            weight: Tensor = self.schedules[name]()
            return weight
        return self.weights[name]

    def unweighted(self) -> dict[str, Tensor]:
        """The values of the last call before their weights, detached, for the log."""
        return dict(self._last)

    def check(self, inputs: LossInputs) -> None:
        """Look at the values, which a step does not: reading them back stops the device.

        Raises:
            ValueError: If an embedding that is there is not finite, naming the modality, or a label is out of range.
        """
        for name, embedding in inputs.embeddings.items():
            there = inputs.present.get(name)
            finite = embedding.isfinite().all(-1)
            bad = ~finite if there is None else ~finite & there
            if bool(bad.any()):
                raise ValueError(
                    f"the embeddings of {name!r} must be finite, {int(bad.sum())} of {len(bad)} cases are not: look at "
                    "that modality's inputs, and at the learning rate"
                )
        if self.n_classes is not None:
            check_label_range(single_target(inputs), self.n_classes)

    def extra_repr(self) -> str:
        """Number of classes and the weights, for printing."""
        return f"n_classes={self.n_classes}, weights={self.weights}"
