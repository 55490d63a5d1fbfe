import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.heads import LateHead
from mmfusion.heads.late import Combine
from mmfusion.spec import Classes, Columns, DataSpec, Image, Labels, Regression

TARGETS = {"y": Classes(3), "z": Regression(2)}
SPEC = DataSpec({"a": Image(1, (8, 8)), "b": Image(1, (8, 8)), "t": Columns(("c",))}, targets=TARGETS)
CLASSES = DataSpec(SPEC.modalities, n_classes=3)


def build(combine: Combine, spec: DataSpec = CLASSES) -> LateHead:
    torch.manual_seed(1)
    return LateHead(spec, dim=4, combine=combine, hidden=(5,), dropout=0.5).double().eval()


def batch(n: int = 4) -> dict[str, torch.Tensor]:
    return {name: torch.randn(n, 4, dtype=torch.float64) for name in SPEC.names}


def by_hand(combine: str, logits: list[list[float]], weights: list[float]) -> list[float]:
    """Of the modalities that one case has."""
    if not logits:
        return [0.0] * 3
    columns = list(zip(*logits, strict=True))
    if combine == "mean":
        return [sum(column) / len(column) for column in columns]
    if combine == "max":
        return [max(column) for column in columns]
    if combine == "product":
        return [sum(column) for column in columns]
    total = sum(math.exp(weight) for weight in weights)
    return [sum(math.exp(w) / total * x for w, x in zip(weights, column, strict=True)) for column in columns]


@pytest.mark.parametrize("combine", ["mean", "learned", "product", "max"])
@given(have=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=4, max_size=4))
def test_what_is_there_is_combined(combine: Combine, have: list[list[bool]]) -> None:
    head, embeddings = build(combine), batch()
    weights = [0.3, -1.0, 2.0]
    if head.weight is not None:
        head.weight.data = torch.tensor(weights, dtype=torch.float64)
    present = {name: torch.tensor([row[i] for row in have]) for i, name in enumerate(SPEC.names)}
    found = head({name: x.where(present[name][:, None], 0.0) for name, x in embeddings.items()}, present)["label"]
    for case, row in enumerate(have):
        names = [name for name, there in zip(SPEC.names, row, strict=True) if there]
        each = [head.heads[name]({name: embeddings[name]})["label"][case].tolist() for name in names]
        kept = [weight for weight, there in zip(weights, row, strict=True) if there]
        assert found[case].tolist() == pytest.approx(by_hand(combine, each, kept), abs=1e-12)


def test_the_product_is_that_of_the_probabilities() -> None:
    head, embeddings = build("product"), batch()
    p = torch.stack([head.heads[name]({name: x})["label"].softmax(-1) for name, x in embeddings.items()]).prod(0)
    torch.testing.assert_close(head(embeddings)["label"].softmax(-1), p / p.sum(-1, keepdim=True))


def test_the_product_of_labels_is_that_of_both_outcomes() -> None:
    spec = DataSpec(SPEC.modalities, targets={"marks": Labels(2)})
    head, embeddings = build("product", spec), batch()
    p = torch.stack([head.heads[name]({name: x})["marks"].sigmoid() for name, x in embeddings.items()])
    yes, no = p.prod(0), (1 - p).prod(0)
    torch.testing.assert_close(head(embeddings)["marks"].sigmoid(), yes / (yes + no))


def test_each_target_and_equal_weights_at_the_start() -> None:
    learned, mean, embeddings = build("learned", SPEC), build("mean", SPEC), batch()
    mean.load_state_dict({key: x for key, x in learned.state_dict().items() if key != "weight"})
    one, other = learned(embeddings), mean(embeddings)
    assert {name: tuple(x.shape) for name, x in one.items()} == {"y": (4, 3), "z": (4, 2)}
    for name in TARGETS:
        torch.testing.assert_close(one[name], other[name])


@pytest.mark.parametrize("combine", ["mean", "learned", "product", "max"])
def test_gradients_of_a_case_that_has_nothing(combine: Combine) -> None:
    head, embeddings = build(combine), batch()
    nothing = {name: torch.tensor([False, True, True, True]) for name in SPEC.names}
    inputs = {name: x.where(nothing[name][:, None], 0.0).requires_grad_() for name, x in embeddings.items()}
    head(inputs, nothing)["label"].square().sum().backward()
    for x in inputs.values():
        assert bool(x.grad.isfinite().all())
        assert not bool(x.grad[0].any())
        assert bool(x.grad[1:].any())
    assert all(bool(p.grad.isfinite().all()) for p in head.parameters())


def test_weights_far_apart() -> None:
    head, embeddings = build("learned"), batch()
    head.weight.data = torch.tensor([0.0, 2000.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(head(embeddings)["label"], head.heads["b"]({"b": embeddings["b"]})["label"])
    # Left to themselves, the two light ones share the whole.
    there = {"b": torch.zeros(4, dtype=torch.bool)}
    assert bool(head(embeddings, there)["label"].isfinite().all())


@pytest.mark.parametrize(
    ("spec", "combine", "message"),
    [
        (CLASSES, "vote", r"combine expects one of mean, learned, product, max, got 'vote'"),
        (SPEC, "product", r"multiplies probabilities, the targets \['z'\] have none"),
    ],
)
def test_what_is_refused(spec: DataSpec, combine: Combine, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(combine, spec)
