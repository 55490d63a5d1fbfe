"""Loss bank: named, weighted losses."""

from collections.abc import Mapping

from torch import Tensor, nn

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.distributed import global_batch
from mmfusion.losses.inputs import Embeddings, check_label_range, loss_inputs, single_target
from mmfusion.losses.weighting import Schedule, Weighting
from mmfusion.tokens import LossInputs, Present


class LossBank(nn.Module):
    """Losses with their weights, computed together.

    They share what is derived from a batch, the prototypes of the anchor losses among it. A loss of weight 0 is not
    computed. In training mode, where several processes train together (``torch.distributed``), each computes the
    losses of the batch of all, and DistributedDataParallel's averaging makes of the gradients those of one process with
    the whole batch; every process must call the bank then.

    Args:
        n_classes: k, for the losses that were built without it; None where no loss needs it.
        terms: By name, ``(weight, loss)``; a weight is a number or a
            :class:`~mmfusion.losses.weighting.Schedule`.
        prototypes: Where the anchor losses take their prototypes from,
            :class:`~mmfusion.losses.memory.MovingPrototypes` or :class:`~mmfusion.losses.memory.MemoryPrototypes`;
            None: from the batch.
        weighting: Sets the weights while training, starting from the given ones; None: they stay.

    Raises:
        ValueError: If a weight is negative or not finite, a term is no :class:`~mmfusion.losses.base.Loss` or was built
            for another number of classes, or there are schedules and a weighting.
    """

    def __init__(
        self,
        n_classes: int | None,
        terms: Mapping[str, tuple[float | Schedule, nn.Module]],
        *,
        prototypes: nn.Module | None = None,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.weights: dict[str, float] = {}
        self.schedules = nn.ModuleDict()
        self.terms = nn.ModuleDict()
        self.prototypes = prototypes
        for name, (weight, loss) in terms.items():
            if isinstance(weight, Schedule):
                self.schedules[name] = weight
            elif 0 <= weight < float("inf"):
                self.weights[name] = float(weight)
            else:
                raise ValueError(f"the weight of {name!r} must be finite and not negative, got {weight}")
            self.terms[name] = _with_classes(name, loss, n_classes)
        self.weighting = weighting
        if weighting is not None:
            if len(self.schedules):
                raise ValueError(
                    f"{type(weighting).__name__} sets all weights: give {sorted(self.schedules)} a number, no schedule"
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
        """All losses of a batch.

        Args:
            inputs: Loss inputs; or embeddings, a dict of ``(b, d)`` or stacked ``(m, b, d)``; or the logits of one
                output, ``(b, k)``.
            labels: Shape ``(b,)`` int64; with embeddings or logits only.
            present: Which cases have which modality; with embeddings only.
            aux: More tensors by name, for losses that look at some; with embeddings only.

        Returns:
            Weighted scalars by name, to be summed.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        inputs = loss_inputs(inputs, labels, present, aux)
        if self.training:
            inputs = global_batch(inputs)
        batch = Batch(inputs, prototypes=self.prototypes)
        values: dict[str, Tensor] = {
            name: loss(batch) for name, loss in self.terms.items() if self.weights.get(name) != 0
        }
        self._last = {name: value.detach() for name, value in values.items()}
        if self.weighting is not None:
            weighted: dict[str, Tensor] = self.weighting(values, batch.embeddings)
            return weighted
        weights: dict[str, float | Tensor] = {name: schedule() for name, schedule in self.schedules.items()}
        weights |= self.weights
        return {name: weights[name] * value for name, value in values.items()}

    def unweighted(self) -> dict[str, Tensor]:
        """The values of the last call before their weights, detached, for the log."""
        return dict(self._last)

    def check(self, inputs: LossInputs) -> None:
        """Look at the values, which a step does not: reading them back stops the device.

        Raises:
            ValueError: If an embedding that is present is not finite, naming the modality, or a label is out of range.
        """
        for name, embedding in inputs.embeddings.items():
            bad = ~embedding.isfinite().all(-1)
            if name in inputs.present:
                bad = bad & inputs.present[name]
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


def _with_classes(name: str, loss: nn.Module, n_classes: int | None) -> Loss:
    if not isinstance(loss, Loss):
        raise ValueError(f"{name!r} must be a Loss, got {type(loss).__name__}: subclass Loss and override compute()")
    if n_classes is not None and "n_classes" in loss.needs and loss.n_classes is None:
        loss.set_n_classes(n_classes)
    if None not in (n_classes, loss.n_classes) and loss.n_classes != n_classes:
        raise ValueError(f"{name!r} was built for {loss.n_classes} classes, the bank has {n_classes}")
    return loss
