"""Integrated gradients and occlusion of an image's pixels, by captum."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from mmfusion.explain.class_activation import image_name
from mmfusion.explain.one_image import OneImage
from mmfusion.explain.outputs import Output
from mmfusion.explain.regions import Baseline, without_content
from mmfusion.explain.undisturbed import plain, plain_present, rows_of, undisturbed
from mmfusion.models import FusionModel
from mmfusion.models.bags import without_empty
from mmfusion.option_checks import checked
from mmfusion.options import Range
from mmfusion.tokens import Bag, Inputs, Present
from mmfusion.utils.optional import need

_Attribute = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
"""From the function to explain, an image and its baseline, ``(1, channels, *size)`` each, to a map of that shape."""


@checked
def integrated_gradients(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None = None,
    *,
    image: str | None = None,
    baseline: Baseline | Tensor = "blur",
    output: Output = Output(),  # noqa: B008  # immutable
    n_steps: Annotated[int, Range(1)] = 50,
    batch_size: Annotated[int, Range(1)] = 16,
) -> Tensor:
    """Gradients along the line from a baseline to the image, times their difference (Sundararajan et al., 2017).

    The sum of a map is the output less that at the baseline, up to the steps' error.

    Args:
        model: In any mode.
        inputs: As the model's, the image as pixels.
        present: As the model's.
        image: The image; None: the only one.
        baseline: See :func:`without_content`.
        output: What is explained.
        n_steps: Points along the way (Gauss-Legendre).
        batch_size: Points at once.

    Returns:
        Shape ``(b, *size)``, the channels' sum; zeros for a case that lacks the image. Of a bag ``(b, k, *size)``, each
        image with the others as they are.

    Raises:
        ImportError: Without captum.
    """
    captum = need("captum.attr", "explain")

    def attribute(function: Callable[[Tensor], Tensor], x: Tensor, nothing: Tensor) -> Tensor:
        way = captum.IntegratedGradients(function)
        heat: Tensor = way.attribute(x, nothing, n_steps=n_steps, internal_batch_size=batch_size)
        return heat.sum(1)

    return _each_case(model, inputs, present, image, baseline, output, attribute, gradients=True)


@checked
def occlusion(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None = None,
    *,
    window: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    image: str | None = None,
    baseline: Baseline | Tensor = "blur",
    output: Output = Output(),  # noqa: B008  # immutable
    batch_size: Annotated[int, Range(1)] = 32,
) -> Tensor:
    """What the output loses when a window of the image is replaced (Zeiler and Fergus, 2014).

    Args:
        model: In any mode.
        inputs: As the model's, the image as pixels.
        present: As the model's.
        window: Positions along each axis.
        stride: Steps of the window along each axis; None: the window, without overlap.
        image: The image; None: the only one.
        baseline: See :func:`without_content`.
        output: What is explained.
        batch_size: Windows at once.

    Returns:
        Shape ``(b, *size)``, the mean over the windows that cover a position; zeros for a case that lacks the image. Of
        a bag ``(b, k, *size)``, each image with the others as they are.

    Raises:
        ImportError: Without captum.
        ValueError: If the window or its steps have another number of axes than the image, or steps exceed the window.
    """
    name, step = image_name(model, image), window if stride is None else stride
    size, channels = model.images[name].size, model.images[name].channels
    if (
        len(window) != len(size)
        or len(step) != len(size)
        or not all(1 <= s <= w <= n for s, w, n in zip(step, window, size, strict=True))
    ):
        raise ValueError(
            f"window expects 1 to {size} positions along each axis and stride at most as many, got {window} and {step}"
        )
    captum = need("captum.attr", "explain")

    def attribute(function: Callable[[Tensor], Tensor], x: Tensor, nothing: Tensor) -> Tensor:
        windows = {"sliding_window_shapes": (channels, *window), "strides": (channels, *step)}
        slides = captum.Occlusion(function)
        heat: Tensor = slides.attribute(x, baselines=nothing, perturbations_per_eval=batch_size, **windows)
        return heat[:, 0]  # all channels are covered together

    return _each_case(model, inputs, present, name, baseline, output, attribute, gradients=False)


def _each_case(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None,
    image: str | None,
    baseline: Baseline | Tensor,
    output: Output,
    attribute: _Attribute,
    *,
    gradients: bool,
) -> Tensor:
    name = image_name(model, image)
    inputs, present = plain(inputs), plain_present(present)
    with undisturbed(model, gradients=gradients):
        with torch.no_grad():
            score = output.of(model, inputs, present)
        n, size = len(score.index), model.images[name].size
        x = inputs.get(name)
        if isinstance(x, Bag):
            pixels, real = x.x, without_empty({name: x}, present)
            has = x.mask if name not in real else x.mask & real[name].unsqueeze(1)
        elif isinstance(x, Tensor):
            pixels = x.unsqueeze(1)
            has = present.get(name, torch.ones(n, dtype=torch.bool, device=x.device)).unsqueeze(1)
        elif x is None:
            return torch.zeros((n, *size), device=score.index.device)
        else:
            raise ValueError(f"{name!r} came as maps: give the pixels")
        heat = pixels.new_zeros((*has.shape, *size))
        for i, slot in has.nonzero().tolist():
            mask = {key: value[i : i + 1] for key, value in present.items()}
            case = rows_of(inputs, score.index.new_tensor([i]))
            x_i = pixels[i : i + 1, slot].clone()
            empty = without_content(x_i, _baseline(baseline, pixels, i) if isinstance(baseline, Tensor) else baseline)
            function = OneImage(model, case, mask, name, score.case(i), slot=slot if isinstance(x, Bag) else None)
            heat[i, slot] = attribute(function, x_i, empty)[0].detach()
        return heat if isinstance(x, Bag) else heat.squeeze(1)


def _baseline(baseline: Tensor, pixels: Tensor, i: int) -> Tensor:
    """The baseline of one case's images, from one that broadcasts to those of all cases."""
    shape = (len(pixels), *pixels.shape[2:])
    try:
        return baseline.expand(shape)[i : i + 1]
    except RuntimeError as error:
        raise ValueError(
            f"baseline expects a shape that broadcasts to that of the images, {shape}, got {tuple(baseline.shape)}"
        ) from error
