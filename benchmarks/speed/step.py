"""A training step of CFCML against the bare encoder."""

import argparse
import statistics

import timm
import torch
from torch import Tensor, nn

import mmfusion as mmf
from speed.timing import DEVICE, medians


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("step", help="a CFCML training step against the bare encoder")
    parser.add_argument("--encoder", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=36)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=11)
    parser.set_defaults(function=step)


def step(options: argparse.Namespace) -> None:
    """A training step of CFCML, forward, losses and backward, against forward and backward of timm's own encoder."""
    torch.manual_seed(0)
    size = (options.size, options.size)
    names = [f"image{i}" for i in range(options.images)]
    spec = mmf.DataSpec(
        {name: mmf.Image(3, size) for name in names}
        | {"meta": mmf.Columns(numerical=("age",), categorical=(("sex", 2), ("localization", 14)))},
        n_classes=options.classes,
    )
    device, rows = torch.device(options.device), options.batch_size

    def on_device(x: Tensor) -> Tensor:
        return x.to(device, memory_format=torch.channels_last) if x.ndim == 4 else x.to(device)

    images = {name: on_device(torch.rand(rows, 3, *size)) for name in names}
    table = mmf.Table(on_device(torch.randn(rows, 1)), on_device(torch.randint(0, 2, (rows, 2))))
    labels = on_device(torch.arange(rows) % options.classes)
    level_options = {"img_size": size} if "swin" in options.encoder else {}
    bare: nn.Module = timm.create_model(options.encoder, features_only=True, pretrained=False, **level_options)
    bare = bare.train().to(device, memory_format=torch.channels_last)
    model = mmf.create_model("cfcml", spec, encoder=options.encoder).train()
    model = model.to(device, memory_format=torch.channels_last)
    objective = mmf.create_loss(model)
    together = torch.cat(list(images.values()))
    inputs: dict[str, Tensor | mmf.Table] = {**images, "meta": table}

    def encoder_step() -> None:
        bare.zero_grad()
        sum(level.sum() for level in bare(together)).backward()

    def training_step() -> None:
        model.zero_grad()
        output = model(inputs)
        losses = objective(mmf.LossInputs(output.outputs, output.embeddings, {"label": labels}, {}, {}))
        sum(losses.values()).backward()

    def forward() -> None:
        model(inputs)

    def encode() -> None:
        model.encoders.backbones[names[0]](together)

    def tokenize() -> None:
        levels = model.encoders.backbones[names[0]](together)
        for i, name in enumerate(names):
            model.tokenizers[name]([level[i * rows : (i + 1) * rows] for level in levels])
        model.tokenizers["meta"](table)

    def loss_alone() -> None:
        embeddings = {name: torch.randn(rows, 128, device=device, requires_grad=True) for name in spec.names}
        outputs = {"label": torch.randn(rows, options.classes, device=device, requires_grad=True)}
        sum(objective(mmf.LossInputs(outputs, embeddings, {"label": labels}, {}, {})).values()).backward()

    seconds = medians(
        {
            "bare encoder, forward and backward": encoder_step,
            "CFCML training step": training_step,
            "  forward": forward,
            "    of it, encoder": encode,
            "    of it, encoder and tokenizers": tokenize,
            "  losses, forward and backward, alone": loss_alone,
        },
        options.repeats,
    )
    whole = statistics.median(seconds["CFCML training step"])
    print("median, fastest and slowest; the last column is the share of the training step")
    for name, values in seconds.items():
        middle = statistics.median(values)
        spread = f"({min(values) * 1e3:.1f} to {max(values) * 1e3:.1f})"
        print(f"{name:36s} {middle * 1e3:7.1f} ms {spread:18s} {middle / whole:6.1%}")
    pairs = zip(seconds["CFCML training step"], seconds["bare encoder, forward and backward"], strict=True)
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"step over bare encoder, pair by pair: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    )
