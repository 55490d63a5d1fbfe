"""Any table through the schema, a tokenizer, the disk and back."""

from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings

from helpers.table_strategies import tables
from helpers.text import FakeEncoder
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.registry import tabular_tokenizers
from mmfusion.tokenizers import TabularTokenizer, create_tabular_tokenizer
from mmfusion.tokens import Table

OPTIONS = {
    "periodic": {"n_frequencies": 3},
    "piecewise_linear": {"n_bins": 4},
    "trees": {"n_trees": 2, "depth": 2, "min_leaf": 1},
}


def built(name: str, missing: str, schema: TableSchema, encoder: FakeEncoder) -> TabularTokenizer:
    options = {"encoder": encoder} if name == "text" else OPTIONS.get(name, {})
    return create_tabular_tokenizer({"name": name, "missing": missing, **options}, schema.columns, dim=4)


@pytest.mark.parametrize(
    "missing", ["token", pytest.param("mask", marks=pytest.mark.slow), pytest.param("impute", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", tabular_tokenizers.list())
@given(frame=tables())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tokenizer_round_trip_on_any_table(name: str, missing: str, tmp_path: Path, frame: pd.DataFrame) -> None:
    try:
        schema = TableSchema.infer(frame)
    except ValueError as error:
        assert "no column is left to learn from" in str(error)  # noqa: PT017  (nothing else may be raised)
        return
    encoder = FakeEncoder()
    tokenizer = built(name, missing, schema, encoder)
    table = schema.transform(frame)
    tokenizer.fit(table, torch.arange(len(frame)) % 2)
    nothing = Table(torch.full_like(table.numerical, torch.nan), torch.full_like(table.categorical, -1))
    [tokens], [empty] = tokenizer(table), tokenizer(nothing)
    assert tokens.filled().isfinite().all()
    assert empty.filled().isfinite().all()

    (tmp_path / "schema.toml").unlink(missing_ok=True)
    schema.save(tmp_path / "schema.toml")
    safetensors.torch.save_file(
        {key: value.contiguous().clone() for key, value in tokenizer.state_dict().items()}, tmp_path / "weights"
    )
    asked = len(encoder.asked)
    again = TableSchema.load(tmp_path / "schema.toml")
    other = built(name, missing, again, encoder)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "weights"))
    [found] = other(again.transform(frame))
    assert torch.equal(found.filled(), tokens.filled())
    assert (found.mask is None) == (tokens.mask is None)
    assert found.mask is None or torch.equal(found.mask, tokens.mask)
    assert len(encoder.asked) == asked  # what was encoded came from the disk
