import math

import pytest
import torch

from helpers import attention_reference as ref
from helpers.small import TABLE
from mmfusion.tokenizers import TipTableEncoder
from mmfusion.tokens import Table, Tokens


def test_tip_table_encoder_matches_loops() -> None:
    """Embedding or w x + b, [MASK] for missing cells, column vectors, norm; missing cells are masked in attention."""
    torch.manual_seed(0)
    encoder = TipTableEncoder(TABLE, dim=4, depth=2, n_heads=2).double().eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    nan = math.nan
    numbers, codes = [[0.5, nan], [nan, nan], [-1.0, 2.0]], [[1, 3], [-1, -1], [0, -1]]
    (tokens,) = encoder(Table(torch.tensor(numbers, dtype=torch.float64), torch.tensor(codes)))
    assert tokens.mask is None
    state = ref.plain(encoder.state_dict())
    for i in range(3):
        cells = [None if math.isnan(v) else ref.linear(ref.under(state, "number"), [v]) for v in numbers[i]]
        cells += [
            None if code < 0 else state["embedding"][first + code] for code, first in zip(codes[i], (0, 2), strict=True)
        ]
        x = [state["cls"][0][0], *(state["mask"] if cell is None else cell for cell in cells)]
        x = [ref.norm(ref.under(state, "norm"), row) for row in ref.plus(x, state["column"])]
        known = [True, *(cell is not None for cell in cells)]
        for b in range(2):
            block = ref.under(state, f"blocks.{b}")
            normed = [ref.norm(ref.under(block, "norm1"), row) for row in x]
            x = ref.plus(x, ref.attend(ref.under(block, "attention"), normed, normed, 2, known))
            after = [ref.norm(ref.under(block, "norm2"), row) for row in x]
            x = ref.plus(x, [ref.feed_forward(ref.under(block, "feed_forward"), row) for row in after])
        for row, expected in zip(tokens.x[i].tolist(), x, strict=True):
            assert row == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_tip_with_other_tokenizer_matches_reference() -> None:
    """Its [CLS] and one vector per token; nothing attends to a missing cell, nor to a masked token."""
    nan = math.nan
    numbers, codes = torch.tensor([[0.5, nan], [nan, nan], [-1.0, 2.0]]), torch.tensor([[1, 3], [-1, -1], [0, -1]])
    cells = torch.cat([torch.ones(3, 1).bool(), ~numbers.isnan(), codes >= 0], 1)
    whole = torch.tensor([[True, True], [True, False], [True, True]])
    for choice, attended in (("feature", cells), ({"name": "mlp", "missing": "mask"}, whole)):
        torch.manual_seed(0)
        encoder = TipTableEncoder(TABLE, dim=4, depth=2, n_heads=2, of=choice).eval()
        (own,), (tokens,) = encoder.tokenizer(Table(numbers, codes)), encoder(Table(numbers, codes))
        assert tokens.mask is None
        for i in range(3):
            x, real = encoder.norm(own.filled()[i] + encoder.column), attended[i]
            for block in encoder.blocks:
                normed = block.norm1(x)
                x = x + block.attention(normed.unsqueeze(0), Tokens(normed[real].unsqueeze(0)))[0]
                x = x + block.feed_forward(block.norm2(x))
            torch.testing.assert_close(tokens.x[i], x, rtol=1e-5, atol=1e-6)
