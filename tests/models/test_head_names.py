"""A head, a readout or an interaction that was built for other modalities than the model's."""

import math
from typing import Any

import pytest
from torch import nn

from mmfusion.heads import (
    AverageHead,
    ConcatHead,
    FusedHead,
    GatedFusion,
    LateHead,
    LowRankFusion,
    MaxFusion,
    SingleHead,
    SplitFusion,
    TensorFusion,
)
from mmfusion.models import FusionModel
from mmfusion.readouts import GranularityMerge, MeanReadout, StagePool
from mmfusion.spec import DataSpec
from mmfusion.tokenizers.tabular import TableMLP
from small import make_spec

TWO, THREE = make_spec(images=0, tables=2), make_spec(images=0, tables=3)
HEADS: dict[str, Any] = {
    "concat": lambda spec: ConcatHead(spec, dim=8),
    "late": lambda spec: LateHead(spec, dim=8),
    "gated": lambda spec: FusedHead(spec, GatedFusion(spec.names, dim=8), width=8),
    "max": lambda spec: FusedHead(spec, MaxFusion(spec.names), width=8),
    "low_rank": lambda spec: FusedHead(spec, LowRankFusion(spec.names, dim=8, width=8), width=8),
    "split": lambda spec: FusedHead(spec, SplitFusion(dict.fromkeys(spec.names, 8 // len(spec.names))), width=8),
}


def build(spec: DataSpec, head: nn.Module, readout: nn.Module | None = None) -> FusionModel:
    tokenizers = {name: TableMLP(spec[name], dim=8) for name in spec.names}
    return FusionModel(tokenizers=tokenizers, readout=readout or MeanReadout(), head=head)


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    with pytest.raises(ValueError, match=r"the head \w+ is built for \['table2'\], which the model does not have"):
        build(TWO, HEADS[name](THREE))


def test_a_head_may_read_fewer_than_there_are() -> None:
    """As in gated-query, where the table asks and the images answer."""
    build(THREE, ConcatHead(TWO, dim=8))


@pytest.mark.parametrize("readout", [StagePool(THREE.names, dim=8), GranularityMerge(THREE.names)])
def test_readouts(readout: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"the readout \w+ is built for 'table2', which the model does not have"):
        build(TWO, ConcatHead(TWO, dim=8), readout)


@pytest.mark.parametrize(
    ("build_head", "message"),
    [
        (lambda: ConcatHead(TWO, dim=-1), "ConcatHead: dim expects int from 1 to 16384, got -1"),
        (lambda: LateHead(TWO, dim=8, dropout=math.nan), "LateHead: dropout expects float from 0 to below 1, got nan"),
        (
            lambda: FusedHead(TWO, MaxFusion(TWO.names), width=0, hidden=[0]),
            "FusedHead: width expects .*; hidden expects",
        ),
        (lambda: GatedFusion(TWO.names, dim=2**70), "GatedFusion: dim expects int"),
        (
            lambda: LowRankFusion(TWO.names, dim=8, width=8, rank=0),
            "LowRankFusion: rank expects int from 1 to 4096, got 0",
        ),
        (lambda: TensorFusion(TWO.names, dim=8, width=8, project=0), "TensorFusion: project expects int from 1"),
        (lambda: SingleHead(TWO, of="table0", dim=1.5), "SingleHead: dim expects int"),
        (lambda: AverageHead(TWO, names=TWO.names, dim="8"), "AverageHead: dim expects int"),
    ],
)
def test_heads_are_built_within_declared_ranges(build_head: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_head()
