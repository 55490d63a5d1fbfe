"""2.5D: a 2D encoder over the slices of a volume, whose maps are pooled along the depth by attention."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from mmfusion.backbones.base import Backbone
from mmfusion.option_checks import checked
from mmfusion.options import Range


class GatedAttention(nn.Module):
    """How much each instance of a bag weighs (Ilse et al., 2018, arXiv 1802.04712, eqs. 8 and 9).

    ``a_k = softmax_k(w^T (tanh(V h_k) * sigmoid(U h_k)))``

    Args:
        dim: Width of an instance's features, ``M`` in the paper.
        d_hidden: Width of ``V h`` and ``U h``, ``L`` in the paper, where it is 128.
    """

    def __init__(self, dim: int, *, d_hidden: int = 128) -> None:
        super().__init__()
        self.content = nn.Linear(dim, d_hidden, bias=False)
        self.gate = nn.Linear(dim, d_hidden, bias=False)
        self.score = nn.Linear(d_hidden, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weights of the instances.

        Args:
            x: Shape ``(b, n, dim)``.

        Returns:
            Shape ``(b, n)``, from 0 to 1; the sum over ``n`` is 1.
        """
        scores: Tensor = self.score(self.content(x).tanh() * self.gate(x).sigmoid())
        return scores.squeeze(-1).softmax(-1)


class Slices(Backbone):
    """A 2D encoder over all slices of a volume as one batch, and 2D maps out of it.

    Each stage weighs the slices by the mean of their maps over the positions and gives the weighted mean of the maps:
    one weight a slice and stage, not one a position, so a weight says which slice counts and maps stay in line across
    stages. Slices are instances without an order, as in multiple instance learning: what is seen only across slices is
    for a 3D encoder.

    Volumes of ``(height, width, depth)`` give maps of ``(height_i, width_i)``; with ``depth_axis=0`` or ``1`` the
    other two axes in their order.

    Args:
        encoder: Encodes 2D images of as many channels as the volume has.
        depth_axis: Which of the three axes the slices follow each other on.

    Raises:
        ValueError: If the encoder is not for 2D images, or an option is out of its range.
    """

    @checked
    def __init__(self, encoder: Backbone, *, depth_axis: Annotated[int, Range(-3, 2)] = -1) -> None:
        if encoder.n_axes != 2:
            raise ValueError(
                f"slices need an encoder of 2D images, {encoder.label} encodes images of {encoder.n_axes} axes"
            )
        mean, std = tuple(encoder.mean.tolist()), tuple(encoder.std.tolist())
        super().__init__(channels=encoder.channels, reductions=encoder.reductions, mean=mean, std=std)
        self.encoder = encoder
        self.name = f"slices/{encoder.label}"
        self.n_axes = 3  # of the images; the maps have 2
        self.depth_axis = depth_axis % 3
        self.attend = nn.ModuleList(GatedAttention(width) for width in encoder.channels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """All maps in one pass.

        Args:
            x: Shape ``(b, channels, *size)``, three axes.

        Returns:
            One map per stage, shape ``(b, channels[i], height_i, width_i)``, in network order.
        """
        return tuple(torch.einsum("bn,bnchw->bchw", weights, maps) for weights, maps in self.slice_maps(x))

    def attention(self, x: Tensor) -> tuple[Tensor, ...]:
        """How much each slice weighs at each stage.

        Args:
            x: Shape ``(b, channels, *size)``, three axes.

        Returns:
            One row a case for each stage, shape ``(b, n_slices)``; the sum of a row is 1.
        """
        return tuple(weights for weights, _ in self.slice_maps(x))

    def freeze(self, stages: int | Literal["all", "none"]) -> None:
        """Take the stem and the first stages of the 2D encoder out of training, as it does itself.

        The attention is trained in any case: no weights are made for it.
        """
        self.encoder.freeze(stages)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As of the 2D encoder."""
        self.encoder.set_grad_checkpointing(enable)

    def parameter_depths(self) -> dict[str, int]:
        """Where each parameter is: those of the 2D encoder as there, the attention of stage ``i`` at ``i + 1``."""
        depths = {f"encoder.{name}": depth for name, depth in self.encoder.parameter_depths().items()}
        for i, attend in enumerate(self.attend):
            depths |= {f"attend.{i}.{name}": i + 1 for name, _ in attend.named_parameters()}
        return depths

    def stem(self, x: Tensor) -> Tensor:
        """Not to be had.

        Raises:
            ValueError: Always: between stages there are maps of slices, which are not the maps that it gives.
        """
        raise ValueError(f"{self.name} cannot be taken apart between its stages, so no map fusion can act inside it")

    def stage(self, i: int, x: Tensor) -> Tensor:
        """Not to be had, as :meth:`stem`."""
        return self.stem(x)

    def slice_maps(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """By stage the slices' weights ``(b, n)`` and their maps ``(b, n, c, h, w)``, whose weighed sum is the map."""
        self.check(x)
        slices = x.movedim(2 + self.depth_axis, 1)  # (b, n, c, h, w)
        maps: Sequence[Tensor] = self.encoder(rearrange(slices, "b n c h w -> (b n) c h w"))
        per_stage = []
        for attend, of_slices in zip(self.attend, maps, strict=True):
            of_slices = rearrange(of_slices, "(b n) c h w -> b n c h w", b=len(slices))
            per_stage.append((attend(of_slices.flatten(3).mean(-1)), of_slices))
        return per_stage
