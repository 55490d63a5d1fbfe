"""Random numbers that do not depend on who else draws."""

import hashlib

import torch
from torch import Tensor


class Streams:
    """A generator on the CPU for each name, all of them following from one generator's state.

    What is drawn under one name is the same whatever is drawn under others: a setting that is switched on does not
    shift the random numbers of the next.

    Args:
        generator: On the CPU; one number is drawn from it.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._base = int(torch.randint(2**62, (), generator=generator))

    def of(self, *names: str) -> torch.Generator:
        """The stream of that name, from its beginning."""
        text = "\0".join((str(self._base), *names))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    """Evenly from -1 to 1."""
    return 2 * torch.rand(*shape, generator=generator) - 1


def per_case(values: Tensor, image: Tensor) -> Tensor:
    """``(b,)`` numbers in an image's dtype, on its device, ready to broadcast over it: ``(b, 1, ..., 1)``."""
    return values.to(image).view(-1, *[1] * (image.ndim - 1))
