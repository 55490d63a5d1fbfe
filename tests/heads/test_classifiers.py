import torch
from torch import nn

from mmfusion.heads import AverageHead, SingleHead
from mmfusion.spec import Classes, Columns, DataSpec, Image, Regression, Survival

SPEC = DataSpec(
    {"x": Image(1, (8, 8)), "t": Columns(("a",))}, targets={"y": Classes(3), "z": Regression(2), "s": Survival(5)}
)


def test_average_counts_what_a_case_has() -> None:
    """By hand: of two linear classifiers, case 0 has both, case 1 the second, case 2 none."""
    head = AverageHead(SPEC, names=("x", "t"), dim=4, hidden=()).eval()
    x, t = torch.randn(3, 4), torch.randn(3, 4)
    x[1:], t[2] = 0, 0
    out = head({"t": t, "x": x, "other": torch.randn(3, 4)})
    for name in SPEC.targets:
        one, two = (head.classifiers[key].outputs[name] for key in ("x", "t"))
        expected = torch.stack([(one(x[0]) + two(t[0])) / 2, two(t[1]), torch.zeros_like(two(t[2]))])
        torch.testing.assert_close(out[name], expected)


def test_average_with_one_classifier_for_all() -> None:
    head = AverageHead(SPEC, names=("x", "t"), dim=4, hidden=(3,), shared=True).eval()
    assert list(head.classifiers) == ["all"]
    x, t = torch.randn(2, 4), torch.randn(2, 4)
    read = head.classifiers["all"]
    torch.testing.assert_close(head({"x": x, "t": t})["y"], (read(x)["y"] + read(t)["y"]) / 2)


def test_average_of_what_is_normalised() -> None:
    """By hand, in double precision; what a case lacks is told before it is normalised."""
    head = AverageHead(SPEC, names=("x", "t"), dim=4, hidden=(), shared=True, norm=True).double().eval()
    classifier = head.classifiers["all"]
    scale, shift = torch.tensor([1.0, -2.0, 0.5, 3.0]).double(), torch.tensor([0.1, 0.2, -0.3, 0.4]).double()
    with torch.no_grad():
        classifier.shared[0].weight.copy_(scale)
        classifier.shared[0].bias.copy_(shift)
    x, t = torch.randn(2, 4).double(), torch.randn(2, 4).double()
    t[1] = 0
    read = []
    for one in (x, t):
        centred = one - one.mean(1, keepdim=True)
        normed = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * scale + shift
        read.append(normed @ classifier.outputs["y"].weight.T + classifier.outputs["y"].bias)
    expected = torch.stack([(read[0][0] + read[1][0]) / 2, read[0][1]])
    torch.testing.assert_close(head({"x": x, "t": t})["y"], expected, rtol=1e-12, atol=1e-12)


def test_single() -> None:
    """One of the embeddings, normalised: its scale has no effect."""
    head = SingleHead(SPEC, of="latents", dim=4, hidden=(5,), norm=True).eval()
    x = torch.randn(2, 4)
    out = head({"latents": x, "t": torch.randn(2, 4)})
    kinds = [type(layer) for layer in head.shared]
    assert kinds == [nn.LayerNorm, nn.Linear, nn.ReLU, nn.Dropout]
    torch.testing.assert_close(out["y"], head.outputs["y"](head.shared(x)))
    torch.testing.assert_close(head({"latents": 1000 * x})["y"], out["y"], rtol=1e-3, atol=1e-3)
