import math

import torch

from mmfusion.experiments.explaining.cell_texts import cell_texts
from mmfusion.spec import Columns, Wording
from mmfusion.tokens import Table


def test_cells_are_in_the_units_and_names_of_their_columns() -> None:
    wordings = (
        Wording(unit="years", mean=50, std=10),
        Wording(mean=1.0, std=0.5),
        Wording(categories=("female", "male")),
    )
    columns = Columns(("age", "size"), (("sex", 2),), wordings)
    table = Table(torch.tensor([[1.3, math.nan]]), torch.tensor([[1]]))
    assert cell_texts(columns, table) == ["63 years", "missing", "male"]
    bare = Columns(("age", "size"), (("sex", 2),))
    assert cell_texts(bare, Table(torch.tensor([[1.25, 0.0]]), torch.tensor([[-1]]))) == ["1.25", "0", "missing"]
    assert cell_texts(bare, Table(torch.tensor([[1.25, 0.0]]), torch.tensor([[1]])))[2] == "category 1"
