"""Class-activation maps: the formulas, and the maps of a model's images."""

from collections.abc import Callable
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.backbones.slices import Slices
from mmfusion.explain.outputs import Output, Score
from mmfusion.explain.undisturbed import plain, plain_present, rows_of, undisturbed
from mmfusion.fusion.maps import MapFusion
from mmfusion.models import FusionModel
from mmfusion.models.bags import BagLayout, without_empty
from mmfusion.option_checks import checked
from mmfusion.options import OneOf, Range
from mmfusion.tokens import Bag, Content, Inputs, Present


def grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Weights of Grad-CAM, the mean of the gradient over the positions (Selvaraju et al., 2017).

    Args:
        maps: Shape ``(b, c, *spatial)``.
        gradient: Of the output by the maps, likewise.

    Returns:
        Shape ``(b, c, *1)``; the sum over the channels of weights times maps is the heat map.
    """
    return gradient.flatten(2).mean(2).view(*gradient.shape[:2], *(1,) * (gradient.ndim - 2))


def grad_cam_plus_plus(maps: Tensor, gradient: Tensor) -> Tensor:
    """Weights of Grad-CAM++ (Chattopadhay et al., 2018, eq. 19), of the exponential of the output as there.

    ``g^2 / (2 g^2 + sum(A) g^3)`` is ``1 / (2 + sum(A) g)`` where the gradient g is not 0. The factor ``exp(output)``,
    the same for all positions of a case, is left out.

    Args:
        maps: As of :func:`grad_cam`.
        gradient: As there.

    Returns:
        As there.
    """
    denominator = 2 + maps.sum(tuple(range(2, maps.ndim)), keepdim=True) * gradient
    share = torch.where(denominator == 0, 0.0, 1 / denominator)
    return (share * gradient.relu()).sum(tuple(range(2, maps.ndim)), keepdim=True)


def hires_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Weights of HiResCAM, the gradient itself (Draelos and Carin, 2020)."""
    return gradient


def layer_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Weights of LayerCAM, the positive part of the gradient (Jiang et al., 2021)."""
    return gradient.relu()


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "hires_cam": hires_cam,
    "layer_cam": layer_cam,
}
"""From maps and their gradient to weights, both by name."""


@checked
def class_activation_map(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None = None,
    *,
    image: str | None = None,
    method: Annotated[str, OneOf((*FORMULAS, "score_cam"))] = "grad_cam",
    at: int = -1,
    output: Output = Output(),  # noqa: B008  # immutable
    positive: bool = True,
    batch_size: Annotated[int, Range(1)] = 32,
) -> Tensor:
    """Where in an image the evidence is, by the maps of its encoder.

    The other modalities are as they are given. Gradients go through all that comes after a map: later stages, map
    fusions, and tokens whose way to the encoder is cut in training.

    Args:
        model: A fusion model with images, in any mode.
        inputs: As the model's, images as pixels.
        present: As the model's.
        image: The image; None: the only one.
        method: ``"grad_cam"``, ``"grad_cam_plus_plus"``, ``"hires_cam"``, ``"layer_cam"`` or ``"score_cam"``.
        at: The point along the encoder: 0 is before its first stage, -1 behind its last one.
        output: What is explained.
        positive: Keep the positive part alone, as published.
        batch_size: Masked images that Score-CAM runs at once.

    Returns:
        Shape ``(b, *size)`` of the model's input; zeros for a case that lacks the image. Of a bag one map per image,
        ``(b, k, *size)``: zeros where no image is, and the last point is before the map fusions behind the last stage.

    Raises:
        ValueError: If there is no such image, point or output, or the output does not depend on the maps there.
    """
    name = image_name(model, image)
    inputs, present = plain(inputs), plain_present(present)
    with undisturbed(model, gradients=method != "score_cam"):
        x = inputs.get(name)
        if isinstance(x, Tensor):
            inputs[name] = x.clone().requires_grad_(torch.is_grad_enabled())  # a frozen encoder has a graph, too
        elif isinstance(x, Bag):
            inputs[name] = Bag(x.x.clone().requires_grad_(torch.is_grad_enabled()), x.mask)
        traced, points, _ = model.trace(inputs, present)
        score = output.chosen(model, traced)
        mask = without_empty({} if x is None else {name: x}, present).get(name)
        n_cases = len(score.index)
        rows = torch.arange(n_cases, device=score.index.device) if mask is None else mask.nonzero().squeeze(1)
        size = model.images[name].size
        n_images = x.mask.shape[1:] if isinstance(x, Bag) else ()
        heat = score.index.new_zeros((n_cases, *n_images, *size), dtype=traced.outputs[score.target].dtype)
        if name not in points or not len(rows):
            return heat
        if not -len(points[name]) <= at < len(points[name]):
            raise ValueError(
                f"the encoder of {name!r} has the points 0 to {len(points[name]) - 1}, or -1 back, got {at=}"
            )
        maps = points[name][at]
        layout = BagLayout.of(x.mask.index_select(0, rows)) if isinstance(x, Bag) else None
        if method == "score_cam":
            weights = _increases(model, inputs, present, name, rows, layout, maps, score, batch_size)
        else:
            (gradient,) = torch.autograd.grad(score(traced).sum(), maps, allow_unused=True)
            if gradient is None:
                raise ValueError(
                    f"the output does not depend on the maps of {name!r} at point {at}: the model reads later maps "
                    "alone, and its encoder cannot be taken apart between its stages; take a later point"
                )
            weights = FORMULAS[method](maps, gradient)
        backbone = model.encoders.backbones[model.encoders.routes[name]]
        with torch.no_grad():
            if isinstance(backbone, Slices) and maps.ndim < len(size) + 2:
                (pixels,) = (rows_of({name: inputs[name]}, rows)).values()
                if layout is not None:
                    pixels = layout.images(cast("Bag", pixels).x)
                cam = _over_slices(backbone, model, cast("Tensor", pixels), weights, maps, at, whole=layout is None)
            else:
                cam = (weights * maps).sum(1)
            cam = cam.relu() if positive else cam
            cam = resized(cam.unsqueeze(1), size).squeeze(1).to(heat.dtype)
            return heat.index_copy(0, rows, cam if layout is None else layout.put(cam))


def image_name(model: FusionModel, image: str | None) -> str:
    """A model's image by name, or its only one.

    Raises:
        ValueError: If there is no such image.
    """
    names = list(model.images)
    if not names:
        raise ValueError(f"heat maps need a model with images, this one reads {list(model.names)} alone")
    if (image is None and len(names) != 1) or (image is not None and image not in names):
        raise ValueError(f"expected image=, one of the model's images {names}, got {image!r}")
    return image or names[0]


def resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps ``(b, c, *spatial)`` at another size, linearly between their positions' centers."""
    return F.interpolate(maps, size=size, mode="bilinear" if len(size) == 2 else "trilinear", align_corners=False)


def _over_slices(
    backbone: Slices, model: FusionModel, x: Tensor, weights: Tensor, maps: Tensor, at: int, *, whole: bool
) -> Tensor:
    """The heat of each slice, whose sum is that of the weighed maps; shape ``(r, *spatial)``.

    Args:
        backbone: The encoder.
        model: Its model.
        x: The images.
        weights: Of the maps.
        maps: At the point.
        at: The point.
        whole: Whether the last maps have gone through the map fusions behind the last stage.
    """
    share, of_slices = backbone.slice_maps(x)[at if at < 0 else at - 1]
    fusions = (cast("MapFusion", fusion) for fusion in model.encoders.fusions)
    if whole and any(model.encoders.n_stages in fusion.points for fusion in fusions):
        # The map is not the slices' sum any more.
        cam = share[:, :, None, None] * (weights * maps).sum(1, keepdim=True)
    else:
        cam = torch.einsum("bn,bnchw,bchw->bnhw", share, of_slices, weights.expand_as(maps))
    return cam.movedim(1, 1 + backbone.depth_axis)


def _increases(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None,
    name: str,
    rows: Tensor,
    layout: BagLayout | None,
    maps: Tensor,
    score: Score,
    batch_size: int,
) -> Tensor:
    """Weights of Score-CAM: softmax over the channels of what each leaves of the output (Wang et al., 2020).

    The image is multiplied by each channel, scaled to [0, 1] and to the image's size; the others of a bag stay.
    """
    known = {key: mask.index_select(0, rows) for key, mask in (present or {}).items()}
    cases, size = rows_of(inputs, rows), model.images[name].size
    backbone = model.encoders.backbones[model.encoders.routes[name]]
    weights = maps.new_zeros(maps.shape[:2])
    of_images = range(len(maps)) if layout is None else layout.cases().tolist()
    for i, row in enumerate(of_images):
        of_case = rows_of(cases, rows.new_tensor([row]))
        channels = maps[i]
        if isinstance(backbone, Slices) and channels.ndim <= len(size):
            channels = channels.unsqueeze(1 + backbone.depth_axis)
        low, high = channels.flatten(1).aminmax(dim=1, keepdim=True)
        view = (-1, *(1,) * len(size))
        span = torch.where(high > low, high - low, 1.0).view(view)
        scaled = (channels - low.view(view)) / span
        for start in range(0, len(scaled), batch_size):
            masks = resized(scaled[start : start + batch_size].unsqueeze(1), size)
            masked = rows_of(of_case, rows.new_zeros(len(masks)))
            masked[name] = _times(masked[name], masks, None if layout is None else layout.slot, i)
            mask = {key: value[row].expand(len(masks)) for key, value in known.items()}
            weights[i, start : start + batch_size] = score.case(int(rows[row]))(model(masked, mask))
    # The black image's output, the same for all channels of a case, does not change the softmax.
    return weights.softmax(1).view(*weights.shape, *(1,) * (maps.ndim - 2))


def _times(content: Content, masks: Tensor, slots: Tensor | None, i: int) -> Content:
    """An image times masks, one per row; or the i-th image of a bag, whose place is ``slots[i]``."""
    if not isinstance(content, Bag) or slots is None:
        return cast("Tensor", content) * masks
    x = content.x.clone()
    x[:, slots[i]] *= masks
    return Bag(x, content.mask)
