"""What an encoder costs: parameters, and forward and backward, with random weights."""

import argparse
import statistics
from collections.abc import Callable

import torch

import mmfusion as mmf
from mmfusion.backbones import create_backbone
from speed.timing import DEVICE, medians, spread

PHOTOGRAPHS = [
    "convnet",
    "mobilenetv4_conv_small",
    "tf_efficientnet_lite0",
    "resnet18",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
]
VOLUMES = ["convnet", "resnet3d10", "resnet3d18", "res_mamba", "slices/resnet18"]


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("encoders", help="parameters and time of image encoders")
    parser.add_argument("--size", type=int, nargs="+", default=[224, 224], help="of photographs")
    parser.add_argument("--volume", type=int, nargs="+", default=[128, 128, 24])
    parser.add_argument("--batch-size", type=int, default=4, help="of photographs; volumes come two at a time")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=5)
    parser.set_defaults(function=encoders)


def encoders(options: argparse.Namespace) -> None:
    """All of them in turn, photographs and volumes apart."""
    for names, image, rows in (
        (PHOTOGRAPHS, mmf.Image(3, tuple(options.size)), options.batch_size),
        (VOLUMES, mmf.Image(1, tuple(options.volume)), 2),
    ):
        torch.manual_seed(0)
        x = torch.rand(rows, *image.shape, device=options.device)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        functions: dict[str, Callable[[], None]] = {}
        parameters: dict[str, int] = {}
        for name in names:
            encoder = create_backbone(name, image).train().to(options.device)
            if x.ndim == 4:
                encoder = encoder.to(memory_format=torch.channels_last)

            def step(encoder: torch.nn.Module = encoder, x: torch.Tensor = x) -> None:
                encoder.zero_grad()
                sum(level.square().mean() for level in encoder(x)).backward()

            functions[name], parameters[name] = step, sum(p.numel() for p in encoder.parameters())
        seconds = medians(functions, options.repeats)
        print(f"{rows} images of {image.shape}")
        for name, values in sorted(seconds.items(), key=lambda item: statistics.median(item[1])):
            per_image = spread([1e3 * second / rows for second in values], ".0f")
            print(f"  {name:30s} {parameters[name] / 1e6:6.2f} million parameters   {per_image} ms an image")
