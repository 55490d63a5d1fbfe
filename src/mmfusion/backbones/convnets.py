"""Small residual networks in plain torch, 2D and 3D, trained from scratch."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.backbones.base import Backbone
from mmfusion.registry import backbones

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ResidualBlock(nn.Module):
    """Two 3-wide convolutions with batch normalisation around a shortcut (He et al., 2016, basic block).

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        stride: Stride along each spatial axis; as many as there are axes.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: tuple[int, ...]) -> None:
        super().__init__()
        conv, norm = _CONV[len(stride)], _NORM[len(stride)]
        self.conv1 = conv(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm(n_out)
        self.conv2 = conv(n_out, n_out, 3, padding=1, bias=False)
        self.norm2 = norm(n_out)
        same = n_in == n_out and set(stride) == {1}
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(conv(n_in, n_out, 1, stride=stride, bias=False), norm(n_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(b, n_in, *spatial)`` to ``(b, n_out, *spatial / stride)``."""
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class ConvNet(Backbone):
    """A residual network of one width a stage.

    Args:
        in_channels: Channels of the image.
        n_axes: 2 for images, 3 for volumes.
        widths: Channels of each stage.
        n_blocks: Residual blocks a stage.
        stem_stride: Stride of the first convolution, along each axis or one for all.
        stage_strides: Stride of each stage, along each axis or one for all; the default is 1, then 2. Anisotropic
            volumes take a tuple an axis.
        n_stages: How many stages' maps to give, counted from the last; what lies before belongs to the stem. None:
            all.

    Raises:
        ValueError: If ``n_axes`` is not 2 or 3, the numbers of widths and strides differ, or a count is out of range.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        n_axes: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128),
        n_blocks: int = 1,
        stem_stride: int | tuple[int, ...] = 2,
        stage_strides: Sequence[int | tuple[int, ...]] | None = None,
        n_stages: int | None = None,
    ) -> None:
        if n_axes not in _CONV:
            raise ValueError(f"n_axes must be 2 or 3, got {n_axes}")
        given = [1] + [2] * (len(widths) - 1) if stage_strides is None else list(stage_strides)
        if len(given) != len(widths):
            raise ValueError(f"one stride a stage is needed: {len(widths)} widths, {len(given)} strides")
        first = 0 if n_stages is None else len(widths) - n_stages
        if not 0 <= first < len(widths) or n_blocks < 1:
            raise ValueError(
                f"there are 1 to {len(widths)} stages of at least 1 block, got {n_stages=} and {n_blocks=}"
            )
        strides = [_per_axis(stride, n_axes) for stride in given]
        reduction = _per_axis(stem_stride, n_axes)
        reductions = []
        for stride in strides:
            reduction = tuple(r * s for r, s in zip(reduction, stride, strict=True))
            reductions.append(reduction)
        super().__init__(
            channels=tuple(widths[first:]),
            reductions=tuple(reductions[first:]),
            mean=(0.5,) * in_channels,
            std=(0.5,) * in_channels,
        )
        self.entry = nn.Sequential(
            _CONV[n_axes](in_channels, widths[0], 3, stride=_per_axis(stem_stride, n_axes), padding=1, bias=False),
            _NORM[n_axes](widths[0]),
            nn.ReLU(),
        )
        self._first = first
        self.stages = nn.ModuleList()
        n_in = widths[0]
        for width, stride in zip(widths, strides, strict=True):
            blocks = [ResidualBlock(n_in, width, stride=stride)]
            blocks += [ResidualBlock(width, width, stride=(1,) * n_axes) for _ in range(n_blocks - 1)]
            self.stages.append(nn.Sequential(*blocks))
            n_in = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, x: Tensor) -> Tensor:
        """From images to what the first stage takes."""
        out: Tensor = self.entry(self.normalise(x))
        for stage in self.stages[: self._first]:
            out = stage(out)
        return out

    def stage(self, i: int, x: Tensor) -> Tensor:
        """One stage, counted from 0."""
        out: Tensor = self.stages[self._first + i](x)
        return out


def _per_axis(stride: int | tuple[int, ...], n_axes: int) -> tuple[int, ...]:
    per_axis = (stride,) * n_axes if isinstance(stride, int) else tuple(stride)
    if len(per_axis) != n_axes:
        raise ValueError(f"a stride for each of {n_axes} axes is needed, got {per_axis}")
    return per_axis


@backbones.register("convnet")
def convnet(
    *, in_channels: int = 3, n_axes: int = 2, widths: Sequence[int] = (16, 32, 64, 128), n_stages: int | None = None
) -> ConvNet:
    """A small residual network without pretrained weights: four stages, 0.3 million parameters in 2D."""
    return ConvNet(in_channels=in_channels, n_axes=n_axes, widths=widths, n_stages=n_stages)
