"""Loss: base class."""

from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias

from torch import Tensor, nn

from mmfusion.losses.batch import Batch
from mmfusion.losses.inputs import Embeddings, loss_inputs
from mmfusion.option_checks import keyword_options
from mmfusion.tokens import LossInputs, Present

Need: TypeAlias = Literal["n_classes", "counts"]


class Loss(nn.Module):
    """A loss, from what a model returned to a scalar.

    A subclass overrides :meth:`compute`. The batch has the outputs, embeddings, targets and presence, and computes what
    several losses share (:attr:`~mmfusion.losses.batch.Batch.units`, labels, anchors) when it is first looked at. What
    no batch holds, a class declares in :attr:`needs`.

    Attributes:
        needs: ``"n_classes"``: a bank sets the number of classes where the loss was built without it, with
            :meth:`set_n_classes`. ``"counts"``: an objective gives the number of training cases of each class, with
            :meth:`set_counts`, unless the loss has them already.
        n_classes: k; None where it is unknown or of no interest.
        target: The target that the loss looks at; None: the only one.
        has_counts: Whether the numbers of training cases are known.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    target: str | None = None
    has_counts: bool = False

    def __init__(self, *, n_classes: int | None = None) -> None:
        super().__init__()
        self.n_classes = n_classes

    def compute(self, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar: the method to override.

        Args:
            batch: Of all processes that train together, if the loss is in a bank.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compute()")  # abstract

    def forward(
        self,
        inputs: Batch | LossInputs | Embeddings,
        labels: Tensor | None = None,
        present: Present | Tensor | None = None,
        aux: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            inputs: A batch, or loss inputs; or embeddings: a dict or a sequence of ``(b, d)``, or ``(m, b, d)``; or the
                logits of one output, ``(b, k)``.
            labels: Shape ``(b,)`` int64; with embeddings or logits only, where the loss needs them.
            present: Which cases have which modality, by name or ``(m, b)`` bool; with embeddings only.
            aux: More tensors by name, for losses that look at some; with embeddings only.

        Returns:
            A scalar.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        return self.compute(inputs if isinstance(inputs, Batch) else Batch(loss_inputs(inputs, labels, present, aux)))

    def set_n_classes(self, n_classes: int) -> None:
        """Receive the number of classes, before training.

        Raises:
            ValueError: If the loss was built for another number.
        """
        if self.n_classes not in (None, n_classes):
            raise ValueError(f"the loss was built for {self.n_classes} classes, it cannot have {n_classes}")
        self.n_classes = n_classes

    def set_counts(self, counts: Tensor) -> None:
        """Receive the number of training cases of each class, shape ``(k,)``, before training."""
        raise NotImplementedError(f"{type(self).__name__} must define set_counts()")  # abstract

    def extra_repr(self) -> str:
        """The options, for printing."""
        options = keyword_options(type(self).__init__)
        return ", ".join(f"{name}={vars(self)[name]!r}" for name in options if name in vars(self))
