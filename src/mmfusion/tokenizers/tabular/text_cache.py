"""Sentences that were encoded before, on disk.

A file holds what one call had to encode: its sentences and their vectors, in a folder of the encoder's. It is moved to
its place when it is complete, under a name made from the sentences: a kill leaves nothing that is read, and two
processes that encode the same write the same. Folders and files are the user's alone.
"""

import hashlib
import os
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmfusion.tokenizers.tabular.encoders import TextEncoder, encoded
from mmfusion.utils.cache_folders import cache_folder, private_folder


def remembered(encoder: TextEncoder, sentences: Sequence[str], folder: Path | None = None) -> Tensor:
    """Vectors of sentences, encoding only those that are not on disk, each once.

    Args:
        encoder: One without an identity is always asked.
        sentences: Any may occur several times.
        folder: Where files are kept; None: the user's cache. If it cannot be written to, nothing is kept, with a
            warning.

    Returns:
        Shape ``(n, d_text)``, float32 on the CPU.

    Raises:
        ValueError: If the encoder gives something else than vectors of its width.
    """
    wanted = list(dict.fromkeys(sentences))
    if encoder.identity is None:
        known = dict(zip(wanted, encoded(encoder, wanted).numpy(), strict=True))
    else:
        home = (folder or cache_folder("text")) / _digest([encoder.identity, str(encoder.d_text)])
        known = _read(home, encoder.d_text)
        if new := [sentence for sentence in wanted if sentence not in known]:
            vectors = encoded(encoder, new).numpy()
            _write(home, new, vectors)
            known |= zip(new, vectors, strict=True)
    return torch.from_numpy(np.stack([known[sentence] for sentence in sentences]))


def _read(home: Path, d_text: int | None) -> dict[str, np.ndarray]:
    known: dict[str, np.ndarray] = {}
    for path in sorted(home.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                sentences, vectors = file["sentences"].tolist(), file["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue  # damaged from outside: what it held is encoded anew, under the same name
        if vectors.shape == (len(sentences), d_text or vectors.shape[-1]) and np.isfinite(vectors).all():
            known |= zip(sentences, vectors, strict=True)
    return known


def _write(home: Path, sentences: list[str], vectors: np.ndarray) -> None:
    temporary: str | None = None
    try:
        private_folder(home)
        handle, temporary = tempfile.mkstemp(dir=home, prefix=".", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, sentences=np.array(sentences), vectors=vectors)
        os.replace(temporary, home / f"{_digest(sentences)}.npz")
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        warnings.warn(f"{len(sentences)} encoded sentences cannot be kept in {home}: {error}", stacklevel=2)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()
