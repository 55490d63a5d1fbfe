import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mmfusion.losses import (
    ClassBalancedLoss,
    LossBank,
    Objective,
    SampleAnchorLoss,
    class_balanced_loss,
    focal_loss,
    logit_adjusted_loss,
    target_loss,
)
from mmfusion.spec import Classes, Labels, Regression, Survival, Target
from mmfusion.tokens import LossInputs

G = torch.Generator().manual_seed(0)
OUT = torch.randn(3, 4, generator=G, dtype=torch.float64)


def test_classes_loss_is_cross_entropy() -> None:
    labels = torch.tensor([3, 0, 1])
    shares = OUT.exp() / OUT.exp().sum(1, keepdim=True)
    expected = -sum(math.log(shares[i, labels[i]]) for i in range(3)) / 3
    assert target_loss(Classes(4), OUT, labels).item() == pytest.approx(expected, rel=1e-12)


def test_label_smoothing_matches_reference() -> None:
    labels = torch.tensor([3, 0, 1])
    logs = (OUT.exp() / OUT.exp().sum(1, keepdim=True)).log()
    wanted = 0.8 * torch.nn.functional.one_hot(labels, 4).double() + 0.2 / 4
    expected = -(wanted * logs).sum() / 3
    found = target_loss(Classes(4), OUT, labels, label_smoothing=0.2)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_labels_loss_ignores_missing_labels() -> None:
    target = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    p = 1 / (1 + (-OUT).exp())
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    for given in (target, target.long(), target.bool()):
        assert target_loss(Labels(4), OUT, given).item() == pytest.approx(expected.item(), rel=1e-12)


def test_regression_loss_is_mean_squared_error() -> None:
    target = torch.zeros(3, 4)
    assert target_loss(Regression(4), OUT, target).item() == pytest.approx((OUT**2).mean().item(), rel=1e-12)


def test_survival_loss_matches_likelihood() -> None:
    """An event in interval t: survived 0..t-1, died in t. Censored in t: survived 0..t."""
    target = torch.tensor([[0, 1], [3, 1], [2, 0]])
    hazard = (1 / (1 + (-OUT).exp())).tolist()
    likelihood = [
        hazard[0][0],
        (1 - hazard[1][0]) * (1 - hazard[1][1]) * (1 - hazard[1][2]) * hazard[1][3],
        (1 - hazard[2][0]) * (1 - hazard[2][1]) * (1 - hazard[2][2]),
    ]
    expected = -sum(map(math.log, likelihood)) / 3
    assert target_loss(Survival(4), OUT, target).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    out, labels = OUT.to(dtype), torch.tensor([3, 0, 1])
    loss = target_loss(Classes(4), out, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, target_loss(Classes(4), out.float(), labels))


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "message"),
    [
        (Classes(4), torch.zeros(3).long(), torch.zeros(3), r"int64 of shape \(3,\), got torch.float32"),
        (Classes(4), torch.zeros(3).long(), torch.zeros(3).int(), r"int64 of shape \(3,\), got torch.int32"),
        (Classes(4), torch.zeros(3).long(), torch.zeros(3, 1).long(), r"shape \(3,\), got torch.int64 \(3, 1\)"),
        (Labels(4), torch.zeros(3, 4), torch.zeros(3), r"numeric of shape \(3, 4\), got torch.float32 \(3,\)"),
        (Regression(4), torch.zeros(3, 4), torch.zeros(3, 1), r"numeric of shape \(3, 4\)"),
        (Survival(4), torch.zeros(3, 2).long(), torch.zeros(3, 2), r"int64 of shape \(3, 2\)"),
    ],
)
def test_invalid_target_raises(kind: Target, right: Tensor, wrong: Tensor, message: str) -> None:
    assert target_loss(kind, OUT, right).isfinite()
    with pytest.raises(ValueError, match=message):
        target_loss(kind, OUT, wrong)


@pytest.mark.parametrize("kind", [Classes(5), Labels(5), Regression(5), Survival(5)])
def test_invalid_output_raises(kind: Target) -> None:
    with pytest.raises(ValueError, match=r"output for .* of shape \(b, 5\), got torch.float64 \(3, 4\)"):
        target_loss(kind, OUT, torch.zeros(3).long())


def loss_inputs(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> LossInputs:
    return LossInputs(outputs, {"a": OUT}, targets, {}, {})


def test_one_loss_per_target() -> None:
    objective = Objective({"x": Classes(4), "y": Regression(1)})
    labels, value = torch.tensor([1, 2, 3]), torch.ones(3, 1)
    losses = objective(loss_inputs({"x": OUT, "y": OUT[:, :1]}, {"x": labels, "y": value}))
    assert losses == {
        "x": target_loss(Classes(4), OUT, labels),
        "y": target_loss(Regression(1), OUT[:, :1], value),
    }


def test_bank_losses_are_added() -> None:
    objective = Objective({"x": Classes(4)}, LossBank(4, {"sample": (1.0, SampleAnchorLoss())}))
    assert list(objective(loss_inputs({"x": OUT}, {"x": torch.tensor([1, 2, 3])}))) == ["x", "sample"]


def test_target_named_like_loss_raises() -> None:
    with pytest.raises(ValueError, match=r"\['sample'\] name a target and a loss"):
        Objective({"sample": Classes(4)}, LossBank(4, {"sample": (1.0, SampleAnchorLoss())}))


LABEL = {"x": torch.tensor([1, 2, 3])}


@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        ({"x": OUT}, {}, r"targets \['x'\] are missing, got \[\]"),
        ({"z": OUT}, LABEL, r"outputs \['x'\] are missing, got \['z'\]"),
    ],
)
def test_missing_output_or_target_raises(outputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective({"x": Classes(4)})(loss_inputs(outputs, targets))


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "message"),
    [
        (Classes(4), torch.tensor([0, 3, 3]), torch.tensor([0, 4, 3]), "labels must lie in 0..3, got 0 to 4"),
        (Survival(4), torch.tensor([[0, 1]] * 3), torch.tensor([[4, 1]] * 3), "must lie in 0..3, got 4 to 4"),
        (Survival(4), torch.tensor([[0, 1]] * 3), torch.tensor([[0, 2]] * 3), "must lie in 0..1, got 2 to 2"),
        (Regression(4), OUT, OUT * float("nan"), "targets for 'x' must be finite"),
        (Labels(4), OUT * 0, OUT / 0, "targets for 'x' must be finite"),
    ],
)
def test_check_invalid_targets_raise(kind: Target, right: Tensor, wrong: Tensor, message: str) -> None:
    objective = Objective({"x": kind})
    objective.check(loss_inputs({"x": OUT}, {"x": right}))
    with pytest.raises(ValueError, match=message):
        objective.check(loss_inputs({"x": OUT}, {"x": wrong}))


def test_check_nonfinite_outputs_raise() -> None:
    with pytest.raises(ValueError, match="outputs for 'x' must be finite"):
        Objective({"x": Classes(4)}).check(loss_inputs({"x": OUT * float("inf")}, LABEL))


def test_classification_loss_is_configurable() -> None:
    inputs = loss_inputs({"x": OUT, "y": OUT[:, :1]}, LABEL | {"y": torch.ones(3, 1)})
    objective = Objective({"x": Classes(4), "y": Regression(1)}, classification={"name": "focal", "gamma": 0.5})
    assert torch.equal(objective(inputs)["x"], focal_loss(OUT, LABEL["x"], gamma=0.5))
    smoothed = Objective({"x": Classes(4)}, classification="cross_entropy", label_smoothing=0.1)
    assert torch.equal(smoothed(inputs)["x"], target_loss(Classes(4), OUT, LABEL["x"], label_smoothing=0.1))


def test_counts_reach_losses_that_need_them() -> None:
    bank = LossBank(4, {"balanced": (1.0, ClassBalancedLoss(target="x")), "sample": (1.0, SampleAnchorLoss())})
    objective = Objective({"x": Classes(4)}, bank, classification="logit_adjusted")
    inputs, counts = loss_inputs({"x": OUT}, LABEL), torch.tensor([7, 1, 2, 3])
    with pytest.raises(ValueError, match="needs the number of training cases of each class"):
        objective(inputs)
    objective.set_counts({"x": counts})
    losses = objective(inputs)
    torch.testing.assert_close(losses["x"], logit_adjusted_loss(OUT, LABEL["x"], counts))
    torch.testing.assert_close(losses["balanced"], class_balanced_loss(OUT, LABEL["x"], counts))


def test_given_counts_are_kept() -> None:
    objective = Objective({"x": Classes(4)}, classification={"name": "logit_adjusted", "counts": [1, 2, 3, 4]})
    objective.set_counts({"x": torch.tensor([7, 1, 2, 3])})
    assert objective.classification["x"].counts.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classification": "focl"}, "unknown loss 'focl'; did you mean 'focal'"),
        ({"classification": {"name": "focal", "gama": 1}}, "loss 'focal' has no option 'gama'; did you mean 'gamma'"),
        ({"classification": "uniformity"}, "'uniformity' is no loss of logits and labels"),
        ({"classification": "focal", "label_smoothing": 0.1}, "'focal' takes no label smoothing"),
    ],
)
def test_invalid_classification_loss_raises(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective({"x": Classes(4)}, **options)
