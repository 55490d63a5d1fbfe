"""Heat maps by the name of their method, each case's of a class that is fixed."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from mmfusion.explain.account import contributions
from mmfusion.explain.class_activation import FORMULAS, class_activation_map, image_name
from mmfusion.explain.one_image import refuse_bag
from mmfusion.explain.outputs import Output, Score
from mmfusion.explain.pixels import integrated_gradients, occlusion
from mmfusion.explain.regions import grid_regions
from mmfusion.explain.undisturbed import rows_of
from mmfusion.models import FusionModel
from mmfusion.tokens import Inputs, Present


class MapMethod(Protocol):
    """A method that gives heat maps; ``functools.partial`` of a function of this package is one."""

    def __call__(
        self, model: FusionModel, inputs: Inputs, present: Present | None, /, *, image: str, output: Output
    ) -> Tensor:
        """Maps of shape ``(b, *size)``, zeros for a case that lacks the image."""


def windowed_occlusion(
    model: FusionModel, inputs: Inputs, present: Present | None = None, *, image: str, output: Output
) -> Tensor:
    """:func:`occlusion` by windows of an eighth of each axis, side by side."""
    window = tuple(-(-n // 8) for n in model.images[image].size)
    return occlusion(model, inputs, present, window=window, image=image, output=output)


def region_shapley(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None = None,
    *,
    image: str | None = None,
    output: Output = Output(),  # noqa: B008  # immutable
    cells: int | tuple[int, ...] = 4,
    n_orders: int = 8,
    seed: int = 0,
) -> Tensor:
    """The contributions of an image's regions, boxes of a grid, as a map; see :func:`contributions`.

    Args:
        model: In any mode.
        inputs: As the model's, the image as pixels.
        present: As the model's.
        image: The image; None: the only one.
        output: What is explained.
        cells: Boxes along each axis; no axis gets more than it has positions.
        n_orders: Random orders.
        seed: Of these.

    Returns:
        Shape ``(b, *size)``, each position's the value of its region; zeros for a case that lacks the image.
    """
    name = image_name(model, image)
    size = model.images[name].size
    each = (cells,) * len(size) if isinstance(cells, int) else cells
    grid = grid_regions(size, tuple(min(n, length) for n, length in zip(each, size, strict=False)))
    accounts = contributions(
        model, inputs, present, output=output, regions={name: grid}, exact=0, n_orders=n_orders, seed=seed
    )
    maps = [x.parts[name].values[grid] if name in x.parts else torch.zeros(size).double() for x in accounts]
    return torch.stack(maps)


METHODS: Mapping[str, MapMethod] = {
    **{name: partial(class_activation_map, method=name) for name in (*FORMULAS, "score_cam")},
    "integrated_gradients": integrated_gradients,
    "occlusion": windowed_occlusion,
    "region_shapley": region_shapley,
}
"""Methods by name, with their defaults."""

ROUNDING = 2**20
"""Steps from 0 to a map's largest value: what interpolation leaves between equal values is no difference."""


def maps_of(
    method: MapMethod,
    model: FusionModel,
    inputs: Inputs,
    present: Present | None,
    image: str,
    score: Score,
    *,
    checked: bool = True,
) -> Tensor:
    """Maps of the outputs that a score has chosen for each case, whatever this model predicts for them.

    Args:
        method: What computes them.
        model: In any mode.
        inputs: As the model's.
        present: As the model's.
        image: The image.
        score: For these cases.
        checked: Whether a value that is not finite is an error; else such a map is zeros.

    Returns:
        Shape ``(b, *size)`` float64, on the CPU, rounded to a millionth of each map's largest value.

    Raises:
        ValueError: If a map has another shape, or a value that is not finite, naming the rows; or the image is a bag.
    """
    refuse_bag(image, inputs.get(image))
    size = model.images[image].size
    heat = torch.zeros((len(score.index), *size), dtype=torch.float64)
    unit: Literal["log_odds", "output"] = "log_odds" if score.classes else "output"
    for index in sorted(set(score.index.tolist())):
        rows = (score.index == index).nonzero().squeeze(1)
        known = {name: mask.index_select(0, rows.to(mask.device)) for name, mask in (present or {}).items()}
        of_class = method(model, rows_of(inputs, rows), known, image=image, output=Output(score.target, index, unit))
        if tuple(of_class.shape) != (len(rows), *size):
            raise ValueError(
                f"method= expects maps of shape {(len(rows), *size)}, one per case, got {tuple(of_class.shape)}"
            )
        heat[rows.cpu()] = of_class.detach().double().cpu()
    finite = heat.flatten(1).isfinite().all(1)
    if not checked:
        heat[~finite] = 0
    elif not bool(finite.all()):
        wrong = (~finite).nonzero().squeeze(1).tolist()
        raise ValueError(
            f"heat maps expect finite values; those of the cases {wrong}, of those that have the image, have "
            "NaN or infinity"
        )
    largest = heat.flatten(1).abs().amax(1).view(-1, *(1,) * len(size)).clamp(min=torch.finfo(heat.dtype).tiny)
    return (heat / largest * ROUNDING).round() / ROUNDING * largest
