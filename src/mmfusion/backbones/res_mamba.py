"""ResMamba: a residual network whose later blocks look along all positions of the map, 2D and 3D."""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.backbones.base import Backbone
from mmfusion.backbones.convnets import CONV, NORM, accumulated, start
from mmfusion.layers.mamba import Mamba, flipped_mamba
from mmfusion.options import Channels, Depth, Length, PerAxis, Range, Stages, Width
from mmfusion.registry import backbones


class DoubleConv(nn.Sequential):
    """Two convolutions, each with batch normalization and ReLU; the first one strides.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        stride: Stride along each spatial axis; as many as there are axes.
        kernel: Width of the filters along each axis, odd.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: tuple[int, ...], kernel: tuple[int, ...]) -> None:
        conv, norm, padding = CONV[len(stride)], NORM[len(stride)], _half(kernel)
        # With biases, which the normalization behind cancels: the published parameter count has them.
        super().__init__(
            conv(n_in, n_out, kernel, stride=stride, padding=padding),
            norm(n_out),
            nn.ReLU(),
            conv(n_out, n_out, kernel, padding=padding),
            norm(n_out),
            nn.ReLU(),
        )


class ScanLayer(nn.Module):
    """Mamba over the positions of a map, between two 1-wide convolutions.

    ``a = relu(norm(conv(x)))``; the positions as tokens in row-major order; the mean of Mamba over four flips; plus
    ``a``; ``relu(norm(conv(.)))`` (CFCML's public code).

    Args:
        channels: Channels of the map.
        n_axes: 2 for images, 3 for volumes.
    """

    def __init__(self, channels: int, *, n_axes: int) -> None:
        super().__init__()
        conv, norm = CONV[n_axes], NORM[n_axes]
        self.conv1 = conv(channels, channels, 1, bias=False)
        self.norm1 = norm(channels)
        self.mamba = Mamba(channels)
        self.conv2 = conv(channels, channels, 1, bias=False)
        self.norm2 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(b, channels, *spatial)`` to the same shape."""
        a = F.relu(self.norm1(self.conv1(x)))
        mixed = flipped_mamba(self.mamba, a.flatten(2).transpose(1, 2)).transpose(1, 2)
        return F.relu(self.norm2(self.conv2(mixed.reshape(a.shape) + a)))


class ScannedBlock(nn.Module):
    """Two convolutions with batch normalization around a shortcut, and room for a third summand.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        stride: Stride along each spatial axis; as many as there are axes.
        kernel: Width of the filters along each axis, odd.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: tuple[int, ...], kernel: tuple[int, ...]) -> None:
        super().__init__()
        conv, norm, padding = CONV[len(stride)], NORM[len(stride)], _half(kernel)
        self.conv1 = conv(n_in, n_out, kernel, stride=stride, padding=padding, bias=False)
        self.norm1 = norm(n_out)
        self.conv2 = conv(n_out, n_out, kernel, padding=padding, bias=False)
        self.norm2 = norm(n_out)
        same = n_in == n_out and set(stride) == {1}
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(conv(n_in, n_out, 1, stride=stride, bias=False), norm(n_out))
        )

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Shape ``(b, n_in, *spatial)`` to ``(b, n_out, *spatial / stride)``; ``beside`` has the latter's shape."""
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if beside is not None:
            out = out + beside
        return F.relu(out + self.shortcut(x))


class ResidualStage(nn.Module):
    """Residual blocks; every one but the first also adds a scan layer of what comes into it.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        n_blocks: Number of blocks.
        stride: Stride of the first block along each axis.
        kernel: Width of the filters along each axis, odd.
        scan: False leaves the scan layers out.
        share_scan: One scan layer for all blocks, or one each.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        n_blocks: int,
        stride: tuple[int, ...],
        kernel: tuple[int, ...],
        scan: bool,
        share_scan: bool,
    ) -> None:
        super().__init__()
        still = (1,) * len(stride)
        self.blocks = nn.ModuleList(
            ScannedBlock(n_out if i else n_in, n_out, stride=still if i else stride, kernel=kernel)
            for i in range(n_blocks)
        )
        n_scans = (min(n_blocks - 1, 1) if share_scan else n_blocks - 1) if scan else 0
        # Held here and not by the blocks: a shared layer has one name in the state dict.
        self.scans = nn.ModuleList(ScanLayer(n_out, n_axes=len(stride)) for _ in range(n_scans))

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(b, n_in, *spatial)`` to ``(b, n_out, *spatial / stride)``."""
        for i, block in enumerate(self.blocks):
            scanned = self.scans[(i - 1) % len(self.scans)](x) if i and len(self.scans) else None
            x = block(x, scanned)
        return x


@backbones.register("res_mamba")
class ResMamba(Backbone):
    """CFCML's encoder for volumes (arXiv 2603.20016; details from its public code), trained from scratch.

    The first stage is a double convolution, the others are residual blocks with scan layers. With the defaults and
    volumes of one channel it has 3,417,616 parameters, a third of the 10,252,848 of the published three encoders.

    What the text leaves open, the biases and the shortcut, is chosen to give that number: convolutions with a bias in
    the first stage alone, 1-wide strided shortcuts with a normalization. Shortcuts without one and biases in the scan
    layers would give the same.

    Args:
        in_channels: Channels of the image.
        n_axes: 2 for images, 3 for volumes.
        widths: Channels of each stage.
        n_blocks: Residual blocks in each stage but the first.
        stem_stride: Stride of the first stage, along each axis or one for all.
        stage_strides: Stride of each later stage, along each axis or one for all; the default is 2. Anisotropic
            volumes take a tuple an axis.
        stem_kernel: Width of the first stage's filters, odd, along each axis or one for all.
        stage_kernels: Width of each later stage's filters, likewise; the default is 3.
        scan: False leaves the scan layers out: a plain residual network.
        share_scan: One scan layer for all blocks of a stage, as published, or one each.
        n_stages: How many stages' maps to give, counted from the last; what lies before belongs to the stem. None:
            all.

    Raises:
        ValueError: If ``n_axes`` is not 2 or 3, a kernel is even, the numbers of widths, strides and kernels do not
            fit, or a count is out of range.
    """

    can_recompute = True

    def __init__(
        self,
        *,
        in_channels: Channels = 3,
        n_axes: Annotated[int, Range(2, 3)] = 2,
        widths: Annotated[Sequence[Width], Length(1, 16)] = (16, 32, 64, 128),
        n_blocks: Depth = 3,
        stem_stride: PerAxis = 2,
        stage_strides: Sequence[PerAxis] | None = None,
        stem_kernel: PerAxis = 3,
        stage_kernels: Sequence[PerAxis] | None = None,
        scan: bool = True,
        share_scan: bool = True,
        n_stages: Stages | None = None,
    ) -> None:
        if n_axes not in CONV:
            raise ValueError(f"n_axes must be 2 or 3, got {n_axes}")
        first = 0 if n_stages is None else len(widths) - n_stages
        if not 0 <= first < len(widths) or n_blocks < 1:
            raise ValueError(
                f"there are 1 to {len(widths)} stages of at least 1 block, got {n_stages=} and {n_blocks=}"
            )
        strides = _each_stage("stride", stem_stride, stage_strides, 2, len(widths), n_axes)
        kernels = _each_stage("kernel", stem_kernel, stage_kernels, 3, len(widths), n_axes)
        if any(width % 2 == 0 for kernel in kernels for width in kernel):
            raise ValueError(f"stem_kernel and stage_kernels must be odd along every axis, got {kernels}")
        super().__init__(
            channels=tuple(widths[first:]),
            reductions=tuple(accumulated(strides)[first:]),
            mean=(0.5,) * in_channels,
            std=(0.5,) * in_channels,
        )
        self._first = first
        self.stages = nn.ModuleList([DoubleConv(in_channels, widths[0], stride=strides[0], kernel=kernels[0])])
        for i in range(1, len(widths)):
            self.stages.append(
                ResidualStage(
                    widths[i - 1],
                    widths[i],
                    n_blocks=n_blocks,
                    stride=strides[i],
                    kernel=kernels[i],
                    scan=scan,
                    share_scan=share_scan,
                )
            )
        start(self)  # not Mamba's own convolution, which has one axis

    def stem(self, x: Tensor) -> Tensor:
        """From images to what the first stage takes."""
        return self.run([*self.stages[: self._first]], self.normalise(x))

    def stage(self, i: int, x: Tensor) -> Tensor:
        """One stage, counted from 0."""
        return self.run([self.stages[self._first + i]], x)


def _half(kernel: tuple[int, ...]) -> tuple[int, ...]:
    """The padding that keeps a map's size."""
    return tuple(width // 2 for width in kernel)


def _each_stage(
    what: str,
    stem: PerAxis,
    later: Sequence[PerAxis] | None,
    default: int,
    n_stages: int,
    n_axes: int,
) -> list[tuple[int, ...]]:
    """One number an axis for each stage."""
    given = [default] * (n_stages - 1) if later is None else list(later)
    if len(given) != n_stages - 1:
        raise ValueError(
            f"stage_{what}s needs one {what} for each stage behind the stem: {n_stages - 1}, got {len(given)}"
        )
    return [_per_axis(f"stem_{what}", stem, n_axes), *(_per_axis(f"stage_{what}s", value, n_axes) for value in given)]


def _per_axis(option: str, value: PerAxis, n_axes: int) -> tuple[int, ...]:
    per_axis = (value,) * n_axes if isinstance(value, int) else tuple(value)
    if len(per_axis) != n_axes or min(per_axis) < 1:
        raise ValueError(f"{option} expects a positive number for each of {n_axes} axes, got {per_axis}")
    return per_axis
