"""Blueprints to models: names of modalities, what parts are given, and what does not fit."""

from typing import Any

import pytest
import torch
from torch import nn

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.models import Blueprint, create_model
from mmfusion.models.assembly import kinds_of, select
from mmfusion.models.blueprint import part
from mmfusion.registry import map_fusions, poolings, token_fusions
from mmfusion.tokens import Tokens

SPEC = make_spec(images=2, tables=2)
N = 3


def test_select_by_kind_or_name() -> None:
    kinds = kinds_of(SPEC)
    assert select("images", kinds) == select(["images"], kinds) == ("image0", "image1")
    assert select(["tables", "image1"], kinds) == ("table0", "table1", "image1")
    assert select(["*", "joint", "tables"], kinds) == (*SPEC.names, "joint")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queries", "found"),
    [
        ("tables", ("table0", "table1")),
        (["tables"], ("table0", "table1")),
        (["image1", "table0"], ("image1", "table0")),
    ],
)
def test_modalities_of_parts_by_kind(queries: Any, found: tuple[str, ...]) -> None:
    """A word or a list, names and kinds; the options of the blueprint stay as written."""
    blueprint = Blueprint.from_dict(
        {
            "dim": 8,
            "tokenizer": {"image": "patches", "table": "feature"},
            "tokens": {"layers": [{"name": "query", "queries": queries}]},
            "pooling": {"name": "first", "of": queries},
        }
    )
    model = create_model(blueprint, SPEC).eval()
    assert model.layers[0].queries == found
    assert model.pooling.of == found
    asked = blueprint.tokens["layers"][0]["queries"]
    assert asked == (queries if isinstance(queries, str) else tuple(queries))
    assert model(make_inputs(SPEC, N)).logits.shape == (N, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"reads": ["imges", "table0"]}, r"it reads \['imges'\], which the spec does not have: it has \('image0', "),
        ({"vectors": part("concat", of=["image9"])}, r"built for \['image9'\], which the model does not have"),
        ({"decision": part("mean", of="tabels")}, r"built for \['tabels'\], which the model does not have"),
        ({"tokens": {"layers": [part("query", queries="tabels")]}}, "queries must be some of the modalities"),
        ({"context": "cells"}, "context is the input of map fusions.* the encoders have none"),
        ({"maps": ["film"]}, "Film is conditioned on a table"),
        ({"maps": [part("film", at=[9])], "context": "cells"}, r"Film is to act at \[9\]"),
        ({"pooling": part("throughout", depths=[1, 1])}, "2 depths need tokens of as many stages"),
        ({"encoder": part("convnet", width=[4])}, "encoder: 'convnet' has no option 'width'"),
        ({"encoder": "convnt"}, "unknown encoder 'convnt'; did you mean"),
        ({"vectors": "single"}, "'single' reads one embedding, got"),
        ({"tokens": {"layers": ["crossmodal"]}}, "unknown token fusion 'crossmodal'"),
    ],
)
def test_invalid_slots_raise(slots: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(Blueprint(**slots), SPEC)


def test_reads_without_modality_raises() -> None:
    with pytest.raises(ValueError, match=r"it reads images, of which the spec has none: it has \('table0',\)"):
        create_model(Blueprint(reads=("images",)), make_spec(images=0))


@pytest.mark.slow
def test_parts_are_chained() -> None:
    """Several at each stage and at the end; each is built for the widths of the previous one."""
    blueprint = Blueprint(
        dim=8,
        encoder=part("convnet", n_stages=2),
        tokenizer={"image": part("pyramid", n_latents=2), "table": "feature"},
        tokens={"per_stage": ["projection", "crossmodal_enhancement"], "layers": ["directional", "self_attention"]},
        maps=["mmtm"],
        context="cells",
        vectors="concat",
    )
    spec = make_spec(images=2)
    model = create_model(blueprint, spec).eval()
    assert [[type(block).__name__ for block in stage] for stage in model.per_stage] == [
        ["Projection", "CrossmodalEnhancement"]
    ] * 2
    assert model.embedding_widths == dict.fromkeys(spec.names, 16)
    assert model.vectors.dim_out == 48
    assert model(make_inputs(spec, N)).logits.shape == (N, 3)


@pytest.mark.slow
def test_custom_parts_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a registered name in any slot, with the arguments that their parameters name."""

    class Shift(nn.Module):
        def __init__(self, names: Any, kinds: Any, *, dim: int, by: float = 1.0) -> None:
            super().__init__()
            self.given, self.by = (tuple(names), dict(kinds), dim), by

        def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
            return {name: one._replace(x=one.x + self.by) for name, one in tokens.items()}

    class Last(nn.Module):
        def __init__(self, stages: Any) -> None:
            super().__init__()
            self.counts = {name: shape.n_tokens for name, shape in stages[-1].items()}

        def forward(self, stages: Any) -> dict[str, torch.Tensor]:
            return {name: one.x[:, -1] for name, one in stages[-1].items()}

    for kind, name, builder in ((token_fusions, "shift", Shift), (poolings, "last", Last)):
        kind.list()
        monkeypatch.setitem(kind._builders, name, builder)
    blueprint = Blueprint.from_dict({"dim": 8, "tokens": {"layers": [{"name": "shift", "by": 2.0}]}, "pooling": "last"})
    model, inputs = create_model(blueprint, SPEC).eval(), make_inputs(SPEC, N)
    assert model.layers[0].given == (SPEC.names, kinds_of(SPEC), 8)
    assert model.pooling.counts == dict.fromkeys(SPEC.names, 1)
    plain = model.tokenize(inputs)[-1]
    assert all(torch.equal(x, plain[name].x[:, -1] + 2) for name, x in model(inputs).embeddings.items())


@pytest.mark.slow
def test_custom_map_fusion_has_parameters_when_built(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfusion.fusion.maps import MapFusion, MapSites

    class Gain(MapFusion):
        def __init__(self, sites: MapSites, *, start: float = 1.0) -> None:
            super().__init__(sites, at=(-1,))
            self.gain = nn.Parameter(torch.tensor(start))

        def forward(self, maps: Any, context: Any, stage: int, present: Any = None) -> Any:
            return {name: x * self.gain for name, x in maps.items()}

    map_fusions.list()
    monkeypatch.setitem(map_fusions._builders, "gain", Gain)
    model = create_model(Blueprint(dim=8, maps=[part("gain", start=0.0)]), SPEC).eval()
    assert "encoders.fusions.0.gain" in model.state_dict()
    bias = model.tokenizers["image0"].project.bias
    torch.testing.assert_close(model(make_inputs(SPEC, N)).embeddings["image0"], bias.expand(N, -1))


@pytest.mark.slow
def test_shared_or_separate_heads() -> None:
    for shared in (True, False):
        head = part("mlp", shared=shared, hidden=[4])
        model = mmf.create_model(Blueprint(dim=8, decision="mean", head=head), SPEC).eval()
        assert isinstance(model.head, nn.ModuleDict) != shared
        assert model(make_inputs(SPEC, N)).logits.shape == (N, 3)
