"""One case's output as a function of one of its images."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfusion.explain.outputs import Score
from mmfusion.explain.undisturbed import rows_of
from mmfusion.models import FusionModel
from mmfusion.models.bags import without_empty
from mmfusion.tokens import Bag, Content, Maps, Present


class OneImage:
    """From images to the output, everything else as the case has it.

    The other images are encoded once, unless map fusions make their maps depend on this one.

    Args:
        model: In evaluation mode.
        case: One row of each modality.
        present: Likewise, shape ``(1,)`` each.
        name: The image.
        score: What is explained, of this case.
        slot: Of a bag, the image's place in it; the others stay. None: the case has one image.
    """

    def __init__(
        self,
        model: FusionModel,
        case: Mapping[str, Content],
        present: Present,
        name: str,
        score: Score,
        *,
        slot: int | None = None,
    ) -> None:
        self.model, self.present, self.name, self.score = model, without_empty(case, present), name, score
        self.slot = slot
        images = {key: x for key, x in case.items() if key in model.images and not isinstance(x, Maps)}
        others = {key: x for key, x in images.items() if key != name}
        encoded = {}
        if others and model.reads_maps:
            with torch.no_grad():
                encoded = model.encode(others, self.present)
        self.case = {**case, **encoded}

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs of images of shape ``(n, channels, *size)``, shape ``(n,)``."""
        repeated = rows_of(self.case, self.score.index.new_zeros(len(x)))
        bag = repeated.get(self.name)
        if self.slot is not None and isinstance(bag, Bag):
            # Not in place: a gradient goes to the image.
            images = [x if slot == self.slot else bag.x[:, slot] for slot in range(bag.x.shape[1])]
            repeated[self.name] = Bag(torch.stack(images, 1), bag.mask)
        else:
            repeated[self.name] = x
        return self.score(self.model(repeated, {key: mask.expand(len(x)) for key, mask in self.present.items()}))


def refuse_bag(name: str, content: Content | None) -> None:
    """Raise an error where maps are compared with the one image of a case, and there are several."""
    if isinstance(content, Bag):
        raise ValueError(
            f"maps are measured on one image per case, and {name!r} came as a bag: give one image of each case, shape "
            "(b, channels, *size), which counts as a bag of one"
        )
