"""Outputs of one head per modality, combined; against arithmetic by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmfusion import registry
from mmfusion.fusion.decisions import DecisionFusion, LearnedDecision, MeanDecision, ProductDecision
from mmfusion.spec import Classes, Labels, Regression

TARGETS = {"y": Classes(3), "z": Regression(2)}
NAMES = ("a", "b", "t")
KINDS = registry.decisions.list()
every = pytest.mark.parametrize("kind", KINDS)


def build(kind: str) -> Any:
    return registry.decisions.create(kind, NAMES).double()


def batch(n: int = 4, n_out: int = 3, target: str = "label") -> dict[str, dict[str, Tensor]]:
    return {name: {target: torch.randn(n, n_out, dtype=torch.float64)} for name in NAMES}


def by_hand(kind: str, logits: list[list[float]], weights: list[float]) -> list[float]:
    """Of the modalities that one case has."""
    if not logits:
        return [0.0] * 3
    columns = list(zip(*logits, strict=True))
    if kind == "mean":
        return [sum(column) / len(column) for column in columns]
    if kind == "max":
        return [max(column) for column in columns]
    if kind == "product":
        return [sum(column) for column in columns]
    total = sum(math.exp(weight) for weight in weights)
    return [sum(math.exp(w) / total * x for w, x in zip(weights, column, strict=True)) for column in columns]


def test_all_registered_decisions_are_tested() -> None:
    assert KINDS == ["learned", "max", "mean", "product"]


@every
@given(have=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=4, max_size=4))
def test_combines_present_modalities_only(kind: str, have: list[list[bool]]) -> None:
    """Whatever the head outputs for an absent modality: its bias, or NaN."""
    decide, outputs, weights = build(kind), batch(), [0.3, -1.0, 2.0]
    if isinstance(decide, LearnedDecision):
        decide.weight.data = torch.tensor(weights, dtype=torch.float64)
    present = {name: torch.tensor([row[i] for row in have]) for i, name in enumerate(NAMES)}
    spoilt = {name: {"label": x["label"].where(present[name][:, None], float("nan"))} for name, x in outputs.items()}
    found = decide(spoilt, present)["label"]
    for case, row in enumerate(have):
        each = [outputs[name]["label"][case].tolist() for name, there in zip(NAMES, row, strict=True) if there]
        kept = [weight for weight, there in zip(weights, row, strict=True) if there]
        assert found[case].tolist() == pytest.approx(by_hand(kind, each, kept), abs=1e-12)


def test_zero_outputs_do_not_mean_absent() -> None:
    """A modality whose outputs happen to be 0 counts, unless it is marked absent."""
    outputs = batch()
    outputs["b"]["label"].zero_()
    found = build("mean")(outputs)["label"]
    torch.testing.assert_close(found, (outputs["a"]["label"] + outputs["t"]["label"]) / 3)


def test_product_of_class_probabilities() -> None:
    outputs = batch()
    p = torch.stack([x["label"].softmax(-1) for x in outputs.values()]).prod(0)
    torch.testing.assert_close(build("product")(outputs)["label"].softmax(-1), p / p.sum(-1, keepdim=True))


def test_product_of_label_probabilities() -> None:
    outputs = batch(n_out=2, target="marks")
    p = torch.stack([x["marks"].sigmoid() for x in outputs.values()])
    yes, no = p.prod(0), (1 - p).prod(0)
    found = ProductDecision(NAMES, {"marks": Labels(2)})(outputs)["marks"]
    torch.testing.assert_close(found.sigmoid(), yes / (yes + no))


def test_targets_are_combined_with_equal_initial_weights() -> None:
    outputs = {name: {"y": torch.randn(4, 3).double(), "z": torch.randn(4, 2).double()} for name in NAMES}
    one, other = build("learned")(outputs), build("mean")(outputs)
    assert {name: tuple(x.shape) for name, x in one.items()} == {"y": (4, 3), "z": (4, 2)}
    for name in TARGETS:
        torch.testing.assert_close(one[name], other[name])


@every
def test_gradients_of_empty_case_are_zero(kind: str) -> None:
    decide, heads = build(kind), nn.ModuleDict({name: nn.Linear(4, 3).double() for name in NAMES})
    inputs = {name: torch.randn(4, 4, dtype=torch.float64, requires_grad=True) for name in NAMES}
    present = dict.fromkeys(NAMES, torch.tensor([False, True, True, True]))
    decide({name: {"label": heads[name](x)} for name, x in inputs.items()}, present)["label"].square().sum().backward()
    for x in inputs.values():
        assert bool(x.grad.isfinite().all())
        assert not bool(x.grad[0].any())
        assert bool(x.grad[1:].any())
    assert all(bool(p.grad.isfinite().all()) for p in [*decide.parameters(), *heads.parameters()])


def test_extreme_learned_weights_are_stable() -> None:
    decide, outputs = build("learned"), batch()
    decide.weight.data = torch.tensor([0.0, 2000.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(decide(outputs)["label"], outputs["b"]["label"])
    # Left to themselves, the two light ones share the whole.
    found = decide(outputs, {"b": torch.zeros(4, dtype=torch.bool)})["label"]
    torch.testing.assert_close(found, (outputs["a"]["label"] + outputs["t"]["label"]) / 2)


def test_product_of_target_without_probabilities_raises() -> None:
    with pytest.raises(ValueError, match=r"multiplies probabilities, the targets \['z'\] have none: take 'mean'"):
        registry.decisions.build("product", names=NAMES, targets=TARGETS)
    assert isinstance(registry.decisions.build("mean", names=NAMES, targets=TARGETS), MeanDecision)
    with pytest.raises(ValueError, match="unknown decision fusion 'vote'"):
        registry.decisions.create("vote", NAMES)


def test_missing_combine_raises() -> None:
    with pytest.raises(NotImplementedError, match=r"a decision fusion defines combine\(\)"):
        DecisionFusion(NAMES)(batch())
