import torch

from mmfusion.fusion.vectors import MaxFusion


def test_maximum_over_present_modalities() -> None:
    a, b = torch.tensor([[1.0, -2.0], [-1.0, -3.0], [5.0, 5.0]]), torch.tensor([[0.0, 4.0], [-2.0, -1.0], [0.0, 0.0]])
    fusion = MaxFusion(("a", "b"), dim=2)
    assert fusion({"a": a, "b": b}).tolist() == [[1.0, 4.0], [-1.0, -1.0], [5.0, 5.0]]
    # Zeros stand where something is missing; a negative maximum must not be raised to them.
    present = {"b": torch.tensor([True, False, False])}
    gone = b.where(present["b"][:, None], 0.0)
    assert fusion({"a": a, "b": gone}, present).tolist() == [[1.0, 4.0], [-1.0, -3.0], [5.0, 5.0]]
    nothing = dict.fromkeys("ab", torch.zeros(3, dtype=torch.bool))
    assert not fusion({"a": a, "b": b}, nothing).any()
    assert fusion.dim_out == 2
