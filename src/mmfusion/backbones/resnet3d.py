"""Residual networks for volumes, which can start from the weights of their 2D counterparts."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor, nn

from mmfusion.backbones.convnets import CONV, ResidualBlock, StagedNetwork, per_axis, start
from mmfusion.backbones.timm2d import per_channel
from mmfusion.backbones.timm_models import create_timm
from mmfusion.backbones.weights import load_matching, read_weights
from mmfusion.option_checks import checked
from mmfusion.options import Axes, Channels, Length, Pixels, Positive, Range
from mmfusion.registry import backbones

_BLOCKS: dict[Literal[10, 18, 34], tuple[int, ...]] = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_FLAT = {10: "resnet10t", 18: "resnet18", 34: "resnet34"}
"""The 2D network of each depth, by timm's name: the same layers, so the same weights."""

_WIDTHS = (64, 128, 256, 512)
_SMALLEST = 4
"""Voxels along an axis that are not shrunk any more by themselves."""

Triple = tuple[int, int, int]
Along: TypeAlias = Annotated[Sequence[Annotated[int, Range(1, 255)]], Length(3)]
"""One number along each axis."""
FiveTriples: TypeAlias = Annotated[Sequence[Along], Length(5)]


def plan(
    size: Sequence[int] | None, spacing: Sequence[float] | None = None
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Strides and kernels that first make voxels cubes and then shrink all axes alike (after Isensee et al., 2021).

    An axis is coarse while its voxels are at least twice as long as those of the finest axis that can still shrink. A
    coarse axis is neither shrunk nor convolved over, and no axis is shrunk below 4 voxels. Volumes of 128 x 128 x 24
    end in maps of 4 x 4 x 6; with large cubes happens what the 2D network does with squares.

    Args:
        size: Voxels along each of three axes; None for a large cube.
        spacing: Distance between voxels along each axis; None takes the volume for as long along each axis.

    Returns:
        Strides of the first convolution, of the pooling and of stages 2 to 4; and for the first convolution and for
        stages 1 to 4 whether their kernels reach along each axis, 1, or not, 0.
    """
    left = list(size or (1024,) * 3)
    apart = _lengths(left, spacing)
    strides: list[tuple[int, ...]] = []
    reach = [_fine(left, apart)]
    for _ in range(5):
        strides.append(tuple(2 if f and n >= 2 * _SMALLEST else 1 for n, f in zip(left, reach[-1], strict=True)))
        left = [-(-n // s) for n, s in zip(left, strides[-1], strict=True)]
        apart = [a * s for a, s in zip(apart, strides[-1], strict=True)]
        reach.append(_fine(left, apart))
    return strides, [reach[0], *reach[2:]]  # the pooling follows the first convolution at once


def coarsest(size: Sequence[int], spacing: Sequence[float] | None = None) -> int:
    """The axis with the longest voxels, the last of several; where the spacing is not known, that with the fewest."""
    apart = _lengths(size, spacing)
    return max(range(len(apart)), key=lambda axis: (apart[axis], axis))


def _lengths(size: Sequence[int], spacing: Sequence[float] | None) -> list[float]:
    return list(spacing) if spacing is not None else [max(size) / n for n in size]


def _fine(left: Sequence[int], apart: Sequence[float]) -> tuple[int, ...]:
    """Which axes are not coarse; where none can shrink any more, all."""
    coarse = 2 * min([a for n, a in zip(left, apart, strict=True) if n >= 2 * _SMALLEST], default=math.inf)
    return tuple(int(a < coarse) for a in apart)


def inflate(kernel: Tensor, width: int, *, axis: int) -> Tensor:
    """A 2D kernel repeated along a third axis and divided by its width there.

    On a volume that is constant along that axis it gives what the 2D kernel gives on one slice (Carreira and
    Zisserman, 2017, arXiv 1705.07750, section 2.4).

    Args:
        kernel: Shape ``(n_out, n_in, height, width)``.
        width: Of the new axis.
        axis: Which of the three axes is the new one, 0 to 2.

    Returns:
        The kernel with one axis more.
    """
    return kernel.unsqueeze(2 + axis).repeat_interleave(width, 2 + axis) / width


class ResNet3d(StagedNetwork):
    """A ResNet of basic blocks over volumes (Hara et al., 2018, arXiv 1711.09577, table 1).

    Its layers are those of timm's ResNet of the same depth, with a third axis, so it can start from the 2D weights:
    they are inflated along the depth.

    NOTE[DIFF] from the paper, whose inputs are videos: strides and kernels follow the shape of the volume
    (:func:`plan`) and not ``(1, 2, 2)`` in the first layer; the shortcuts that change the width are projections (type
    B), for the 2D weights have them; depth 10, which the paper does not have, is the network of ``resnet10t``, with a
    stem of three convolutions and pooled shortcuts.

    Args:
        depth: 10, 18 or 34.
        in_channels: Channels of the volume.
        size: Voxels along each axis, from which strides and kernels are planned; None plans for a large cube.
        spacing: Distance between voxels along each axis, where known.
        strides: Strides of the first convolution, of the pooling and of stages 2 to 4, instead of planned ones.
        kernels: Widths of the first convolution and of those in stages 1 to 4, odd, instead of planned ones. The
            first convolution of depth 10 is three, each of that width.
        depth_axis: Which axis the slices follow each other on: the one that 2D weights are inflated along. None for
            the coarsest, the last of several.
        n_stages: How many of the 4 stages' maps to give, counted from the last.
        weights: ``"none"``; ``"pretrained"`` for the 2D network's; or a file of the 2D network's or of this one's.

    Raises:
        ValueError: If an option is out of its range, or the weights are of another architecture.
    """

    @checked
    def __init__(
        self,
        depth: Literal[10, 18, 34] = 18,
        *,
        in_channels: Channels = 3,
        size: Annotated[Sequence[Pixels], Length(3)] | None = None,
        spacing: Annotated[Sequence[Positive], Length(3)] | None = None,
        strides: FiveTriples | None = None,
        kernels: FiveTriples | None = None,
        depth_axis: Annotated[int, Range(-3, 2)] | None = None,
        n_stages: Annotated[int, Range(1, 4)] = 4,
        weights: str | Path = "none",
    ) -> None:
        if any(width % 2 == 0 for kernel in kernels or () for width in kernel):
            raise ValueError(f"kernels must be odd along every axis, got {kernels}")
        tiered = depth == 10
        planned, reach = plan(size, spacing)
        strides = per_axis("strides", strides or planned, 5, 3)
        if kernels is None:
            widths = (3 if tiered else 7, 3, 3, 3, 3)
            kernels = [[width**r for r in along] for width, along in zip(widths, reach, strict=True)]
        kernels = per_axis("kernels", kernels, 5, 3)
        before = tuple(map(math.prod, zip(*strides[:2], strict=True)))
        super().__init__(in_channels, _WIDTHS, [before, *strides[2:]], n_stages=n_stages)
        self.depth = depth
        self.name = f"resnet3d{depth}"
        self.strides, self.kernels = strides, kernels
        self.depth_axis = coarsest(size or (1, 1, 1), spacing) if depth_axis is None else depth_axis % 3
        self.entry = _entry((in_channels, 24, 32, 64) if tiered else (in_channels, 64), kernels[0], strides[0])
        self.norm = nn.BatchNorm3d(64)
        self.act = nn.ReLU()
        window = tuple(3 if stride > 1 else 1 for stride in strides[1])
        self.pool = nn.MaxPool3d(window, strides[1], padding=_half(window))
        n_in = 64
        steps = [(1, 1, 1), *strides[2:]]
        for n_blocks, width, stride, kernel in zip(_BLOCKS[depth], _WIDTHS, steps, kernels[1:], strict=True):
            block = partial(ResidualBlock, kernel=kernel, pooled=tiered)
            blocks = [block(n_in, width, stride=stride)]
            blocks += [block(width, width, stride=(1, 1, 1)) for _ in range(n_blocks - 1)]
            self.stages.append(nn.Sequential(*blocks))
            n_in = width
        start(self)
        if str(weights) != "none":
            self._load(weights)

    def stem(self, x: Tensor) -> Tensor:
        """From volumes to what the first stage takes."""
        entry = [self.entry, self.norm, self.act, self.pool]
        return self.run([*entry, *self.stages[: self._first]], self.normalise(x))

    def _load(self, weights: str | Path) -> None:
        """Weights of this network from a file, or inflated ones of the 2D network."""
        if str(weights) not in ("pretrained", "bundled"):
            state = read_weights(weights)
            if any(value.ndim == 5 for value in state.values()):
                load_matching(self, state, source=repr(str(weights)))
                return
        plane = [axis for axis in range(3) if axis != self.depth_axis]
        if any(kernel[axis] == 1 for kernel in self.kernels for axis in plane):
            raise ValueError(
                f"2D weights are inflated along axis {self.depth_axis}, and need kernels of full width along the "
                f"others, got {self.kernels}: give kernels or depth_axis, or take weights='none'"
            )
        in_channels = len(self.mean)
        flat = create_timm(_FLAT[self.depth], in_channels, None, weights)
        for buffer, theirs in ((self.mean, "mean"), (self.std, "std")):
            buffer.copy_(torch.tensor(per_channel(flat.pretrained_cfg[theirs], in_channels)))
        shapes = {key: value.shape for key, value in self.state_dict().items()}
        state = {"mean": self.mean, "std": self.std}
        for key, value in flat.state_dict().items():
            key = _renamed(key)
            if value.ndim == 4 and key in shapes:
                value = inflate(value, shapes[key][2 + self.depth_axis], axis=self.depth_axis)
            state[key] = value
        load_matching(self, state, source=f"the 2D {_FLAT[self.depth]} ({weights})", head="fc")


def _renamed(key: str) -> str:
    """Timm's name of a 2D weight to the name here."""
    top, _, rest = key.partition(".")
    if top == "conv1":
        return f"entry.{rest if rest != 'weight' else '0.weight'}"
    if top == "bn1":
        return f"norm.{rest}"
    if top.startswith("layer"):
        rest = rest.replace("bn", "norm").replace("downsample", "shortcut")
        return f"stages.{int(top.removeprefix('layer')) - 1}.{rest}"
    return key


def _entry(widths: Sequence[int], kernel: tuple[int, ...], stride: tuple[int, ...]) -> nn.Sequential:
    """One convolution or several, the first of them with the stride; the norm of the last is the network's."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.BatchNorm3d(n_in), nn.ReLU()] if layers else []
        step = (1, 1, 1) if layers else stride
        layers.append(CONV[3](n_in, n_out, kernel, stride=step, padding=_half(kernel), bias=False))
    return nn.Sequential(*layers)


def _half(kernel: Sequence[int]) -> tuple[int, ...]:
    return tuple(width // 2 for width in kernel)


def _register(depth: Literal[10, 18, 34]) -> None:
    @backbones.register(f"resnet3d{depth}")
    def build(
        *,
        in_channels: Channels = 1,
        n_axes: Annotated[int, Range(2, 3)] = 3,
        n_stages: Annotated[int, Range(1, 4)] = 4,
        size: Axes | None = None,
        spacing: Sequence[Positive] | None = None,
        weights: str | Path = "none",
    ) -> ResNet3d:
        """A residual network for volumes; its weights can be those of the 2D network."""
        if n_axes != 3:
            raise ValueError(f"'resnet3d{depth}' encodes volumes, got images of {n_axes} axes: take {_FLAT[depth]!r}")
        return ResNet3d(depth, in_channels=in_channels, size=size, spacing=spacing, n_stages=n_stages, weights=weights)


for _depth in _BLOCKS:
    _register(_depth)
