"""A text encoder for tests: small, without a package, the same everywhere."""

import hashlib

import torch
from torch import Tensor

D_TEXT = 6


class FakeEncoder:
    """A vector from the digest of each sentence; remembers what it was asked.

    Args:
        name: Its identity for the cache; None: it has none.
    """

    d_text = D_TEXT

    def __init__(self, name: str | None = None) -> None:
        self.asked: list[str] = []
        if name is not None:
            self.name = name

    def __call__(self, sentences: list[str]) -> Tensor:
        self.asked += sentences
        return torch.stack([vector(sentence) for sentence in sentences])


def vector(sentence: str) -> Tensor:
    """Numbers between -1 and 1."""
    digest = hashlib.blake2b(sentence.encode(), digest_size=D_TEXT).digest()
    return torch.tensor(list(digest)) / 127.5 - 1
