"""Numbers of every registered model, to hold them where the package is built anew around them.

Weights are generated from their names, so that they are the same on every machine and in any order; a part that moves
or is renamed keeps its numbers through a map of names. ``python tests/model_numbers.py`` writes ``golden/models.json``.
"""

import json
import math
import sys
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mmfusion as mmf
from golden_numbers import FOLDER, generated
from small import loss_inputs, make_inputs, make_labels, make_spec

FILE = FOLDER / "models.json"
LAYOUTS: dict[str, dict[str, Any]] = {
    "two_images": {"images": 2, "size": (16, 16)},
    "volume": {"images": 1, "size": (8, 8, 8)},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"tip, pretrained": ("tip", {"pretrain": True, "mask_rate": 0.75})}
N = 4


def fill(module: nn.Module, names: dict[str, str] | None = None) -> None:
    """Give every floating-point parameter and buffer of a module its generated numbers.

    Args:
        module: Changed in place.
        names: By name in the module, the name that the numbers belong to, where it is another.
    """
    for name, x in module.state_dict(keep_vars=True).items():
        if not x.is_floating_point() or not x.ndim:
            continue
        known = (names or {}).get(name, name)
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


def build(name: str, layout: str) -> tuple[mmf.DataSpec, nn.Module]:
    """A model with generated weights, float64, in eval mode."""
    spec = make_spec(**LAYOUTS[layout])
    model, options = VARIANTS.get(name, (name, {}))
    torch.manual_seed(0)
    built = mmf.create_model(model, spec, **options)
    fill(built)
    return spec, built.double().eval()


def double(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: mmf.Table(x.numerical.double(), x.categorical) if isinstance(x, mmf.Table) else x.double()
        for name, x in inputs.items()
    }


def numbers(name: str, layout: str) -> dict[str, Any]:
    """Outputs, embeddings, losses and the norm of each parameter's gradient, of all phases."""
    spec, model = build(name, layout)
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
    for phase in model.phases():
        torch.manual_seed(0)
        terms = phase.objective(loss_inputs((phase.model or model)(inputs, present), labels, present))
        found["losses"][phase.name] = {key: value.item() for key, value in terms.items()}
        model.zero_grad()
        sum(terms.values()).backward()
        found["gradients"][phase.name] = {
            key: p.grad.norm().item() for key, p in model.named_parameters() if p.grad is not None
        }
    return found


def main() -> None:
    torch.set_num_threads(1)
    names = [*mmf.registry.models.list(), *VARIANTS]
    stored: dict[str, Any] = {}
    for layout in LAYOUTS:
        for name in names:
            stored[f"{name} | {layout}"] = numbers(name, layout)
    FILE.write_text(json.dumps(stored, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
