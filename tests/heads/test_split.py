import torch

from mmfusion.heads import SplitFusion


def test_each_modality_gives_its_own_part() -> None:
    fusion = SplitFusion({"a": 1, "b": 2, "t": 1})
    x = {name: torch.arange(4.0).repeat(2, 1) + shift for name, shift in (("t", 100), ("a", 0), ("b", 10))}
    assert fusion(x).tolist() == [[0.0, 11.0, 12.0, 103.0]] * 2
    present = {"b": torch.tensor([False, True])}
    assert fusion(x, present).tolist() == [[0.0, 0.0, 0.0, 103.0], [0.0, 11.0, 12.0, 103.0]]
    assert not list(fusion.parameters())
