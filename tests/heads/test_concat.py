import pytest
import torch
from torch import nn

from mmfusion import heads
from mmfusion.heads import ConcatHead
from mmfusion.spec import Classes, Columns, DataSpec, Image, Regression, Survival

SPEC = DataSpec(
    {"x": Image(1, (8, 8)), "t": Columns(("a",))}, targets={"y": Classes(3), "z": Regression(2), "s": Survival(5)}
)


def test_published_head() -> None:
    """Two hidden layers with ReLU and dropout, shared; one linear layer a target."""
    head = ConcatHead(SPEC, dim=4, hidden=(6, 5), dropout=0.5).eval()
    kinds = [type(layer) for layer in head.shared]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout] * 2
    x, t = torch.randn(2, 4), torch.randn(2, 4)
    hidden = head.shared[0](torch.cat([x, t], 1)).relu()
    hidden = head.shared[3](hidden).relu()
    out = head({"t": t, "x": x})  # by name: the order of the dict does not matter
    assert {name: tuple(value.shape) for name, value in out.items()} == {"y": (2, 3), "z": (2, 2), "s": (2, 5)}
    for name, value in out.items():
        torch.testing.assert_close(value, head.outputs[name](hidden))


def test_linear_head() -> None:
    head = ConcatHead(SPEC, dim=4, hidden=())
    assert sum(p.numel() for p in head.parameters()) == 8 * (3 + 2 + 5) + 3 + 2 + 5


@pytest.mark.parametrize(("hidden", "n_layers"), [((), 0), ((6,), 1)])
def test_rectified_first(hidden: tuple[int, ...], n_layers: int) -> None:
    """What is negative in an embedding has no effect; it takes no parameter."""
    plain, head = (ConcatHead(SPEC, dim=4, hidden=hidden, rectify=rectify).eval() for rectify in (False, True))
    head.load_state_dict(plain.state_dict())
    assert len([layer for layer in head.shared if isinstance(layer, nn.Linear)]) == n_layers
    x, t = torch.tensor([[1.0, -2.0, 0.0, 3.0]]), torch.tensor([[-1.0, -1.0, 2.0, -0.5]])
    kept = {"x": torch.tensor([[1.0, 0.0, 0.0, 3.0]]), "t": torch.tensor([[0.0, 0.0, 2.0, 0.0]])}
    assert torch.equal(head({"x": x, "t": t})["y"], plain(kept)["y"])
    assert not torch.equal(head({"x": x, "t": t})["y"], plain({"x": x, "t": t})["y"])


def test_dropout_is_off_in_evaluation_only() -> None:
    head = ConcatHead(SPEC, dim=4, hidden=(64,), dropout=0.5)
    embeddings = {"x": torch.randn(2, 4), "t": torch.randn(2, 4)}
    assert not torch.equal(head(embeddings)["y"], head(embeddings)["y"])
    head.eval()
    assert torch.equal(head(embeddings)["y"], head(embeddings)["y"])


def test_a_missing_modality_is_an_error_not_a_guess() -> None:
    with pytest.raises(KeyError, match="t"):
        ConcatHead(SPEC, dim=4)({"x": torch.randn(2, 4)})


def test_the_short_name() -> None:
    assert heads.Concat is ConcatHead
