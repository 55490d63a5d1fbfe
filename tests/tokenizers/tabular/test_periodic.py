import math
from typing import Any

import pytest
import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers import PeriodicTokenizer
from mmfusion.tokens import Table

COLUMNS = Columns(("age", "size"), (("sex", 2),))


def test_periodic_tokens_match_paper() -> None:
    """Cell by cell and feature by feature, from the paper's equation 3."""
    t = PeriodicTokenizer(COLUMNS, dim=3, n_frequencies=2, scale=1.0).double()
    values = [[0.3, -1.2], [2.0, 0.0]]
    (tokens,) = t(Table(torch.tensor(values, dtype=torch.float64), torch.tensor([[1], [0]])))
    for i, row in enumerate(values):
        for j, x in enumerate(row):
            angles = [2 * math.pi * c * x for c in t.frequencies[j].tolist()]
            waves = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
            for k in range(3):
                linear = sum(w * v for w, v in zip(t.weight[j, :, k].tolist(), waves)) + t.bias[j, k].item()
                assert tokens.x[i, j, k].item() == pytest.approx(max(0.0, linear), abs=1e-12)
    torch.testing.assert_close(tokens.x[:, 2], t.embedding[[1, 0]] + t.bias[2])


def test_frequencies_have_given_standard_deviation() -> None:
    t = PeriodicTokenizer(COLUMNS, dim=3, n_frequencies=2000, scale=0.5)
    assert t.frequencies.std().item() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("options", [{"n_frequencies": 0}, {"scale": 0.0}, {"scale": float("nan")}])
def test_invalid_options_raise(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(n_frequencies expects int from 1|scale expects float above 0)"):
        PeriodicTokenizer(COLUMNS, dim=3, **options)


def test_matches_rtdl_num_embeddings() -> None:
    """With its parameters, rtdl_num_embeddings gives the same."""
    rtdl = pytest.importorskip("rtdl_num_embeddings", reason="rtdl_num_embeddings is not installed")
    theirs = rtdl.PeriodicEmbeddings(2, 5, n_frequencies=7, frequency_init_scale=0.3, lite=False)
    ours = PeriodicTokenizer(Columns(("age", "size")), dim=5, n_frequencies=7)
    with torch.no_grad():
        ours.frequencies.copy_(theirs.periodic.weight)
        ours.weight.copy_(theirs.linear.weight)
        ours.bias.copy_(theirs.linear.bias)
    x = torch.randn(20, 2)
    (tokens,) = ours(Table(x, torch.zeros(20, 0, dtype=torch.int64)))
    torch.testing.assert_close(tokens.x, theirs(x))
