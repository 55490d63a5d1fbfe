"""What each method costs: parameters, operations, and a training step over that of concatenation."""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import mmfusion as mmf
from mmfusion.experiments import environment
from mmfusion.models import FusionModel, Phase
from mmfusion.tokens import LossInputs
from mmfusion.training.phases import phases_of
from speed.timing import DEVICE, medians, spread

REFERENCE = "concat"
COLUMNS = mmf.Columns(numerical=("age", "size"), categorical=(("sex", 2), ("site", 9), ("elevation", 3)))


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("models", help="parameters, FLOPs and training step of each method, over concat's")
    parser.add_argument("--model", nargs="+", default=[], help="default: every registered one")
    parser.add_argument("--encoder", default="convnet")
    parser.add_argument("--size", type=int, nargs="+", default=[64, 64], help="pixels, or three axes of voxels")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=11)
    parser.set_defaults(function=models)


def models(options: argparse.Namespace) -> None:
    """One after the other, each in turn with the reference on the same batch."""
    size, rows, device = tuple(options.size), options.batch_size, torch.device(options.device)
    channels = 3 if len(size) == 2 else 1
    names = [f"image{i}" for i in range(options.images)]
    spec = mmf.DataSpec(
        {name: mmf.Image(channels, size) for name in names} | {"meta": COLUMNS}, n_classes=options.classes
    )
    g = torch.Generator().manual_seed(0)
    inputs: dict[str, Tensor | mmf.Table] = {
        name: torch.rand(rows, channels, *size, generator=g).to(device) for name in names
    }
    codes = [torch.randint(0, k, (rows,), generator=g) for k in COLUMNS.cardinalities]
    inputs["meta"] = mmf.Table(torch.randn(rows, 2, generator=g).to(device), torch.stack(codes, 1).to(device))
    targets = {"label": (torch.arange(rows) % options.classes).to(device)}

    def step(model: FusionModel, phase: Phase) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad()
            output = (phase.model or model)(inputs)
            given = LossInputs(output.outputs, output.embeddings, targets, {}, output.aux)
            torch.stack(list(phase.loss(given).values())).sum().backward()

        return run

    def build(name: str) -> FusionModel:
        torch.manual_seed(0)
        known = mmf.registry.models.options(name)
        chosen = {"encoder": options.encoder} if "encoder" in known else {}
        return mmf.create_model(name, spec, **chosen).to(device).train()

    reference = build(REFERENCE)
    print(f"{rows} cases of {options.images} images of {size} and a table, {options.encoder}, on {device}")
    for name in options.model or mmf.registry.models.list():
        try:
            model = build(name)
        except ValueError as error:
            print(f"  {name:20s} {error}")
            continue
        for phase in phases_of(model):
            label = name if phase.name == "train" else f"{name}, {phase.name}"
            times = {
                REFERENCE: step(reference, phases_of(reference)[-1]),
                f"{label} ": step(model, phase),  # a name of its own where it is the reference
            }
            base, own = medians(times, options.repeats).values()
            ratio = spread([one / other for one, other in zip(own, base, strict=True)])
            cost = f"{_parameters(phase) / 1e6:7.3f} M parameters {_flops(model, inputs) / 1e9:8.3f} GFLOPs a case"
            print(f"  {label:20s} {cost}   step over {REFERENCE} {ratio}")


def _parameters(phase: Phase) -> int:
    return sum(parameter.numel() for group in phase.parameters for parameter in group.parameters)


def _flops(model: nn.Module, inputs: dict[str, Tensor | mmf.Table]) -> int:
    """Of a forward pass that predicts one case."""
    return environment.flops(
        model,
        {name: mmf.Table(*(part[:1] for part in x)) if isinstance(x, tuple) else x[:1] for name, x in inputs.items()},
    )
