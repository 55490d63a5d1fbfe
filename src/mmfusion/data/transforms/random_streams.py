"""Independent streams of random numbers by name."""

import hashlib

import torch
from torch import Tensor


class Streams:
    """One CPU generator per name, all derived from one generator's state.

    Numbers of one name do not depend on what is drawn for others: turning a setting on does not change the random
    numbers of other settings.

    Args:
        generator: On the CPU; one number is drawn from it.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._base = int(torch.randint(2**62, (), generator=generator))

    def of(self, *names: str) -> torch.Generator:
        """A new generator for a name, from the start of its stream."""
        text = "\0".join((str(self._base), *names))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    """Uniform random numbers from -1 to 1."""
    return 2 * torch.rand(*shape, generator=generator) - 1


def per_case(values: Tensor, image: Tensor) -> Tensor:
    """Numbers ``(b,)`` in an image's dtype, on its device, with its number of axes: ``(b, 1, ..., 1)``."""
    return values.to(image).view(-1, *[1] * (image.ndim - 1))
