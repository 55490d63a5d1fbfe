from typing import Any

import pytest
import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers import TableMLP
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0]]), torch.tensor([[1, 2], [-1, 0]]))
NOTHING = Table(torch.full((1, 2), NAN), torch.full((1, 2), -1))
INPUTS: dict[str, list[list[float]]] = {
    # age, size, which of them are missing, sex one-hot, place one-hot
    "token": [[2, 0, 0, 1, 0, 1, 0, 0, 1], [0.5, -1, 0, 0, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0, 0]],
    # age, size, sex, place
    "mask": [[2, 0, 0, 1, 0, 0, 1], [0.5, -1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0]],
    # age, size, sex, place or what is expected, which columns are missing
    "impute": [
        [2, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0],
        [0.5, -1, 0.25, 0.75, 1, 0, 0, 0, 0, 1, 0],
        [0.5, 1, 0.25, 0.75, 0.5, 0, 0.5, 1, 1, 1, 1],
    ],
}


@pytest.mark.parametrize("missing", INPUTS)
def test_mlp_input_by_hand(missing: Any) -> None:
    """Numbers, one-hot categories, and the representation of a missing cell."""
    t = TableMLP(COLUMNS, dim=4, missing=missing)
    rows = Table(
        torch.tensor([[0.0, 1.0], [1.0, NAN], [0.5, NAN], [NAN, NAN]]),
        torch.tensor([[0, 0], [1, 2], [1, -1], [1, -1]]),
    )
    t.fit(rows)
    table = Table(*(torch.cat(parts) for parts in zip(TABLE, NOTHING, strict=True)))
    (tokens,) = t(table)
    torch.testing.assert_close(tokens.x[:, 0], t.layers(torch.tensor(INPUTS[missing])))
    assert (None if tokens.mask is None else tokens.mask.tolist()) == (
        [[True], [True], [False]] if missing == "mask" else None
    )


def test_state_dict_is_stable() -> None:
    """Checkpoints of before there was a choice of tokenizers load."""
    shapes = {key: tuple(value.shape) for key, value in TableMLP(COLUMNS, dim=4).state_dict().items()}
    assert shapes == {
        "layers.0.weight": (4, 9), "layers.0.bias": (4,), "layers.3.weight": (4, 4), "layers.3.bias": (4,)
    }  # fmt: skip
