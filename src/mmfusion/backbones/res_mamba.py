"""ResMamba: a residual network whose later blocks look along all positions of the map, 2D and 3D."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.backbones.convnets import CONV, NORM, ResidualBlock, StagedNetwork, per_axis, start
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
        conv, norm = CONV[len(stride)], NORM[len(stride)]
        padding = tuple(width // 2 for width in kernel)
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
            ResidualBlock(n_out if i else n_in, n_out, stride=still if i else stride, kernel=kernel)
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
class ResMamba(StagedNetwork):
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
        ValueError: If an option is out of range, a kernel is even, or the numbers of widths, strides and kernels do not
            fit.
    """

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
        later = len(widths) - 1
        strides = per_axis("stem_stride", [stem_stride], 1, n_axes)
        strides += per_axis("stage_strides", [2] * later if stage_strides is None else stage_strides, later, n_axes)
        kernels = per_axis("stem_kernel", [stem_kernel], 1, n_axes)
        kernels += per_axis("stage_kernels", [3] * later if stage_kernels is None else stage_kernels, later, n_axes)
        if any(width % 2 == 0 for kernel in kernels for width in kernel):
            raise ValueError(f"stem_kernel and stage_kernels must be odd along every axis, got {kernels}")
        super().__init__(in_channels, widths, strides, n_stages=n_stages)
        self.stages.append(DoubleConv(in_channels, widths[0], stride=strides[0], kernel=kernels[0]))
        for (n_in, n_out), stride, kernel in zip(pairwise(widths), strides[1:], kernels[1:], strict=True):
            self.stages.append(
                ResidualStage(
                    n_in, n_out, n_blocks=n_blocks, stride=stride, kernel=kernel, scan=scan, share_scan=share_scan
                )
            )
        start(self)  # not Mamba's own convolution, which has one axis

    def stem(self, x: Tensor) -> Tensor:
        """From images to what the first stage takes."""
        return self.run([*self.stages[: self._first]], self.normalise(x))
