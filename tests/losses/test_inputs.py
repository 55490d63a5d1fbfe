from typing import Any

import pytest
import torch
from torch import Tensor

from mmfusion.losses import Batch, Loss
from mmfusion.losses.inputs import loss_inputs, stack_embeddings, units_of
from mmfusion.losses.pairs import modality_pairs
from mmfusion.tokens import LossInputs

G = torch.Generator().manual_seed(0)
X = torch.randn(3, 4, 2, generator=G)
NAMED = {"a": X[0], "b": X[1], "c": X[2]}
PRESENT = torch.tensor([[True] * 4, [True, False, True, True], [False] * 4])
LABELS = torch.tensor([0, 1, 0, 1])


def of(embeddings: Any = NAMED, present: Any = None) -> LossInputs:
    return loss_inputs(embeddings, LABELS, present)


def batch(embeddings: Any = NAMED, present: Any = None) -> Batch:
    return Batch(of(embeddings, present))


def test_embeddings_as_tensor_list_or_dict_agree() -> None:
    for embeddings in (X, list(X), dict(zip("012", X))):
        found = loss_inputs(embeddings, LABELS, PRESENT, {"more": X[0]})
        assert list(found.embeddings) == ["0", "1", "2"]
        assert torch.equal(stack_embeddings(found.embeddings), X)
        assert torch.equal(torch.stack(list(found.present.values())), PRESENT)
        assert found.targets == {"label": LABELS}
        assert list(found.aux) == ["more"]
    assert loss_inputs(X).targets == {}


def test_loss_inputs_are_returned_unchanged() -> None:
    given = of()
    assert loss_inputs(given) is given


def test_units_of_missing_embeddings_are_zero() -> None:
    x = X.clone()
    x[~PRESENT] = float("nan")
    x[0, 0] = 0
    leaf = x.requires_grad_()
    given = loss_inputs(leaf, None, PRESENT)
    found = units_of(given.embeddings, given.present)
    lengths = found.x.norm(dim=-1)
    expected = PRESENT.float()
    expected[0, 0] = 0
    torch.testing.assert_close(lengths, expected)
    assert torch.equal(found.present, PRESENT)
    found.x.sum().backward()
    assert not bool(leaf.grad[~PRESENT].any())
    assert not bool(leaf.grad[0, 0].any())


def test_modality_pairs_default_to_all() -> None:
    first, second, both = modality_pairs(batch(present={"b": PRESENT[1], "c": PRESENT[2]}))
    unit_x, there = units_of(NAMED, dict(zip(NAMED, PRESENT)))
    assert first.shape == (3, 4, 2)
    for p, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        assert torch.equal(first[p], unit_x[i])
        assert torch.equal(second[p], unit_x[j])
        assert torch.equal(both[p], there[i] & there[j])


def test_modality_pairs_by_name() -> None:
    c, a, _ = modality_pairs(batch(), [("c", "a")])
    first, second, _ = modality_pairs(batch())
    assert torch.equal(c, second[1:2])
    assert torch.equal(a, first[1:2])


class Sum(Loss):
    def compute(self, batch: Batch) -> Tensor:
        return stack_embeddings(batch.embeddings).sum()


def test_loss_accepts_tensors_and_loss_inputs() -> None:
    assert Sum()(X) == Sum()(NAMED, LABELS) == Sum()(of()) == X.sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss_inputs(of(), LABELS), "labels, present and aux are part of LossInputs"),
        (lambda: loss_inputs(of(), None, {"a": PRESENT[0]}), "are part of LossInputs"),
        (lambda: loss_inputs(X, LABELS, PRESENT[:2]), r"shape \(m, b\) for 3 modalities, got \(2, 4\)"),
        (lambda: loss_inputs(X, LABELS, {"0": PRESENT[0]}), "present by name needs embeddings by name"),
        (lambda: Sum()(X[0]), "at least one modality's embeddings are needed"),
        (lambda: Sum()(X.long()), "must be floating point"),
        (lambda: stack_embeddings({}), "at least one modality's embeddings are needed"),
        (lambda: stack_embeddings({"a": X[0], "b": X[1, :3]}), r"'b' must be .* of shape \(4, 2\), got .* \(3, 2\)"),
        (lambda: stack_embeddings({"a": X[0], "b": X[1, :, :1]}), r"'b' must be .*, got .* \(4, 1\)"),
        (lambda: units_of(NAMED, {"a": PRESENT[0, :3]}), r"present\['a'\] must be bool of shape \(4,\)"),
        (lambda: batch(X, PRESENT.float()).units, r"present\['0'\] must be bool"),
        (lambda: modality_pairs(batch({"a": X[0]})), r"embeddings of at least two modalities, got \['a'\]"),
        (
            lambda: modality_pairs(batch(), [("a", "x")]),
            r"unknown embeddings \['x'\], expected some of \['a', 'b', 'c'\]",
        ),
    ],
)
def test_invalid_inputs_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_missing_compute_raises() -> None:
    with pytest.raises(NotImplementedError, match=r"Loss must define compute\(\)"):
        Loss()(X)
