"""What an image encoder offers to the rest of the package."""

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """An image encoder in stages.

    A subclass gives :meth:`stem` and :meth:`stage`, so that a modulator can stand between two stages without a hook;
    :meth:`forward` runs them all. An encoder that cannot be taken apart overrides :meth:`forward` and refuses the
    others by name.

    Args:
        channels: Channels of the map after each stage, in network order.
        reductions: By how much each stage has shrunk the input along each spatial axis, in network order.
        mean: Subtracted from each input channel; what the weights were trained with.
        std: Divides each input channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        channels: tuple[int, ...],
        reductions: tuple[tuple[int, ...], ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.channels = channels
        self.reductions = reductions
        # In the state dict: a saved model must normalise as it was trained, whatever weights it was built from.
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    @property
    def n_stages(self) -> int:
        """Number of stages."""
        return len(self.channels)

    @property
    def n_axes(self) -> int:
        """Number of spatial axes of the images, 2 or 3."""
        return len(self.reductions[0])

    def normalise(self, x: Tensor) -> Tensor:
        """Images in [0, 1] to what the weights expect, shape ``(b, channels, *spatial)``."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def stem(self, x: Tensor) -> Tensor:
        """From images, normalisation included, to what the first stage takes."""
        raise NotImplementedError(f"{type(self).__name__} has no stem")  # abstract

    def stage(self, i: int, x: Tensor) -> Tensor:
        """From the result of the stem or of stage ``i - 1`` to the map of stage ``i``, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} has no stages")  # abstract

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """All maps in one pass.

        Args:
            x: Shape ``(b, channels, *spatial)``; photographs in [0, 1].

        Returns:
            One map a stage, shape ``(b, channels[i], *spatial_i)``, in network order.
        """
        maps = []
        x = self.stem(x)
        for i in range(self.n_stages):
            x = self.stage(i, x)
            maps.append(x)
        return tuple(maps)
