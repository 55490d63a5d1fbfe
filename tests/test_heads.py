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


def test_average_counts_what_a_case_has() -> None:
    """By hand: of two linear classifiers, case 0 has both, case 1 the second, case 2 none."""
    head = heads.AverageHead(SPEC, names=("x", "t"), dim=4, hidden=()).eval()
    x, t = torch.randn(3, 4), torch.randn(3, 4)
    x[1:], t[2] = 0, 0
    out = head({"t": t, "x": x, "other": torch.randn(3, 4)})
    for name in SPEC.targets:
        one, two = (head.classifiers[key].outputs[name] for key in ("x", "t"))
        expected = torch.stack([(one(x[0]) + two(t[0])) / 2, two(t[1]), torch.zeros_like(two(t[2]))])
        torch.testing.assert_close(out[name], expected)


def test_average_with_one_classifier_for_all() -> None:
    head = heads.AverageHead(SPEC, names=("x", "t"), dim=4, hidden=(3,), shared=True).eval()
    assert list(head.classifiers) == ["all"]
    x, t = torch.randn(2, 4), torch.randn(2, 4)
    read = head.classifiers["all"]
    torch.testing.assert_close(head({"x": x, "t": t})["y"], (read(x)["y"] + read(t)["y"]) / 2)


def test_single() -> None:
    """One of the embeddings, normalised: its scale has no effect."""
    head = heads.SingleHead(SPEC, of="latents", dim=4, hidden=(5,), norm=True).eval()
    x = torch.randn(2, 4)
    out = head({"latents": x, "t": torch.randn(2, 4)})
    kinds = [type(layer) for layer in head.shared]
    assert kinds == [nn.LayerNorm, nn.Linear, nn.ReLU, nn.Dropout]
    torch.testing.assert_close(out["y"], head.outputs["y"](head.shared(x)))
    torch.testing.assert_close(head({"latents": 1000 * x})["y"], out["y"], rtol=1e-3, atol=1e-3)
