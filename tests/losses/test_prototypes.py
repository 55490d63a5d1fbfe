from typing import Any

import pytest
import torch

from helpers import golden_numbers as golden
from mmfusion.losses import Prototypes, anchor_set

ROOT = 0.5**0.5


def prototypes(*args: Any) -> Prototypes:
    return anchor_set(*args).prototypes


@pytest.mark.parametrize("key", golden.cases("loss_bank"))
def test_matches_published_prototypes(key: str) -> None:
    n_classes = golden.case("loss_bank", key)["num_classes"]
    found = prototypes(
        golden.array("loss_bank", f"{key}__features"), golden.array("loss_bank", f"{key}__labels"), n_classes
    )
    torch.testing.assert_close(found.unimodal, golden.array("loss_bank", f"{key}__uni"), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.crossmodal, golden.array("loss_bank", f"{key}__cross"), rtol=0, atol=1e-9)
    assert bool(found.has_unimodal.all())
    assert bool(found.has_crossmodal.all())


def test_prototypes_by_hand() -> None:
    """Lengths do not count; the crossmodal direction is that of the mean of the means, not of the directions."""
    embeddings = {
        "a": torch.tensor([[5.0, 0.0], [0.0, 0.1], [-1.0, 0.0]]),
        "b": torch.tensor([[0.0, 1.0], [0.0, 9.0], [0.0, -2.0]]),
    }
    found = prototypes(embeddings, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(found.unimodal[0], torch.tensor([[ROOT, ROOT], [-1.0, 0.0]]))
    torch.testing.assert_close(found.unimodal[1], torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
    mean = torch.tensor([0.5, 1.5])
    torch.testing.assert_close(found.crossmodal[0], mean / mean.norm())
    torch.testing.assert_close(found.crossmodal[1], torch.tensor([-ROOT, -ROOT]))


def test_absent_class_and_out_of_range_label() -> None:
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]]])
    found = prototypes(x, torch.tensor([0, 2, -1]), 3)
    assert found.has_crossmodal.tolist() == [True, False, True]
    assert torch.equal(found.unimodal[0], torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))


def test_absent_modality_has_no_effect() -> None:
    """Case 1 lacks the second modality, class 1 lacks it altogether."""
    x = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [float("nan"), 7.0]]], requires_grad=True)
    found = prototypes(x, torch.tensor([0, 1]), 2, torch.tensor([[True, True], [True, False]]))
    assert found.has_unimodal.tolist() == [[True, True], [True, False]]
    assert found.has_crossmodal.tolist() == [True, True]
    assert torch.equal(found.unimodal[1, 1], torch.zeros(2))
    torch.testing.assert_close(found.crossmodal, torch.tensor([[ROOT, ROOT], [0.0, 1.0]]))
    (found.crossmodal[:, 0].sum() + found.unimodal.sum()).backward()
    assert bool(x.grad.isfinite().all())
    assert torch.equal(x.grad[1, 1], torch.zeros(2))


@pytest.mark.parametrize("kind", ["dict", "list", "stacked"])
def test_embeddings_as_tensor_list_or_dict_agree(kind: str) -> None:
    x = torch.randn(2, 4, 3)
    given: dict[str, Any] = {"dict": {"a": x[0], "b": x[1]}, "list": [x[0], x[1]], "stacked": x}
    labels = torch.tensor([0, 1, 0, 1])
    for one, other in zip(prototypes(given[kind], labels, 2), prototypes(x, labels, 2), strict=True):
        assert torch.equal(one, other)


X, LABELS = torch.randn(2, 4, 3), torch.tensor([0, 1, 0, 1])
ROW = torch.ones(4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("embeddings", "labels", "present", "message"),
    [
        (X[0], LABELS, None, r"all of them as \(m, b, d\), got none"),
        (X.long(), LABELS, None, r"'0' must be floating point of shape \(b, d\), got torch.int64"),
        ({}, LABELS, None, "at least one modality"),
        ({"a": X[0], "b": X[1, :3]}, LABELS, None, r"'b' must be .* \(4, 3\), got torch.float32 \(3, 3\)"),
        (X, LABELS.float(), None, r"labels must be int64 of shape \(4,\), got torch.float32"),
        (X, LABELS[:3], None, r"labels must be int64 of shape \(4,\), got torch.int64 \(3,\)"),
        (X, LABELS, torch.ones(2, 4), r"present\['0'\] must be bool of shape \(4,\), got torch.float32"),
        (X, LABELS, {"a": ROW}, "present by name needs embeddings by name"),
        ({"a": X[0]}, LABELS, {"a": ROW[:3]}, r"present\['a'\] must be bool of shape \(4,\), got torch.bool \(3,\)"),
    ],
)
def test_invalid_inputs_raise(embeddings: Any, labels: Any, present: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prototypes(embeddings, labels, 2, present)
