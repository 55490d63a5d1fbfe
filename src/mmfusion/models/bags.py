"""Bags of images: taken apart for the encoders, and their maps pooled to one per case.

Only real images are encoded. Where shapes must not depend on values (under compile and export) all places of a bag go
through, zeroed where there is no image, and are left out of the pool.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmfusion.layers.presence import where_present
from mmfusion.tokens import Bag, Content
from mmfusion.utils.meta import is_static

BagPooling: TypeAlias = Literal["mean", "max"]
"""How the maps of a case's images become one map."""


class BagLayout(NamedTuple):
    """The places of a batch's real images, those of one rank after those of another: the first of each case first.

    Attributes:
        mask: Shape ``(r, k)``, bool: of each case, which images are real.
        case: Shape ``(n,)``, int64: of each real image its case; None where shapes are static.
        slot: Shape ``(n,)``, int64: of each real image its place in the bag; None where shapes are static.
        sizes: Number of images of each rank; they sum to n.
    """

    mask: Tensor
    case: Tensor | None
    slot: Tensor | None
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, mask: Tensor) -> "BagLayout":
        """From the mask of cases that all have an image, shape ``(r, k)`` bool."""
        if is_static(mask.device):
            return cls(mask, None, None, ())
        case, slot = mask.nonzero().unbind(1)
        rank = (mask.cumsum(1) - 1)[case, slot]
        order = rank.argsort(stable=True)
        # No case occurs twice within a rank, so that sums are formed in one order on every device.
        return cls(mask, case[order], slot[order], tuple(rank.bincount().tolist()))

    def images(self, x: Tensor) -> Tensor:
        """The real images of ``(r, k, ...)``, shape ``(n, ...)``; static: all, ``(r k, ...)``, others zeroed."""
        if self.case is None or self.slot is None:
            mask = self.mask.view(*self.mask.shape, *(1,) * (x.ndim - 2))
            return torch.where(mask, x, x.new_zeros(())).flatten(0, 1)
        return x[self.case, self.slot]

    def put(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`images`: ``(r, k, ...)`` with zeros where no image is."""
        if self.case is None or self.slot is None:
            return self._by_case(self._zeroed(x))
        return x.new_zeros(*self.mask.shape, *x.shape[1:]).index_put((self.case, self.slot), x)

    def cases(self) -> Tensor:
        """The case of each image, shape ``(n,)`` int64, from 0 to r - 1."""
        if self.case is None:
            r, k = self.mask.shape
            return torch.arange(r, device=self.mask.device).unsqueeze(1).expand(r, k).flatten()
        return self.case

    def pool(self, x: Tensor, how: BagPooling) -> Tensor:
        """Mean or maximum over each case's images, ``(n, ...)`` to ``(r, ...)``.

        A single image comes out as it is, bit by bit. Half precision is summed in float32.
        """
        pooled = _POOLS[how](self, x)
        return pooled.to(x.dtype)

    def mean(self, x: Tensor) -> Tensor:
        """See :meth:`pool`."""
        wide = torch.promote_types(x.dtype, torch.float32)
        if self.case is None:
            total = self._by_case(self._zeroed(x)).sum(1, dtype=wide)
        else:
            total, *others = torch.split(x.to(wide), list(self.sizes))
            for cases, part in zip(torch.split(self.case, list(self.sizes))[1:], others, strict=True):
                total = total.index_add(0, cases, part)
            if not others:
                return total
        counts = self.mask.sum(1).clamp(min=1).to(wide)
        return total / counts.view(-1, *(1,) * (x.ndim - 1))

    def max(self, x: Tensor) -> Tensor:
        """See :meth:`pool`."""
        if self.case is None:
            lowest = where_present(x, self.mask.flatten(), x.new_full((), -torch.inf))
            highest = self._by_case(lowest).amax(1)
            return where_present(highest, self.mask.any(1), x.new_zeros(()))
        total, *others = torch.split(x, list(self.sizes))
        for cases, part in zip(torch.split(self.case, list(self.sizes))[1:], others, strict=True):
            total = total.index_copy(0, cases, torch.maximum(total.index_select(0, cases), part))
        return total

    def _by_case(self, x: Tensor) -> Tensor:
        return x.reshape(*self.mask.shape, *x.shape[1:])

    def _zeroed(self, x: Tensor) -> Tensor:
        return where_present(x, self.mask.flatten(), x.new_zeros(()))


_POOLS: Final[Mapping[str, Callable[[BagLayout, Tensor], Tensor]]] = {"mean": BagLayout.mean, "max": BagLayout.max}


def without_empty(inputs: Mapping[str, Content], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Presence in which a case without any image of a bag lacks it; an entry is added where some bag is empty."""
    known = dict(present)
    for name, content in inputs.items():
        if isinstance(content, Bag):
            some = content.mask.any(1)
            if name in known:
                known[name] = known[name] & some
            elif is_static(some.device) or not bool(some.all()):
                known[name] = some
    return known


class Unbagged(NamedTuple):
    """A batch's images without bags.

    Attributes:
        pixels: By modality, shape ``(n, channels, *spatial)``: one row per image.
        layouts: Of the modalities that came as bags.
    """

    pixels: dict[str, Tensor]
    layouts: dict[str, BagLayout]

    @classmethod
    def of(cls, images: Mapping[str, Content]) -> "Unbagged":
        """The pixels of images and bags; maps and tables are left out."""
        layouts = {name: BagLayout.of(x.mask) for name, x in images.items() if isinstance(x, Bag)}
        pixels = {name: x for name, x in images.items() if isinstance(x, Tensor)}
        pixels |= {name: layouts[name].images(x.x) for name, x in images.items() if isinstance(x, Bag)}
        return cls({name: pixels[name] for name in images if name in pixels}, layouts)

    def pooled(self, maps: Mapping[str, tuple[Tensor, ...]], how: BagPooling) -> dict[str, tuple[Tensor, ...]]:
        """Maps of images as maps of cases."""
        return {
            name: tuple(self.layouts[name].pool(x, how) for x in stages) if name in self.layouts else stages
            for name, stages in maps.items()
        }
