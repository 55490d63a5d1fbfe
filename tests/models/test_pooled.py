"""The models that fuse one embedding a modality: that they are their parts, put together."""

import pytest
import torch

import mmfusion as mmf
from mmfusion import heads
from small import make_inputs, make_spec

SPEC = make_spec(images=2)
FUSIONS = {"max": heads.MaxFusion, "gmu": heads.GatedFusion, "lmf": heads.LowRankFusion}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FUSIONS, "late"])
def test_embeddings_are_those_of_concat(name: str) -> None:
    """The same encoders and tokenizers, under the same names: only the head differs."""
    model, plain, inputs = (
        mmf.create_model(name, SPEC, dim=8),
        mmf.create_model("concat", SPEC, dim=8),
        make_inputs(SPEC, 4),
    )
    plain.load_state_dict({**plain.state_dict(), **{k: v for k, v in model.state_dict().items() if "head." not in k}})
    one, other = model.eval()(inputs), plain.eval()(inputs)
    assert all(torch.equal(one.embeddings[key], x) for key, x in other.embeddings.items())
    assert not torch.equal(one.logits, other.logits)
    assert torch.equal(one.logits, model.head(one.embeddings)["label"])


@pytest.mark.parametrize("name", FUSIONS)
def test_which_fusion(name: str) -> None:
    assert type(mmf.create_model(name, SPEC, dim=8).head.fusion) is FUSIONS[name]


@pytest.mark.parametrize("combine", ["mean", "learned", "product", "max"])
def test_late_combines_as_asked(combine: str) -> None:
    model = mmf.create_model("late", SPEC, dim=8, combine=combine)
    assert model.head.combine == combine


def test_without_a_rank_it_is_tensor_fusion() -> None:
    model = mmf.create_model("lmf", SPEC, dim=40, rank=None, tensor_dim=4)
    assert isinstance(model.head.fusion, heads.TensorFusion)
    assert model.head.fusion.linear.in_features == 5**3
    with pytest.raises(ValueError, match="set tensor_dim to"):
        mmf.create_model("lmf", make_spec(images=3), rank=None)


@pytest.mark.parametrize("name", [*FUSIONS, "late"])
@pytest.mark.parametrize("options", [{"images": 0}, {"tables": 0}, {"images": 0, "tables": 2}])
def test_any_modalities_will_do(name: str, options: dict[str, int]) -> None:
    spec = make_spec(**options)
    assert mmf.create_model(name, spec, dim=8).eval()(make_inputs(spec, 3, missing_cells=True)).logits.shape == (3, 3)


@pytest.mark.parametrize("name", [*FUSIONS, "late"])
def test_an_absent_modality_is_not_a_modality_of_zeros(name: str) -> None:
    """The head is told: a case that lacks the table is not one whose embedding happens to be zero."""
    model, inputs = mmf.create_model(name, SPEC, dim=8).eval(), make_inputs(SPEC, 4)
    gone = {"table0": torch.zeros(4, dtype=torch.bool)}
    output = model(inputs, gone)
    zeros = {key: torch.zeros_like(x) if key == "table0" else x for key, x in output.embeddings.items()}
    assert torch.equal(output.logits, model.head(zeros, gone)["label"])
    same = torch.equal(output.logits, model.head(zeros)["label"])
    assert same == (name in ("lmf", "gmu"))  # these see the same zeros either way, of three modalities
