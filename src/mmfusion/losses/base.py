"""The base class of all losses."""

from collections.abc import Mapping

from torch import Tensor, nn

from mmfusion.losses.inputs import Embeddings, loss_inputs
from mmfusion.tokens import LossInputs, Present


class Loss(nn.Module):
    """A loss, from what a model returned to a scalar.

    Called with :class:`~mmfusion.tokens.LossInputs`, or with anybody's embeddings and labels. Any module that takes
    loss inputs can stand in a bank; this class adds the second way, and what a bank tells its terms.

    Attributes:
        n_classes: Number of classes of the target, for terms that need it; a bank sets it where it is None.
        gathers: True for a term that collects the batches of all processes by itself: a bank then hands it this
            process's batch alone.
    """

    n_classes: int | None = None
    gathers: bool = False

    def forward(
        self,
        inputs: LossInputs | Embeddings,
        labels: Tensor | None = None,
        present: Present | Tensor | None = None,
        aux: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            inputs: Loss inputs, or embeddings: a dict or a sequence of ``(b, d)``, or ``(m, b, d)``.
            labels: Shape ``(b,)`` int64; with embeddings only, where the term needs them.
            present: Which cases have which modality, by name or ``(m, b)`` bool; with embeddings only.
            aux: More tensors by name, for terms that ask for some; with embeddings only.

        Returns:
            A scalar.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        return self.loss(loss_inputs(inputs, labels, present, aux))

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs; what a term defines."""
        raise NotImplementedError(f"{type(self).__name__} must define loss()")
