import torch
from torch import Tensor, nn

from mmfusion.heads import FusedHead, MaxFusion
from mmfusion.spec import Classes, Columns, DataSpec, Image, Regression

SPEC = DataSpec({"a": Image(1, (8, 8)), "t": Columns(("c",))}, targets={"y": Classes(3), "z": Regression(2)})


def test_the_fusion_is_told_what_is_there() -> None:
    """Its vector goes through the hidden layers, which the targets share."""
    told: list[object] = []

    class Fusion(nn.Module):
        def forward(self, embeddings: dict[str, Tensor], present: object) -> Tensor:
            told.append(present)
            return torch.cat([embeddings["t"], embeddings["a"]], -1)

    head = FusedHead(SPEC, Fusion(), width=8, hidden=(6, 5), dropout=0.5).eval()
    x = {name: torch.randn(2, 4) for name in SPEC.names}
    present = {"a": torch.tensor([True, False])}
    out = head(x, present)
    hidden = head.shared[3](head.shared[0](torch.cat([x["t"], x["a"]], 1)).relu()).relu()
    for name, value in out.items():
        torch.testing.assert_close(value, head.outputs[name](hidden))
    assert told == [present]
    assert head.takes_present


def test_maximum() -> None:
    a, b = torch.tensor([[1.0, -2.0], [-1.0, -3.0], [5.0, 5.0]]), torch.tensor([[0.0, 4.0], [-2.0, -1.0], [0.0, 0.0]])
    fusion = MaxFusion(("a", "b"))
    assert fusion({"a": a, "b": b}).tolist() == [[1.0, 4.0], [-1.0, -1.0], [5.0, 5.0]]
    # Zeros stand where something is missing; a negative maximum must not be raised to them.
    present = {"b": torch.tensor([True, False, False])}
    gone = b.where(present["b"][:, None], 0.0)
    assert fusion({"a": a, "b": gone}, present).tolist() == [[1.0, 4.0], [-1.0, -3.0], [5.0, 5.0]]
    nothing = dict.fromkeys("ab", torch.zeros(3, dtype=torch.bool))
    assert not fusion({"a": a, "b": b}, nothing).any()
