"""The models that fuse one embedding a modality: that they are their parts, put together."""

from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.fusion import decisions, vectors

SPEC = make_spec(images=2)
FUSIONS = {"max": vectors.MaxFusion, "gmu": vectors.GatedFusion, "lmf": vectors.LowRankFusion}


COMBINED = {
    "mean": decisions.MeanDecision,
    "learned": decisions.LearnedDecision,
    "product": decisions.ProductDecision,
    "max": decisions.MaxDecision,
}


def read(model: mmf.FusionModel, embeddings: dict[str, torch.Tensor], present: Any = None) -> torch.Tensor:
    """What follows the embeddings."""
    if model.decision is None:
        return model.head(model.vectors(embeddings, present))["label"]
    return model.decision({name: head(embeddings[name]) for name, head in model.head.items()}, present)["label"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FUSIONS, "late"])
def test_embeddings_match_concat(name: str) -> None:
    """The same encoders and tokenizers, under the same names: only the fusion differs."""
    model, plain, inputs = (
        mmf.create_model(name, SPEC, dim=8),
        mmf.create_model("concat", SPEC, dim=8),
        make_inputs(SPEC, 4),
    )
    shared = {k: x for k, x in model.state_dict().items() if k.startswith(("encoders.", "tokenizers."))}
    assert shared.keys() == {k for k in plain.state_dict() if k.startswith(("encoders.", "tokenizers."))}
    plain.load_state_dict({**plain.state_dict(), **shared})
    one, other = model.eval()(inputs), plain.eval()(inputs)
    assert all(torch.equal(one.embeddings[key], x) for key, x in other.embeddings.items())
    assert not torch.equal(one.logits, other.logits)
    assert torch.equal(one.logits, read(model, one.embeddings))


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSIONS)
def test_method_uses_its_fusion(name: str) -> None:
    assert type(mmf.create_model(name, SPEC, dim=8).vectors) is FUSIONS[name]


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["mean", "learned", "product", "max"])
def test_late_uses_given_decision(combine: str) -> None:
    model = mmf.create_model("late", SPEC, dim=8, combine=combine)
    assert type(model.decision) is COMBINED[combine]
    assert list(model.head) == list(model.decision.names) == list(SPEC.names)
    assert model.vectors is None


@pytest.mark.slow
def test_lmf_without_rank_is_tensor_fusion() -> None:
    model = mmf.create_model("lmf", SPEC, dim=40, rank=None, tensor_dim=4)
    assert isinstance(model.vectors, vectors.TensorFusion)
    assert model.vectors.linear.in_features == 5**3
    with pytest.raises(ValueError, match="set project, tensor_dim of the model 'lmf', to"):
        mmf.create_model("lmf", make_spec(images=3), rank=None)


@pytest.mark.parametrize("name", [*FUSIONS, "late"])
@pytest.mark.parametrize("options", [{"images": 0}, {"tables": 0}, {"images": 0, "tables": 2}])
def test_works_with_any_modalities(name: str, options: dict[str, int]) -> None:
    spec = make_spec(**options)
    assert mmf.create_model(name, spec, dim=8).eval()(make_inputs(spec, 3, missing_cells=True)).logits.shape == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FUSIONS, "late"])
def test_absent_modality_differs_from_zero_embedding(name: str) -> None:
    """The fusion receives presence: a case without a table is not one whose embedding is zero."""
    model, inputs = mmf.create_model(name, SPEC, dim=8).eval(), make_inputs(SPEC, 4)
    gone = {"table0": torch.zeros(4, dtype=torch.bool)}
    output = model(inputs, gone)
    zeros = {key: torch.zeros_like(x) if key == "table0" else x for key, x in output.embeddings.items()}
    assert torch.equal(output.logits, read(model, zeros, gone))
    same = torch.equal(output.logits, read(model, zeros))
    assert same == (name in ("lmf", "gmu"))  # these see the same zeros either way, of three modalities
