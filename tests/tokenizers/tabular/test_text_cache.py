"""Each sentence is encoded once, whatever else reads or writes, or dies."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.text import FakeEncoder, vector
from mmfusion.tokenizers.tabular import text_cache
from mmfusion.tokenizers.tabular.encoders import text_encoder
from mmfusion.tokenizers.tabular.text_cache import remembered


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_only_new_sentences_are_encoded(tmp_path: Path) -> None:
    """In the given order, also with repeated sentences."""
    first, second = FakeEncoder("fake"), FakeEncoder("fake")
    found = remembered(text_encoder(first), ["a", "b", "a"], tmp_path)
    assert torch.equal(found, torch.stack([vector("a"), vector("b"), vector("a")]))
    assert first.asked == ["a", "b"]
    found = remembered(text_encoder(second), ["c", "b"], tmp_path)
    assert torch.equal(found, torch.stack([vector("c"), vector("b")]))
    assert second.asked == ["c"]
    remembered(text_encoder(second), ["a", "b", "c"], tmp_path)
    assert second.asked == ["c"]
    assert len(files(tmp_path)) == 2


def test_caches_of_encoders_are_separate(tmp_path: Path) -> None:
    remembered(text_encoder(FakeEncoder("one")), ["a"], tmp_path)
    other = FakeEncoder("other")
    remembered(text_encoder(other), ["a"], tmp_path)
    assert other.asked == ["a"]
    wider = FakeEncoder("one")
    with pytest.raises(ValueError, match=r"must give vectors of shape \(1, 7\)"):
        remembered(text_encoder(wider, 7), ["a"], tmp_path)


def test_encoder_without_identity_is_not_cached(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    for _ in range(2):
        remembered(text_encoder(encoder), ["a", "a"], tmp_path)
    assert encoder.asked == ["a", "a"]
    assert files(tmp_path) == []


def test_damaged_entries_are_encoded_again(tmp_path: Path) -> None:
    """Truncated, empty, or with content that is no vectors."""
    encoder = FakeEncoder("fake")
    remembered(text_encoder(encoder), ["a", "b"], tmp_path)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    np.savez(path.with_name("other.npz"), sentences=np.array(["a"]), vectors=np.full((1, 6), np.nan))
    for n in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:n])
        again = FakeEncoder("fake")
        assert torch.equal(remembered(text_encoder(again), ["b"], tmp_path), vector("b").unsqueeze(0))
        assert again.asked == ["b"]
        for extra in files(tmp_path):
            if extra.name not in (path.name, "other.npz"):
                extra.unlink()


@pytest.mark.slow
def test_killed_writer_leaves_no_readable_file(tmp_path: Path) -> None:
    """In a separate process, which dies before the file is moved to its place."""
    code = textwrap.dedent(
        f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from mmfusion.tokenizers.tabular import text_cache
        from mmfusion.tokenizers.tabular.encoders import text_encoder
        from helpers.text import FakeEncoder
        text_cache.os.replace = lambda *paths: os._exit(9)
        text_cache.remembered(text_encoder(FakeEncoder("fake")), ["a"], Path({str(tmp_path)!r}))
        """
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert [path.suffix for path in files(tmp_path)] == [".part"]
    encoder = FakeEncoder("fake")
    assert torch.equal(remembered(text_encoder(encoder), ["a"], tmp_path), vector("a").unsqueeze(0))
    assert encoder.asked == ["a"]


def test_concurrent_writers_keep_both(tmp_path: Path) -> None:
    """The second writes while the first is about to: both get their vectors, and so does the next one."""
    late = FakeEncoder("fake")

    class Early(FakeEncoder):
        def __call__(self, sentences: list[str]) -> torch.Tensor:
            remembered(text_encoder(late), ["b", "c"], tmp_path)
            remembered(text_encoder(late), sentences, tmp_path)
            return super().__call__(sentences)

    expected = torch.stack([vector("a"), vector("b")])
    assert torch.equal(remembered(text_encoder(Early("fake")), ["a", "b"], tmp_path), expected)
    third = FakeEncoder("fake")
    remembered(text_encoder(third), ["a", "b", "c"], tmp_path)
    assert third.asked == []


def test_unwritable_folder_warns(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    with pytest.warns(UserWarning, match="1 encoded sentences cannot be kept in"):
        found = remembered(text_encoder(FakeEncoder("fake")), ["a"], place)
    assert torch.equal(found, vector("a").unsqueeze(0))


def test_cache_folder_follows_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remembered(text_encoder(FakeEncoder("fake")), ["a"])
    assert len(files(tmp_path / "mmfusion" / "text")) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(text_cache.Path, "home", lambda: tmp_path)
    remembered(text_encoder(FakeEncoder("fake")), ["a"])
    assert len(files(tmp_path / ".cache" / "mmfusion" / "text")) == 1
