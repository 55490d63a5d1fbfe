"""The loss of a model, from its blueprint."""

from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.small import TABLE, loss_inputs, make_inputs, make_labels, make_spec
from mmfusion.losses import GradNormWeighting, LossBank, MemoryPrototypes, MovingPrototypes, Objective, Schedule
from mmfusion.models import Blueprint, create_loss, create_model
from mmfusion.spec import DataSpec, Regression
from mmfusion.training.phases import phases_of

SPEC = make_spec()
SAMPLE = {"term": "sample_anchor", "weight": 0.5, "temperature": 0.2}
OWN = {"own": {"term": "sample_anchor", "weight": 0.3}}


def loss_of(spec: DataSpec = SPEC, *, dim: int = 4, **loss: Any) -> Objective:
    model = create_model(Blueprint(loss=loss, dim=dim), spec)
    return create_loss(model)


def bank_of(**loss: Any) -> LossBank:
    bank = loss_of(**loss).bank
    assert bank is not None
    return bank


@pytest.mark.slow
def test_default_loss_has_no_bank() -> None:
    assert loss_of().bank is None
    assert loss_of(terms={"off": SAMPLE | {"weight": 0.0}}).bank is None


def test_terms_of_method_and_settings_are_merged() -> None:
    model = create_model(Blueprint(loss={"terms": OWN}, dim=4), SPEC, terms={"more": SAMPLE})
    bank = create_loss(model).bank
    assert bank is not None
    assert bank.weights == {"own": 0.3, "more": 0.5}
    assert bank.terms["more"].temperature() == 0.2
    assert bank.terms["more"].n_classes == 3


def test_create_loss_with_changes() -> None:
    """Another loss for the same weights."""
    model = create_model(Blueprint(loss={"terms": OWN}, dim=4), SPEC)
    assert create_loss(model, terms={"more": SAMPLE}).bank.weights == {"more": 0.5}
    assert create_loss(model, label_smoothing=0.2).label_smoothing == 0.2
    with pytest.raises(ValueError, match="loss has no option 'label_smothing'; did you mean 'label_smoothing'"):
        create_loss(model, label_smothing=0.2)
    with pytest.raises(ValueError, match="loss: label_smoothing expects float from 0 to 1, got 2"):
        create_loss(model, label_smoothing=2)


def test_model_without_blueprint_raises() -> None:
    with pytest.raises(ValueError, match=r"Linear without a blueprint has no loss of its own: build one, .*Objective"):
        create_loss(torch.nn.Linear(2, 2))


def test_weight_as_schedule() -> None:
    bank = bank_of(terms={"more": SAMPLE | {"weight": {"start": 0.0, "end": 1.0, "steps": 2}}})
    assert isinstance(bank.schedules["more"], Schedule)
    assert [bank.schedules["more"]().item() for _ in range(4)] == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "kind", "options"),
    [
        ("moving", MovingPrototypes, {"momentum": 0.9}),
        ({"name": "moving", "momentum": 0.5}, MovingPrototypes, {"momentum": 0.5}),
        ({"name": "memory", "size": 10}, MemoryPrototypes, {"size": 10}),
    ],
)
def test_prototypes_option_selects_source(choice: Any, kind: type, options: dict[str, Any]) -> None:
    source = bank_of(terms=OWN, prototypes=choice).prototypes
    assert isinstance(source, kind)
    assert (source.n_modalities, source.n_classes, source.dim) == (2, 3, 4)
    assert all(getattr(source, name) == value for name, value in options.items())


def test_weighting_option_selects_weighting() -> None:
    found = bank_of(terms=OWN, weighting={"name": "gradnorm", "alpha": 0.5}).weighting
    assert isinstance(found, GradNormWeighting)
    assert found.alpha == 0.5


def test_losses_receive_columns_and_widths_of_spec() -> None:
    terms = {
        "match": {"term": "matching", "weight": 1.0},
        "columns": {"term": "masked_columns", "weight": 1.0},
        "nce": {"term": "info_nce", "weight": 1.0},
    }
    bank = bank_of(dim=6, terms=terms)
    assert bank.terms["columns"].columns == TABLE
    assert any(2 * 6 in parameter.shape for parameter in bank.terms["match"].parameters())


def test_label_free_loss_works_with_any_target() -> None:
    """A loss that needs no labels goes with any target."""
    spec = DataSpec(SPEC.modalities, targets={"size": Regression()})
    objective = loss_of(spec, terms={"nce": {"term": "info_nce", "weight": 1.0}})
    outputs, targets = {"size": torch.randn(5, 1)}, {"size": torch.randn(5, 1)}
    inputs = mmf.LossInputs(outputs, {"a": torch.randn(5, 4), "b": torch.randn(5, 4)}, targets, {}, {})
    assert list(objective(inputs)) == ["size", "nce"]
    objective.check(inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image", "tabular", "concat", "cfcml"])
def test_every_model_accepts_terms_and_classification_loss(name: str) -> None:
    terms = {"more": {"term": "sample_anchor", "weight": 0.5}}
    model = mmf.create_model(name, SPEC, terms=terms, classification={"name": "focal", "gamma": 1.0})
    objective = create_loss(model)
    assert "more" in objective.bank.terms
    assert objective.classification["label"].gamma == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": {"x": {"term": "info_nce"}}}, "loss.terms.x needs weight"),
        ({"terms": {"x": {"term": "info_nc", "weight": 1}}}, "unknown loss 'info_nc'; did you mean 'info_nce'"),
        ({"terms": {"x": SAMPLE | {"temprature": 1}}}, "no option 'temprature'; did you mean 'temperature'"),
        (
            {"terms": {"x": SAMPLE | {"weight": "much"}}},
            "terms.x: loss 'sample_anchor': weight expects float from 0 to 1000000 or a table of options, got 'much'",
        ),
        ({"terms": {"x": SAMPLE | {"weight": {"begin": 0}}}}, "terms.x.weight has no option 'begin'"),
        (
            {"prototypes": "ema"},
            "loss.prototypes: unknown source of prototypes 'ema'; there are: batch, memory, moving",
        ),
        ({"prototypes": {"name": "moving", "size": 3}}, "source of prototypes 'moving' has no option 'size'"),
        ({"weighting": "best"}, "loss.weighting: unknown weighting 'best'"),
        ({"weighting": {"alpha": 1}}, "a weighting is a name, or a mapping with name and options"),
        ({"classification": "info_nce"}, "'info_nce' .*logits"),
        ({"classification": {"gamma": 1}}, "loss.classification: a loss is a name, or a mapping"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_of(**{"terms": OWN} | options)


def test_options_without_effect_raise() -> None:
    with pytest.raises(ValueError, match="about terms beside the targets' losses, and there are none"):
        loss_of(weighting="uncertainty")


def test_anchors_without_classes_raise() -> None:
    spec = DataSpec(SPEC.modalities, targets={"size": Regression()})
    with pytest.raises(ValueError, match="prototypes='moving' needs a single target of classes"):
        loss_of(spec, terms=OWN, prototypes="moving")


def test_term_named_like_term_of_method_raises() -> None:
    with pytest.raises(ValueError, match=r"the method has its own terms \['sample'\]: choose other names in terms"):
        create_model("cfcml", SPEC, terms={"sample": SAMPLE})


STATEFUL = {"prototypes": "memory", "weighting": "gradnorm", "learn_temperature": True}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cfcml", "concat", "tip", "mmcl", "mmcl_image", "amf"])
def test_state_dict_has_nothing_of_the_loss(name: str) -> None:
    """No prototype, label or embedding of a case, temperature, weighting; nothing of a pretraining either."""
    options = {"cfcml": STATEFUL, "tip": {"pretrain": True}}.get(name, {})
    spec = make_spec()
    model = create_model(name, spec, dim=8, **options)
    plain = {"cfcml": {}, "tip": {}}.get(name, options)
    names = set(create_model(name, spec, dim=8, **plain).state_dict())
    phases = phases_of(model)
    inputs, labels = make_inputs(spec, 6), make_labels(spec, 6)
    own: set[int] = {x.data_ptr() for x in model.state_dict().values() if x.numel()}
    for phase in phases:
        losses = phase.loss(loss_inputs((phase.model or model)(inputs), labels))
        sum(losses.values()).backward()
        assert not own & {x.data_ptr() for x in phase.loss.state_dict().values() if x.numel()}
        if phase.model is not None:
            beside = {x.data_ptr() for x in phase.model.own_state().values() if x.numel()}
            assert not (own | {x.data_ptr() for x in phase.loss.state_dict().values() if x.numel()}) & beside
    assert set(model.state_dict()) == names
    roots = {key.partition(".")[0] for key in names}
    assert roots <= {
        "encoders",
        "context",
        "tokenizers",
        "per_stage",
        "layers",
        "pooling",
        "vectors",
        "head",
        "decision",
    }
    if name == "cfcml":
        kept = phases[0].loss.state_dict()
        assert any("prototypes" in key for key in kept)
        assert any("temperature" in key for key in kept)
        assert any("weighting" in key for key in kept)


@pytest.mark.slow
def test_loss_state_dict_round_trip() -> None:
    """Saved and loaded apart from the model, it gives the same next loss."""
    spec = make_spec()
    model = create_model("cfcml", spec, dim=8, **STATEFUL)
    inputs, labels = make_inputs(spec, 6), make_labels(spec, 6)
    one, other = create_loss(model), create_loss(model)
    for _ in range(2):
        sum(one(loss_inputs(model(inputs), labels)).values()).backward()
    other.load_state_dict(one.state_dict())
    given = loss_inputs(model.eval()(inputs), labels)
    found, expected = other.eval()(given), one.eval()(given)
    assert {key: x.item() for key, x in found.items()} == {key: x.item() for key, x in expected.items()}
