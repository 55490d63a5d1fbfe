"""Small residual networks in plain torch, 2D and 3D, trained from scratch."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.backbones.base import Backbone
from mmfusion.options import Channels, Depth, Length, PerAxis, Range, Stages, Width
from mmfusion.registry import backbones

CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL: dict[int, Callable[..., Tensor]] = {2: F.avg_pool2d, 3: F.avg_pool3d}


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalization around a shortcut (He et al., 2016, basic block), and room for a third
    summand.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        stride: Stride along each spatial axis; as many as there are axes.
        kernel: Width of the two convolutions along each axis, odd; None for 3.
        pooled: The shortcut takes the mean over the stride, and then a 1-wide convolution without one, so that no
            position is passed over (He et al., 2019, ResNet-D).
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        stride: tuple[int, ...],
        kernel: tuple[int, ...] | None = None,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        n_axes = len(stride)
        conv, norm = CONV[n_axes], NORM[n_axes]
        kernel = kernel or (3,) * n_axes
        padding = tuple(width // 2 for width in kernel)
        self.conv1 = conv(n_in, n_out, kernel, stride=stride, padding=padding, bias=False)
        self.norm1 = norm(n_out)
        self.conv2 = conv(n_out, n_out, kernel, stride=1, padding=padding, bias=False)
        self.norm2 = norm(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out or set(stride) != {1}:
            step = (1,) * n_axes if pooled else stride
            project = [CONV[n_axes](n_in, n_out, 1, stride=step, bias=False), norm(n_out)]
            self.shortcut = nn.Sequential(*([MeanPool(stride)] if pooled else []), *project)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Shape ``(b, n_in, *spatial)`` to ``(b, n_out, *spatial / stride)``; ``beside`` has the latter's shape."""
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if beside is not None:
            out = out + beside
        return F.relu(out + self.shortcut(x))


class MeanPool(nn.Module):
    """The mean over each stride; what sticks out at the end is left out of it.

    Args:
        stride: Along each spatial axis.
    """

    def __init__(self, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(b, c, *spatial)`` to ``(b, c, *spatial / stride)``."""
        window = tuple(min(s, n) for s, n in zip(self.stride, x.shape[2:], strict=True))
        return _POOL[len(window)](x, window, self.stride, ceil_mode=True, count_include_pad=False)


class StagedNetwork(Backbone):
    """A network whose stages follow each other; a subclass appends them to ``stages`` and defines :meth:`stem`.

    Args:
        in_channels: Channels of the image.
        widths: Channels of each stage.
        strides: Stride of each stage along each spatial axis; the first includes what lies before it.
        n_stages: How many stages' maps to give, counted from the last; what lies before belongs to the stem. None:
            all.

    Raises:
        ValueError: If there are fewer stages.
    """

    can_recompute = True

    def __init__(
        self, in_channels: int, widths: Sequence[int], strides: Sequence[tuple[int, ...]], *, n_stages: int | None
    ) -> None:
        first = 0 if n_stages is None else len(widths) - n_stages
        if first < 0:
            raise ValueError(f"n_stages expects 1 to {len(widths)} stages, got {n_stages}")
        reductions = list(itertools.accumulate(strides, lambda r, s: tuple(map(math.prod, zip(r, s, strict=True)))))
        super().__init__(
            channels=tuple(widths[first:]),
            reductions=tuple(reductions[first:]),
            mean=(0.5,) * in_channels,
            std=(0.5,) * in_channels,
        )
        self._first = first
        self.stages = nn.ModuleList()

    def stage(self, i: int, x: Tensor) -> Tensor:
        """One stage, counted from 0."""
        return self.run([self.stages[self._first + i]], x)


@backbones.register("convnet")
class ConvNet(StagedNetwork):
    """A small residual network, trained from scratch: by default four stages, 0.3 million parameters in 2D.

    Args:
        in_channels: Channels of the image.
        n_axes: 2 for images, 3 for volumes.
        widths: Channels of each stage.
        n_blocks: Residual blocks a stage.
        stem_stride: Stride of the first convolution, along each axis or one for all.
        stage_strides: Stride of each stage, along each axis or one for all; the default is 1, then 2. Anisotropic
            volumes take a tuple an axis.
        n_stages: As of :class:`StagedNetwork`.

    Raises:
        ValueError: If an option is out of range, or the numbers of widths, strides and axes do not fit.
    """

    def __init__(
        self,
        *,
        in_channels: Channels = 3,
        n_axes: Annotated[int, Range(2, 3)] = 2,
        widths: Annotated[Sequence[Width], Length(1, 16)] = (16, 32, 64, 128),
        n_blocks: Depth = 1,
        stem_stride: PerAxis = 2,
        stage_strides: Sequence[PerAxis] | None = None,
        n_stages: Stages | None = None,
    ) -> None:
        (entry,) = per_axis("stem_stride", [stem_stride], 1, n_axes)
        given = [1] + [2] * (len(widths) - 1) if stage_strides is None else stage_strides
        strides = per_axis("stage_strides", given, len(widths), n_axes)
        whole = tuple(a * b for a, b in zip(entry, strides[0], strict=True))
        super().__init__(in_channels, widths, [whole, *strides[1:]], n_stages=n_stages)
        self.entry = nn.Sequential(
            CONV[n_axes](in_channels, widths[0], 3, stride=entry, padding=1, bias=False),
            NORM[n_axes](widths[0]),
            nn.ReLU(),
        )
        for n_in, width, stride in zip((widths[0], *widths), widths, strides, strict=False):
            blocks = [ResidualBlock(n_in, width, stride=stride)]
            blocks += [ResidualBlock(width, width, stride=(1,) * n_axes) for _ in range(n_blocks - 1)]
            self.stages.append(nn.Sequential(*blocks))
        start(self)

    def stem(self, x: Tensor) -> Tensor:
        """From images to what the first stage takes."""
        return self.run([self.entry, *self.stages[: self._first]], self.normalise(x))


@backbones.register("tiny_convnet")
class TinyConvNet(ConvNet):
    """:class:`ConvNet` whose first stage halves the map as well: in 2D, a quarter of the computation behind the stem.

    Args:
        in_channels: Channels of the image.
        n_axes: 2 for images, 3 for volumes.
        widths: Channels of each stage.
        n_blocks: Residual blocks a stage.
        n_stages: As of :class:`StagedNetwork`.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        in_channels: Channels = 3,
        n_axes: Annotated[int, Range(2, 3)] = 2,
        widths: Annotated[Sequence[Width], Length(1, 16)] = (16, 32, 64, 128),
        n_blocks: Depth = 1,
        n_stages: Stages | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            n_axes=n_axes,
            widths=widths,
            n_blocks=n_blocks,
            stage_strides=(2,) * len(widths),
            n_stages=n_stages,
        )


def start(network: nn.Module) -> None:
    """Random weights that keep the variance of what flows back (He et al., 2015, eq. 14)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def per_axis(option: str, values: Sequence[PerAxis], n: int, n_axes: int) -> list[tuple[int, ...]]:
    """Strides or widths of filters along each axis, from such or one number for all axes.

    Args:
        option: Name, for messages.
        values: By stage.
        n: How many are needed.
        n_axes: Of the images.

    Raises:
        ValueError: If there are not as many, or of another number of axes.
    """
    along = [(value,) * n_axes if isinstance(value, int) else tuple(value) for value in values]
    if len(along) != n or any(len(value) != n_axes for value in along):
        raise ValueError(f"{option} expects {n} values, each one number or one for each of {n_axes} axes, got {values}")
    return along
