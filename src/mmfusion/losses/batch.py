"""A batch as losses look at it: what several of them need is computed once."""

from torch import Tensor

from mmfusion.losses.anchors import AnchorSet, anchors_of_units
from mmfusion.losses.inputs import Units, single_target, units_of
from mmfusion.losses.prototypes import PrototypeSource
from mmfusion.tokens import LossInputs


class Batch:
    """What a model returned, with its targets, and what losses derive from them.

    Args:
        inputs: The outputs, embeddings, targets, presence and further tensors.
        prototypes: Where anchor losses without a source take their prototypes from; None: from this batch.

    Attributes:
        inputs: As given.
        outputs: Logits or values by target, shape ``(b, n_out)``.
        embeddings: Shape ``(b, d)`` by modality.
        targets: By name; class indices ``(b,)`` int64, or as its kind of target says.
        present: Which cases have which modality, ``(b,)`` bool by name; a modality left out has all cases.
        aux: Further tensors by name.
    """

    def __init__(self, inputs: LossInputs, *, prototypes: PrototypeSource | None = None) -> None:
        self.inputs = inputs
        self.outputs, self.embeddings, self.targets, self.present, self.aux = inputs
        self._prototypes = prototypes
        self._units: Units | None = None
        self._anchors: dict[int, AnchorSet] = {}

    @property
    def labels(self) -> Tensor:
        """The labels of the only target, shape ``(b,)``.

        Raises:
            ValueError: If there are none, or several.
        """
        return single_target(self.inputs)

    @property
    def units(self) -> Units:
        """The directions of all embeddings, shape ``(m, b, d)``, and presence, ``(m, b)``.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        if self._units is None:
            self._units = units_of(self.embeddings, self.present)
        return self._units

    def anchors(self, n_classes: int | None, source: PrototypeSource | None = None) -> AnchorSet:
        """Directions with prototypes.

        Args:
            n_classes: k.
            source: Where the prototypes come from; None: the one that all losses of this batch share.

        Raises:
            ValueError: If shapes or dtypes do not fit, or the number of classes is unknown.
        """
        if n_classes is None:
            raise ValueError(
                "the number of classes is unknown: give n_classes to the loss or to its bank; the anchor losses need a "
                "single target of classes"
            )
        if source is not None:
            return anchors_of_units(self.units, self.labels, n_classes, source)
        if n_classes not in self._anchors:
            self._anchors[n_classes] = anchors_of_units(self.units, self.labels, n_classes, self._prototypes)
        return self._anchors[n_classes]
