"""Parameters and seconds of each token compression, forward and backward."""

import argparse
import statistics

import torch
from torch import nn

from mmfusion.layers.compression import TokenShape, create_compression
from mmfusion.registry import Choice
from mmfusion.tokens import Tokens
from speed.timing import DEVICE, medians

SETTINGS = {
    # name: batch, latents, maps, channels last
    "MEN": (2, 48, [(16, 64, 64, 12), (32, 32, 32, 6), (64, 16, 16, 3), (128, 8, 8, 2)], False),
    "Swin-T": (8, 32, [(96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7)], True),
}
CHOICES: dict[str, Choice] = {
    "conv": "conv",
    "resampler": "resampler",
    "resampler, depth 1": {"name": "resampler", "depth": 1},
    "resampler, width 64": {"name": "resampler", "width": 64},
    "pool": "pool",
    "topk": "topk",
}


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("compression", help="parameters and time of each token compression")
    parser.add_argument("--masked", action="store_true", help="with a fifth of the tokens masked")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=15)
    parser.set_defaults(function=compression)


def compression(options: argparse.Namespace) -> None:
    """All of them on the stages of CFCML's two settings, in turn."""
    torch.manual_seed(0)
    for setting, (batch, n_latents, maps, channels_last) in SETTINGS.items():
        functions, parameters = {}, {}
        for label, choice in CHOICES.items():
            for shape in maps:
                compress = create_compression(choice, TokenShape.of_map(shape), n_latents=n_latents).to(options.device)
                x = torch.randn(batch, *shape, device=options.device)
                if channels_last:
                    x = x.to(memory_format=torch.channels_last)
                x.requires_grad_()
                n = x[0, 0].numel()
                mask = torch.rand(batch, n, device=options.device) < 0.8 if options.masked else None
                direction = torch.randn(batch, n_latents, shape[0], device=options.device)

                def step(compress: nn.Module = compress, x=x, mask=mask, direction=direction) -> None:
                    compress.zero_grad()
                    x.grad = None
                    (compress(Tokens(x.flatten(2).transpose(1, 2), mask)) * direction).sum().backward()

                key = (label, n, shape[0])
                functions[key], parameters[key] = step, sum(p.numel() for p in compress.parameters())
        seconds = medians(functions, options.repeats)
        print(
            f"{setting}: batch {batch}, {n_latents} latents, masked {options.masked}, {torch.get_num_threads()} threads"
        )
        middle = {key: statistics.median(values) * 1e3 for key, values in seconds.items()}
        for label in CHOICES:
            keys = [key for key in functions if key[0] == label]
            cells = [f"{middle[key]:8.2f} ms ({parameters[key]:>9,})" for key in keys]
            total = f"{sum(middle[key] for key in keys):8.2f} ms ({sum(parameters[key] for key in keys):>10,})"
            print(f"  {label:20s}" + " ".join(cells) + "   sum " + total)
