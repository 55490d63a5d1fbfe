from typing import Any

import pytest
import torch
from torch import nn

import mmfusion as mmf
from helpers.small import TABLE, make_inputs, make_spec
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers import TabularTokenizer, create_tabular_tokenizer
from mmfusion.tokens import Table, Tokens


def test_created_by_name_or_with_options() -> None:
    for choice in ("feature", {"name": "feature"}, {"name": "feature", "missing": "mask"}):
        t = create_tabular_tokenizer(choice, TABLE, dim=4)
        assert (type(t).__name__, t.dim, t.cls) == ("FeatureTokenizer", 4, None)
        assert t.missing == ("mask" if isinstance(choice, dict) and "missing" in choice else "token")
    t = create_tabular_tokenizer("mlp", TABLE, dim=4, cls=True)
    assert (tuple(t.cls.shape), t.n_tokens) == ((1, 1, 4), 2)


def test_cls_token_is_added_once() -> None:
    """By the option of the tokenizer that had it first, and by the model."""
    t = create_tabular_tokenizer({"name": "feature", "cls": True}, TABLE, dim=4, cls=True)
    assert t.n_tokens == len(TABLE) + 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("featur", "unknown tabular tokenizer 'featur'; did you mean 'feature'"),
        ({"missing": "mask"}, "a tabular tokenizer is a name, or a mapping with name and options"),
        ({"name": "feature", "dim": 3}, "dim (is set beside the tabular tokenizer|follows from the blueprint)"),
        ({"name": "feature", "mising": "mask"}, "has no option 'mising'; did you mean 'missing'"),
    ],
)
def test_invalid_choice_raises(choice: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_tabular_tokenizer(choice, TABLE, dim=4)
    with pytest.raises(ValueError, match=message):
        mmf.create_model("tabular", make_spec(images=0), tabular_tokenizer=choice)


class Count(TabularTokenizer):
    """How many cells are there."""

    def __init__(self, columns: Columns, *, dim: int) -> None:
        super().__init__(columns, dim=dim, n_tokens=1)
        self.embedding = nn.Embedding(len(columns) + 1, dim)

    def tokens(self, table: Table) -> Tokens:
        there = torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1)
        return Tokens(self.embedding(there.sum(1, keepdim=True)))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cfcml", "concat", "tabular"])
def test_custom_tokenizer_in_model(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tabular_tokenizers.list()
    monkeypatch.setitem(tabular_tokenizers._builders, "count", Count)
    spec = make_spec()
    net = mmf.create_model(model, spec, tabular_tokenizer="count").eval()
    assert bool(net(make_inputs(spec, 3, missing_cells=True)).logits.isfinite().all())
    assert any(isinstance(part, Count) for part in net.modules())
