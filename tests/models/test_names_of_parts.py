"""A vector fusion, a decision, a head or a pooling that was built for other modalities than the model's."""

import re
from typing import Any

import pytest
from torch import nn

from helpers.small import make_spec
from mmfusion import registry
from mmfusion.fusion.decisions import MeanDecision
from mmfusion.fusion.tokens import CrossmodalEnhancement
from mmfusion.fusion.vectors import Concat, Single
from mmfusion.heads import MLPHead
from mmfusion.models import FusionModel
from mmfusion.pooling import GranularityMerge, MeanPooling, StagePooling
from mmfusion.spec import DataSpec
from mmfusion.tokenizers.tabular.mlp import TableMLP
from mmfusion.tokens import TokenShape

TWO, THREE = make_spec(images=0, tables=2), make_spec(images=0, tables=3)
STAGES = [{name: TokenShape(1, 8) for name in THREE.names}]


def build(spec: DataSpec, **parts: Any) -> FusionModel:
    tokenizers = {name: TableMLP(spec[name], dim=8) for name in spec.names}
    whole: dict[str, Any] = {"pooling": MeanPooling(), "vectors": Concat(spec.names, dim=8)}
    whole |= parts
    dim = 8 if whole["vectors"] is None else whole["vectors"].dim_out
    return FusionModel(tokenizers=tokenizers, **{"head": MLPHead(spec.targets, dim=dim)} | whole)


@pytest.mark.parametrize("name", registry.vector_fusions.list())
def test_vector_fusion_of_other_modalities_raises(name: str) -> None:
    names = THREE.names[2:] if name == "single" else THREE.names
    vectors = registry.vector_fusions.build(name, names=names, spec=THREE, dim=8)
    with pytest.raises(ValueError, match=r"\w+ is built for \['table2'\], which the model does not have: it"):
        build(TWO, vectors=vectors)


@pytest.mark.parametrize("name", registry.decisions.list())
def test_decision_of_other_modalities_raises(name: str) -> None:
    decision = registry.decisions.build(name, names=THREE.names, targets=THREE.targets)
    heads = nn.ModuleDict({key: MLPHead(THREE.targets, dim=8) for key in THREE.names})
    for head in (heads, heads["table0"]):
        with pytest.raises(ValueError, match=r"\w+ is built for \['table2'\], which the model does not have"):
            build(TWO, vectors=None, decision=decision, head=head)


def test_heads_of_other_modalities_raise() -> None:
    decision = MeanDecision(TWO.names)
    for names in (TWO.names[:1], THREE.names):
        heads = nn.ModuleDict({name: MLPHead(TWO.targets, dim=8) for name in names})
        with pytest.raises(ValueError, match=re.escape(f"there are heads of {list(names)}")):
            build(TWO, vectors=None, decision=decision, head=heads)


def test_vector_fusion_may_read_fewer_modalities() -> None:
    """As in gated_query, where the table is the query and the images are read."""
    build(THREE, vectors=Concat(TWO.names, dim=8))
    build(THREE, vectors=Single(["table1"], dim=8))


@pytest.mark.parametrize("pooling", [StagePooling(STAGES, THREE.names), GranularityMerge(STAGES, THREE.names)])
def test_pooling_of_other_modalities_raises(pooling: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"the pooling \w+ is built for 'table2', which is not among its"):
        build(TWO, pooling=pooling)


def test_token_fusion_of_other_modalities_raises() -> None:
    with pytest.raises(ValueError, match=r"built for the modalities \('table0', 'table1', 'table2'\), got"):
        build(TWO, layers=[CrossmodalEnhancement(THREE.names, dim=8)])
