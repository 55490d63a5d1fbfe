"""Widths that do not go together are found when a model is built, and told by the part."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmfusion import heads, interactions, readouts, tokenizers
from mmfusion.models import FusionModel
from mmfusion.tokens import Tokens
from small import TABLE, make_inputs, make_spec

SPEC = make_spec(images=0, tables=3)


def build(**parts: Any) -> FusionModel:
    whole: dict[str, Any] = {
        "tokenizers": {name: tokenizers.TableMLP(TABLE, dim=8) for name in SPEC.names},
        "layers": [interactions.Directional(SPEC.names, dim=8)],
        "readout": readouts.MeanReadout(),
        "head": heads.Concat(SPEC, dim=16),
    }
    return FusionModel(**whole | parts)


def test_what_fits_is_built() -> None:
    assert build()(make_inputs(SPEC, 2)).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"head": heads.Concat(SPEC, dim=8)},
            "^the head ConcatHead does not fit what it is given, embeddings of the widths table0 16, table1 16, "
            r"table2 16: .*48.*24.*\. Build it for these widths",
        ),
        (
            {"readout": readouts.StagePool(SPEC.names, dim=8)},
            "^this readout is for tokens of the width 8, the stages' are {'table0': .16., .*dim_out",
        ),
        (
            {"layers": [interactions.Directional(SPEC.names, dim=8), interactions.Directional(SPEC.names, dim=8)]},
            "^the interaction Directional does not fit what it is given, tokens of the widths table0 16, table1 16",
        ),
        (
            {"per_stage": [interactions.Directional(SPEC.names, dim=4)]},
            "^the interaction Directional does not fit what it is given, tokens of the widths table0 8, table1 8",
        ),
    ],
    ids=["head", "readout", "layers", "per_stage"],
)
def test_what_does_not_fit_is_named(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**parts)


class Readout(nn.Module):
    """A linear layer for each modality, of a width of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 16)

    def forward(self, stages: list[dict[str, Tokens]]) -> dict[str, Tensor]:
        return {name: self.project(one.x.mean(1)) for name, one in stages[-1].items()}


def test_a_readout_of_ones_own() -> None:
    build(readout=Readout(16))
    with pytest.raises(ValueError, match=r"^the readout Readout does not fit what it is given, tokens of the widths"):
        build(readout=Readout(8))


class Looking(heads.Concat):
    """Looks at numbers, which a dry run does not have."""

    def forward(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        if not bool(embeddings["table0"].isfinite().all()):
            raise ValueError("not finite")
        return super().forward(embeddings)


class Lazy(nn.Module):
    """Learns its width from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.LazyLinear(3)

    def forward(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"label": self.output(torch.cat(list(embeddings.values()), 1))}


@pytest.mark.parametrize("head", [Looking(SPEC, dim=16), Lazy(), heads.Concat(SPEC, dim=16).double()])
def test_what_cannot_be_asked_yet_is_left_to_the_first_batch(head: nn.Module) -> None:
    model = build(head=head)
    if not isinstance(head, Lazy):
        model = model.double()
    inputs = {
        name: type(table)(table.numerical.to(next(model.tokenizers.parameters()).dtype), table.categorical)
        for name, table in make_inputs(SPEC, 2).items()
    }
    assert [tuple(x.shape) for x in model(inputs).outputs.values()] == [(2, 3)]


def test_the_dry_run_leaves_nothing_behind() -> None:
    head = heads.Concat(SPEC, dim=16)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    model = build(head=head)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert head.training
    assert all(parameter.device.type == "cpu" and parameter.grad is None for parameter in model.parameters())
