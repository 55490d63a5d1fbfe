import math

import pytest
import torch

from mmfusion.explain import mean_contributions


def test_means_add_up_and_ignore_nonfinite_cases() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, 2.0], [math.nan, 0.0], [4.0, 0.0], [5.0, math.inf]])
    found = mean_contributions(values, ["x", "x", "x", "y", "z"])
    assert list(found) == ["x", "y"]
    assert found["x"].n == 2
    assert found["x"].mean.tolist() == [2, 0]
    assert found["x"].absolute.tolist() == [2, 2]
    assert found["x"].error.tolist() == pytest.approx([1, 2])
    assert float(found["x"].mean.sum()) == pytest.approx(float(values[:2].sum(1).mean()))
    assert found["y"].error.isnan().all()
    assert mean_contributions(torch.zeros(2, 0), ["x", "x"])["x"].mean.shape == (0,)
    with pytest.raises(ValueError, match="each of 5 cases, got 1"):
        mean_contributions(values, ["x"])
