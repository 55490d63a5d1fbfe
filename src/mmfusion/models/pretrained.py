"""A model in a folder of its own, in the layout of the Hugging Face hub: ``config.json`` and ``model.safetensors``.

Nothing of the folder is executed: it holds names and options of registered parts, and numbers.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmfusion.data.whole_files import replace_file
from mmfusion.models.assembly import assemble
from mmfusion.models.blueprint import Blueprint
from mmfusion.models.fusion_model import FusionModel
from mmfusion.packed import entries
from mmfusion.registry import named
from mmfusion.spec import DataSpec
from mmfusion.utils.finite import require_finite
from mmfusion.utils.optional import need

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FORMAT = 1


def save_pretrained(model: nn.Module, place: str | Path) -> None:
    """Write a model's blueprint, the spec of its data and its weights.

    Args:
        model: A fusion model with a blueprint, as every registered method's.
        place: The folder; it is made if it does not exist, and files of these names are replaced.

    Raises:
        ValueError: If the model has no blueprint, or the blueprint has options for Python only.
    """
    if not isinstance(model, FusionModel) or model.blueprint is None or model.spec is None:
        raise ValueError(
            f"save_pretrained expects a model that was made from a blueprint, as create_model's, got "
            f"{type(model).__name__} without one: save its state_dict, or export it as a program"
        )
    safetensors = need("safetensors.torch", "bench")
    config = {"format": FORMAT, "blueprint": _without_weights(model.blueprint.to_dict()), "spec": model.spec.to_dict()}
    place = Path(place)
    place.mkdir(parents=True, exist_ok=True)
    weights = {name: x.detach().to("cpu", copy=True).contiguous() for name, x in model.state_dict().items()}
    replace_file(
        place / WEIGHTS, safetensors.save(weights, {"format": "pt", "mmfusion": json.dumps({"format": FORMAT})})
    )
    replace_file(place / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def from_pretrained(place: str | Path) -> FusionModel:
    """A model from the folder of :func:`save_pretrained`, in evaluation mode; no network is needed.

    Args:
        place: The folder. What lies on a hub is fetched before, as by ``huggingface_hub.snapshot_download``. Parts of a
            plug-in must be registered.

    Raises:
        FileNotFoundError: If a file is missing; names it.
        ValueError: If a file is damaged, of a newer version, the weights are of another model or not all finite, or the
            blueprint names a part that is not registered.
    """
    place = Path(place)
    for name in (CONFIG, WEIGHTS):
        if not (place / name).is_file():
            raise FileNotFoundError(f"{place} is no folder of a pretrained model: {name} is missing")
    config = _config(place / CONFIG)
    blueprint, spec = Blueprint.from_dict(_without_weights(config["blueprint"])), DataSpec.from_dict(config["spec"])
    safetensors = need("safetensors", "bench")
    try:
        weights = need("safetensors.torch", "bench").load_file(place / WEIGHTS)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{place / WEIGHTS} is damaged: {error}") from error
    with torch.device("meta"):
        shapes = assemble(blueprint, spec)
    try:
        # Before memory is taken for a model that the weights are not of.
        shapes.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        first = " ".join(str(error).splitlines()[1:3]).strip()
        raise ValueError(f"{place / WEIGHTS} holds the weights of another model: {first}") from error
    model = assemble(blueprint, spec)
    require_finite(weights, place / WEIGHTS, model.state_dict())
    model.load_state_dict(weights)
    return model.eval()


def _config(path: Path) -> dict[str, Any]:
    try:
        content = entries(json.loads(path.read_text(encoding="utf-8")), "the file", "format", "blueprint", "spec")
        blueprint, spec = entries(content["blueprint"], "blueprint", "encoder"), entries(content["spec"], "spec")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {content['format']!r}, this version of mmfusion reads {FORMAT}: use the version that "
            "wrote it"
        )
    return {"blueprint": dict(blueprint), "spec": dict(spec)}


def _without_weights(blueprint: dict[str, Any]) -> dict[str, Any]:
    """Of the encoder's weights those in the folder alone: nothing is downloaded, no file is read."""
    name, options = named(blueprint["encoder"], "backbone")
    if "weights" in options:
        options["weights"] = "none"
    return {**blueprint, "encoder": {"name": name, **options}}
