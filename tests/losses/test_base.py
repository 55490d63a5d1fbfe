"""The base class: the method to override, what a bank and an objective give, how it prints."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from mmfusion.losses import Batch, ClassBalancedLoss, Loss, LossBank, Objective, SampleAnchorLoss
from mmfusion.losses.base import Need
from mmfusion.spec import Classes
from mmfusion.tokens import LossInputs

X, LABELS = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


class Prior(Loss):
    """A loss that needs all that can be needed, and says what it has."""

    needs: ClassVar[frozenset[Need]] = frozenset({"n_classes", "counts"})

    def __init__(self, *, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = factor
        self.counts = torch.zeros(0)

    def set_counts(self, counts: Tensor) -> None:
        self.counts, self.has_counts = counts, True

    def compute(self, batch: Batch) -> Tensor:
        return self.factor * (self.counts / self.counts.sum())[batch.labels].mean() * (self.n_classes or 0)


def test_bank_sets_n_classes_and_objective_sets_counts() -> None:
    """The number of classes by the bank, the counts by the objective, once."""
    loss, untouched = Prior(), SampleAnchorLoss(n_classes=3)
    bank = LossBank(3, {"prior": (1.0, loss), "sample": (1.0, untouched)})
    assert loss.n_classes == 3
    objective = Objective({"label": Classes(3)}, bank)
    objective.set_counts({"label": torch.tensor([1, 2, 1])})
    objective.set_counts({"label": torch.tensor([7, 1, 1])})
    inputs = LossInputs({"label": torch.zeros(6, 3)}, {"a": X[0]}, {"label": LABELS}, {}, {})
    assert objective(inputs)["prior"].item() == pytest.approx(2.0 * 3 / 3)
    assert not untouched.has_counts
    with pytest.raises(ValueError, match=r"counts of 'label' are needed, got those of \['other'\]"):
        Objective({"label": Classes(3)}, LossBank(3, {"prior": (1.0, Prior())})).set_counts({"other": LABELS})


def test_batch_caches_derived_values() -> None:
    batch = Batch(LossInputs({}, {"a": X[0], "b": X[1]}, {"label": LABELS}, {}, {}))
    assert batch.units is batch.units
    assert batch.anchors(3) is batch.anchors(3)
    assert batch.anchors(3).units is batch.units.x
    assert batch.labels is LABELS


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Batch(LossInputs({}, {"a": X[0]}, {}, {}, {})).labels, "labels are needed with embeddings"),
        (lambda: Batch(LossInputs({}, {}, {}, {}, {})).units, "at least one modality's embeddings are needed"),
        (
            lambda: SampleAnchorLoss()(X, LABELS),
            "number of classes is unknown: give n_classes to the loss or to its bank",
        ),
        (lambda: SampleAnchorLoss(n_classes=3).set_n_classes(4), "was built for 3 classes, it cannot have 4"),
    ],
)
def test_missing_inputs_raise_with_their_names(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("method", ["compute", "set_counts"])
def test_missing_method_raises(method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"Loss must define {method}\(\)"):
        getattr(Loss(), method)(None)


def test_repr_shows_options() -> None:
    assert repr(Prior(factor=0.5)) == "Prior(factor=0.5)"
    assert "beta=0.9, gamma=2.0" in repr(ClassBalancedLoss(beta=0.9, gamma=2.0))
