"""Numbers of every registered model, to hold them where the package is built anew around them.

Weights are generated from their names, so that they are the same on every machine and in any order; a part that moved
or was renamed keeps its numbers through a map to the name that they were stored by, :func:`stored_name`.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import mmfusion as mmf
from helpers.golden_numbers import FOLDER, generated
from helpers.small import loss_inputs, make_inputs, make_labels, make_spec
from mmfusion.models import Phase
from mmfusion.training.phases import phases_of

FILE = FOLDER / "models.json"
LAYOUTS: dict[str, dict[str, Any]] = {
    "two_images": {"images": 2, "size": (16, 16)},
    "volume": {"images": 1, "size": (8, 8, 8)},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"tip, pretrained": ("tip", {"pretrain": True, "mask_rate": 0.75})}
N = 4


RENAMED = (
    ("encoders.backbones.", "encoders."),
    ("encoders.fusions.", "modulators."),
    ("context.tokenizers.", "context."),
    ("pooling.query.", "readout.ask."),
    ("pooling.", "readout."),
    ("vectors.", "head.fusion."),
)
PHASES = {"mmcl": {"finetune": "train"}, "mmcl_image": {"finetune": "train"}}
"""What phases were called when the numbers were stored."""


def stored_name(name: str, model: str) -> str:
    """What a parameter was called when the numbers were stored."""
    for new, old in RENAMED:
        if name.startswith(new):
            name = old + name.removeprefix(new)
            break
    if name.startswith("tokenizers."):
        name = name.replace(".normalize.", ".normalise.")
    if model == "mbt" and name.startswith("head."):
        name = name.replace("head.", "head.classifiers.all.", 1)
    elif model in ("late", "tip") and name.startswith("head."):
        name = name.replace("head.", "head.heads." if model == "late" else "head.classifiers.", 1)
    return name


def stored_part(name: str, model: str) -> str:
    """The same for the parts of a pretraining."""
    return f"{'pretraining' if model == 'tip' else 'contrast'}.{name}"


def fill(module: nn.Module, name_of: Callable[[str], str] = str) -> None:
    """Give every floating-point parameter and buffer of a module its generated numbers.

    Args:
        module: Changed in place.
        name_of: From a name in the module to the one that the numbers belong to.
    """
    for name, x in module.state_dict(keep_vars=True).items():
        if not x.is_floating_point() or not x.ndim:
            continue
        known = name_of(name)
        seed = zlib.crc32(known.encode())
        last = known.rpartition(".")[2]
        if x.ndim > 1:
            value = generated(tuple(x.shape), seed, 1.7 / math.sqrt(math.prod(x.shape[1:])))
        else:
            value = generated(tuple(x.shape), seed, 0.3)
            if last == "running_var":
                value = 1 + value.abs()
            elif last == "weight":
                value = 1 + value
        with torch.no_grad():
            x.copy_(value)


def build(name: str, layout: str) -> tuple[mmf.DataSpec, nn.Module, list[Phase]]:
    """A model with generated weights, float64, in eval mode, and its phases."""
    spec = make_spec(**LAYOUTS[layout])
    method, options = VARIANTS.get(name, (name, {}))
    torch.manual_seed(0)
    model = mmf.create_model(method, spec, **options)
    phases = phases_of(model)
    for phase in phases:
        if phase.model is not None:
            fill(phase.model, lambda key: stored_part(key, method))
            phase.model.double().eval()
        phase.loss.double().eval()
    fill(model, lambda key: stored_name(key, method))
    return spec, model.double().eval(), phases


def double(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: mmf.Table(x.numerical.double(), x.categorical) if isinstance(x, mmf.Table) else x.double()
        for name, x in inputs.items()
    }


def numbers(name: str, layout: str) -> dict[str, Any]:
    """Outputs, embeddings, losses and the norm of each parameter's gradient, of all phases."""
    spec, model, phases = build(name, layout)
    method = VARIANTS.get(name, (name, {}))[0]
    # The generators of torch differ between versions: pixels and cells come from ours.
    inputs = double(make_inputs(spec, N))
    for key, x in inputs.items():
        if isinstance(x, Tensor):
            inputs[key] = generated(tuple(x.shape), zlib.crc32(key.encode()), 0.5).double() + 0.5
    g = generated((N, 2), 7, 1.5).double()
    for table in spec.tables:
        inputs[table] = mmf.Table(g, torch.tensor([[0, 1], [1, 3], [-1, 0], [1, 2]]))
    present = {"image0": torch.tensor([True, False, True, True])}
    labels = make_labels(spec, N)
    with torch.no_grad():
        output = model(inputs, present)
    found: dict[str, Any] = {
        "outputs": {key: x.tolist() for key, x in output.outputs.items()},
        "embeddings": {key: x.norm(dim=1).tolist() for key, x in output.embeddings.items()},
        "losses": {},
        "gradients": {},
    }
    for phase in phases:
        torch.manual_seed(0)
        terms = phase.loss(loss_inputs((phase.model or model)(inputs, present), labels, present))
        named = PHASES.get(method, {}).get(phase.name, phase.name)
        found["losses"][named] = {key: value.item() for key, value in terms.items()}
        beside = [] if phase.model is None else phase.model.named_parameters()
        parameters = {stored_name(key, method): p for key, p in model.named_parameters()}
        parameters |= {stored_part(key, method): p for key, p in beside if not key.startswith("model.")}
        for p in parameters.values():
            p.grad = None
        sum(terms.values()).backward()
        found["gradients"][named] = {key: p.grad.norm().item() for key, p in parameters.items() if p.grad is not None}
    return found
