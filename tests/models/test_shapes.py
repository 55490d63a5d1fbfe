"""Widths that do not go together are reported when a model is built, with the part."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.small import TABLE, make_inputs, make_spec
from mmfusion.fusion.decisions import MeanDecision
from mmfusion.fusion.tokens import Directional
from mmfusion.fusion.vectors import Concat, GatedFusion
from mmfusion.heads import MLPHead
from mmfusion.models import FusionModel
from mmfusion.pooling import MeanPooling, StagePooling
from mmfusion.tokenizers import TableMLP
from mmfusion.tokens import Present, Tokens, TokenShape

SPEC = make_spec(images=0, tables=3)


def build(**parts: Any) -> FusionModel:
    whole: dict[str, Any] = {
        "tokenizers": {name: TableMLP(TABLE, dim=8) for name in SPEC.names},
        "layers": [Directional(SPEC.names, dim=8)],
        "pooling": MeanPooling(),
        "vectors": Concat(SPEC.names, dim=16),
        "head": MLPHead(SPEC.targets, dim=48),
    }
    return FusionModel(**whole | parts)


def heads(**dims: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: MLPHead(SPEC.targets, dim=dims.get(name, 16)) for name in SPEC.names})


def test_matching_parts_are_built() -> None:
    assert build()(make_inputs(SPEC, 2)).logits.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"head": MLPHead(SPEC.targets, dim=24)},
            r"^the head MLPHead does not fit its inputs, a vector of width 48: .*48.*24.*\. Build it for these widths",
        ),
        (
            {"vectors": GatedFusion(SPEC.names, dim=8)},
            "^the vector fusion GatedFusion does not fit its inputs, embeddings of the widths table0 16, table1 16, "
            r"table2 16: .*\. Build it for these widths",
        ),
        (
            {"pooling": StagePooling([{name: TokenShape(1, 8) for name in SPEC.names}], SPEC.names)},
            "^the pooling StagePooling does not fit its inputs, tokens of the widths table0 16, table1 16, table2 16: ",
        ),
        (
            {"layers": [Directional(SPEC.names, dim=8), Directional(SPEC.names, dim=8)]},
            "^the token fusion Directional does not fit its inputs, tokens of the widths table0 16, table1 16",
        ),
        (
            {"per_stage": [Directional(SPEC.names, dim=4)]},
            "^the token fusion Directional does not fit its inputs, tokens of the widths table0 8, table1 8",
        ),
        (
            {"vectors": None, "decision": MeanDecision(SPEC.names), "head": MLPHead(SPEC.targets, dim=8)},
            "^the head of 'table0', MLPHead, does not fit its inputs, an embedding of width 16",
        ),
        (
            {"vectors": None, "decision": MeanDecision(SPEC.names), "head": heads(table1=8)},
            "^the head of 'table1', MLPHead, does not fit its inputs, an embedding of width 16",
        ),
    ],
    ids=["head", "vectors", "pooling", "layers", "per_stage", "shared head", "a head"],
)
def test_mismatched_parts_raise_with_their_names(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**parts)


class Pooling(nn.Module):
    """A linear layer for each modality, of a width of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 16)

    def forward(self, stages: list[dict[str, Tokens]]) -> dict[str, Tensor]:
        return {name: self.project(one.x.mean(1)) for name, one in stages[-1].items()}


@pytest.mark.slow
def test_custom_pooling_of_wrong_width_raises() -> None:
    build(pooling=Pooling(16))
    with pytest.raises(ValueError, match=r"^the pooling Pooling does not fit its inputs, tokens of the widths"):
        build(pooling=Pooling(8))


class Looking(Concat):
    """Looks at numbers, which a dry run does not have."""

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        if not bool(embeddings["table0"].isfinite().all()):
            raise ValueError("not finite")
        return super().forward(embeddings, present)


class LookingPooling(MeanPooling):
    def forward(self, stages: Any) -> dict[str, Tensor]:
        if not bool(stages[-1]["table0"].x.isfinite().all()):
            raise ValueError("not finite")
        return super().forward(stages)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [
        {"vectors": Looking(SPEC.names, dim=16)},
        {"pooling": LookingPooling()},
        {"head": MLPHead(SPEC.targets, dim=48).double()},
    ],
    ids=["looking", "looking pooling", "double"],
)
def test_value_dependent_parts_are_checked_at_first_batch(parts: dict[str, Any]) -> None:
    model = build(**parts).double()
    inputs = {
        name: type(table)(table.numerical.to(next(model.tokenizers.parameters()).dtype), table.categorical)
        for name, table in make_inputs(SPEC, 2).items()
    }
    assert [tuple(x.shape) for x in model(inputs).outputs.values()] == [(2, 3)]
    assert (model.embedding_widths is None) == isinstance(model.pooling, LookingPooling)


def test_widths_are_known_without_a_batch() -> None:
    model = build()
    assert model.embedding_widths == dict.fromkeys(SPEC.names, 16)
    assert model.token_shapes == dict.fromkeys(SPEC.names, (TokenShape(1, 8),))


def test_dry_run_has_no_side_effects() -> None:
    head = MLPHead(SPEC.targets, dim=48)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    model = build(head=head)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert head.training
    assert all(parameter.device.type == "cpu" and parameter.grad is None for parameter in model.parameters())
