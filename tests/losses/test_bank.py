from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmfusion as mmf
from mmfusion.losses import Batch, CrossmodalAnchorLoss, Loss, LossBank, SampleAnchorLoss, UnimodalAnchorLoss
from mmfusion.losses.anchor_loss import AnchorLoss
from mmfusion.tokens import LossInputs

X, LABELS = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


class Constant(Loss):
    """A loss without anchors; counts its calls."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.n_calls = 0

    def compute(self, batch: Batch) -> Tensor:
        self.n_calls += 1
        return torch.tensor(self.value)


def bank(sample: float = 0.5, unimodal: float = 2.0, crossmodal: float = 1.0) -> LossBank:
    terms = {
        "sample": (sample, SampleAnchorLoss()),
        "unimodal": (unimodal, UnimodalAnchorLoss()),
        "crossmodal": (crossmodal, CrossmodalAnchorLoss()),
    }
    return LossBank(3, terms)


def inputs(x: Tensor = X, labels: Tensor = LABELS, **present: Tensor) -> LossInputs:
    return LossInputs({}, {"a": x[0], "b": x[1]}, {"label": labels}, present, {})


def test_bank_weights_each_loss() -> None:
    losses = bank()
    values = losses(X, LABELS)
    terms = {"sample": SampleAnchorLoss, "unimodal": UnimodalAnchorLoss, "crossmodal": CrossmodalAnchorLoss}
    alone = {name: term(n_classes=3)(X, LABELS) for name, term in terms.items()}
    assert list(values) == list(alone)
    for name, weight in {"sample": 0.5, "unimodal": 2.0, "crossmodal": 1.0}.items():
        assert torch.equal(values[name], weight * alone[name])
        assert torch.equal(losses.unweighted()[name], alone[name])


def test_unweighted_values_are_detached() -> None:
    losses = bank()
    assert losses.unweighted() == {}
    losses(X.clone().requires_grad_(), LABELS)
    first = losses.unweighted()
    assert not any(value.requires_grad for value in first.values())
    losses(X.flip(2) * torch.tensor([1.0, -1, 2, 3]), LABELS)
    assert losses.unweighted()["sample"] != first["sample"]


def test_weight_zero_is_not_computed() -> None:
    constant = Constant(3.0)
    losses = LossBank(3, {"sample": (1.0, SampleAnchorLoss()), "other": (0.0, constant)})
    assert list(losses(X, LABELS)) == ["sample"]
    assert constant.n_calls == 0


def test_custom_loss_in_bank() -> None:
    losses = LossBank(3, {"sample": (1.0, SampleAnchorLoss()), "other": (0.25, Constant(3.0))})
    assert losses(inputs())["other"].item() == 0.75
    assert losses(X, LABELS)["other"].item() == 0.75


def test_losses_share_one_set_of_prototypes(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfusion.losses import batch

    calls = []
    for name in ("anchors_of_units", "units_of"):
        original = getattr(batch, name)
        monkeypatch.setattr(batch, name, lambda *args, f=original, n=name, **kw: calls.append(n) or f(*args, **kw))
    bank()(inputs())
    assert sorted(calls) == ["anchors_of_units", "units_of"]


@pytest.mark.parametrize("present", [False, True])
def test_call_signatures_agree(present: bool) -> None:
    there = torch.tensor([[True] * 6, [True, False] * 3])
    named = {"a": there[0], "b": there[1]}
    expected = bank()(inputs(**named if present else {}))
    ways = [
        bank()({"a": X[0], "b": X[1]}, LABELS, named if present else None),
        bank()({"a": X[0], "b": X[1]}, LABELS, there if present else None),
        bank()(X, LABELS, there if present else None),
        bank()([X[0], X[1]], LABELS, there if present else None),
    ]
    for values in ways:
        assert all(torch.equal(values[name], expected[name]) for name in expected)


def test_guide_example_runs() -> None:
    """With any network: the sum goes backward."""
    x = X.clone().requires_grad_()
    sum(bank()({"a": x[0], "b": x[1]}, LABELS).values()).backward()
    assert bool(x.grad.any())


def test_created_by_name() -> None:
    assert isinstance(mmf.registry.losses.create("sample_anchor", temperature=0.5), AnchorLoss)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bank(sample=-1.0), "weight of 'sample' must be finite and not negative, got -1.0"),
        (lambda: bank(unimodal=float("inf")), "weight of 'unimodal' must be finite"),
        (lambda: bank(crossmodal=float("nan")), "weight of 'crossmodal' must be finite"),
        (
            lambda: LossBank(3, {"sample": (1.0, SampleAnchorLoss(n_classes=2))}),
            "'sample' was built for 2 classes, the bank has 3",
        ),
        (
            lambda: LossBank(3, {"other": (1.0, nn.Identity())}),
            r"'other' must be a Loss, got Identity: subclass Loss and override compute\(\)",
        ),
        (lambda: bank()(X), "labels are needed with embeddings"),
        (lambda: bank()(X, LABELS[:2]), r"labels must be int64 of shape \(6,\)"),
        (lambda: bank()(X, LABELS, torch.ones(1, 6).bool()), r"shape \(m, b\) for 2 modalities, got \(1, 6\)"),
        (lambda: bank()(X, LABELS, {"a": LABELS > 0}), "present by name needs embeddings by name"),
        (
            lambda: bank()(LossInputs({}, {"a": X[0]}, {"x": LABELS, "y": LABELS}, {}, {})),
            r"one target, got \['x', 'y'\]",
        ),
        (lambda: bank().check(inputs(labels=LABELS + 1)), "labels must lie in 0..2, got 1 to 3"),
        (lambda: bank().check(inputs(labels=LABELS - 1)), "labels must lie in 0..2, got -1 to 1"),
    ],
)
def test_invalid_options_and_inputs_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_check_names_the_modality() -> None:
    x = X.clone()
    x[1, 2, 0] = float("inf")
    x[1, 3, 1] = float("nan")
    bank().check(inputs())
    with pytest.raises(ValueError, match="embeddings of 'b' must be finite, 2 of 6 cases are not"):
        bank().check(inputs(x))


def test_check_ignores_missing_modalities() -> None:
    x = X.clone()
    x[1, 2] = float("nan")
    there = torch.arange(6) != 2
    bank().check(inputs(x, b=there))
    with pytest.raises(ValueError, match="'b'"):
        bank().check(inputs(x, a=there))
