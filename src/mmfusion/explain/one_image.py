"""One case's output as a function of one of its images."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfusion.explain.outputs import Score
from mmfusion.explain.undisturbed import rows_of
from mmfusion.models import FusionModel
from mmfusion.tokens import Content, Present


class OneImage:
    """From images to the output, everything else as the case has it.

    The other images are encoded once, unless map fusions make their maps depend on this one.

    Args:
        model: In evaluation mode.
        case: One row of each modality.
        present: Likewise, shape ``(1,)`` each.
        name: The image.
        score: What is explained, of this case.
    """

    def __init__(
        self, model: FusionModel, case: Mapping[str, Content], present: Present, name: str, score: Score
    ) -> None:
        self.model, self.present, self.name, self.score = model, present, name, score
        others = {key: x for key, x in case.items() if key in model.images and key != name and isinstance(x, Tensor)}
        encoded = {}
        if others and model.reads_maps:
            with torch.no_grad():
                encoded = model.encode(others, present)
        self.case = {**case, **encoded}

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs of images of shape ``(n, channels, *size)``, shape ``(n,)``."""
        repeated = {**rows_of(self.case, self.score.index.new_zeros(len(x))), self.name: x}
        return self.score(self.model(repeated, {key: mask.expand(len(x)) for key, mask in self.present.items()}))
