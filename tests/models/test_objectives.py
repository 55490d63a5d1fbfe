from typing import Any

import pytest
import torch

import mmfusion as mmf
from mmfusion.losses import GradNormWeighting, MemoryPrototypes, MovingPrototypes, SampleAnchorLoss, Schedule
from mmfusion.models.objectives import build_objective
from mmfusion.spec import DataSpec, Regression
from small import TABLE, make_spec

SPEC = make_spec()
SAMPLE = {"term": "sample_anchor", "weight": 0.5, "temperature": 0.2}


def own() -> dict[str, Any]:
    return {"own": (0.3, SampleAnchorLoss()), "off": (0.0, SampleAnchorLoss())}


def test_nothing_asked_for() -> None:
    assert build_objective(SPEC, dim=4).bank is None
    assert build_objective(SPEC, dim=4, own_terms={"off": (0.0, SampleAnchorLoss())}).bank is None


def test_terms_of_the_method_and_of_the_settings() -> None:
    bank = build_objective(SPEC, dim=4, own_terms=own(), terms={"more": SAMPLE}).bank
    assert bank.weights == {"own": 0.3, "more": 0.5}
    assert bank.terms["more"].temperature() == 0.2
    assert bank.terms["more"].n_classes == 3


def test_a_weight_can_be_a_schedule() -> None:
    weight = {"start": 0.0, "end": 1.0, "steps": 2}
    bank = build_objective(SPEC, dim=4, terms={"more": SAMPLE | {"weight": weight}}).bank
    assert isinstance(bank.schedules["more"], Schedule)
    assert [bank.schedules["more"]().item() for _ in range(4)] == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("choice", "kind", "options"),
    [
        ("moving", MovingPrototypes, {"momentum": 0.9}),
        ({"name": "moving", "momentum": 0.5}, MovingPrototypes, {"momentum": 0.5}),
        ({"name": "memory", "size": 10}, MemoryPrototypes, {"size": 10}),
    ],
)
def test_prototypes(choice: Any, kind: type, options: dict[str, Any]) -> None:
    source = build_objective(SPEC, dim=4, own_terms=own(), prototypes=choice).bank.prototypes
    assert isinstance(source, kind)
    assert (source.n_modalities, source.n_classes, source.dim) == (2, 3, 4)
    assert all(getattr(source, name) == value for name, value in options.items())


def test_weighting() -> None:
    found = build_objective(SPEC, dim=4, own_terms=own(), weighting={"name": "gradnorm", "alpha": 0.5}).bank.weighting
    assert isinstance(found, GradNormWeighting)
    assert found.alpha == 0.5


def test_what_a_loss_needs_of_the_data_is_filled_in() -> None:
    terms = {
        "match": {"term": "matching", "weight": 1.0},
        "columns": {"term": "masked_columns", "weight": 1.0},
        "nce": {"term": "info_nce", "weight": 1.0},
    }
    bank = build_objective(SPEC, dim=6, terms=terms).bank
    assert bank.terms["columns"].columns == TABLE
    assert any(2 * 6 in parameter.shape for parameter in bank.terms["match"].parameters())


def test_without_classes() -> None:
    """A loss that needs no labels goes with any target."""
    spec = DataSpec(SPEC.modalities, targets={"size": Regression()})
    objective = build_objective(spec, dim=4, terms={"nce": {"term": "info_nce", "weight": 1.0}})
    outputs, targets = {"size": torch.randn(5, 1)}, {"size": torch.randn(5, 1)}
    inputs = mmf.LossInputs(outputs, {"a": torch.randn(5, 4), "b": torch.randn(5, 4)}, targets, {}, {})
    assert list(objective(inputs)) == ["size", "nce"]
    objective.check(inputs)


@pytest.mark.parametrize("name", ["image", "tabular", "concat", "cfcml"])
def test_every_model_takes_terms_and_a_classification_loss(name: str) -> None:
    terms = {"more": {"term": "sample_anchor", "weight": 0.5}}
    model = mmf.create_model(name, SPEC, terms=terms, classification={"name": "focal", "gamma": 1.0})
    objective = model.phases()[0].objective
    assert "more" in objective.bank.terms
    assert objective.classification["label"].gamma == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": {"x": {"term": "info_nce"}}}, "terms.x needs a term and a weight"),
        ({"terms": {"x": {"term": "info_nc", "weight": 1}}}, "unknown loss 'info_nc'; did you mean 'info_nce'"),
        ({"terms": {"x": SAMPLE | {"temprature": 1}}}, "no option 'temprature'; did you mean 'temperature'"),
        (
            {"terms": {"x": SAMPLE | {"weight": "much"}}},
            "terms.x.weight expects float from 0 to 1000000 or a table of options, got 'much'",
        ),
        ({"terms": {"x": SAMPLE | {"weight": {"begin": 0}}}}, "the schedule of terms.x has no option 'begin'"),
        ({"terms": {"own": SAMPLE}}, "the method has a term 'own' of its own"),
        ({"prototypes": "ema"}, r"prototypes must be one of \['batch', 'moving', 'memory'\]"),
        ({"prototypes": {"name": "moving", "size": 3}}, "prototypes 'moving' has no option 'size'"),
        ({"weighting": "best"}, r"weighting must be one of \['constant', 'uncertainty', 'gradnorm'\]"),
        ({"weighting": {"alpha": 1}}, "weighting must be one of"),
        ({"classification": "info_nce"}, "'info_nce' .*logits"),
        ({"classification": {"gamma": 1}}, "a classification loss needs its name"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_objective(SPEC, dim=4, own_terms=own(), **options)


def test_refuses_what_would_do_nothing() -> None:
    with pytest.raises(ValueError, match="about terms beside the targets' losses, and there are none"):
        build_objective(SPEC, dim=4, weighting="uncertainty")


def test_refuses_anchors_without_classes() -> None:
    spec = DataSpec(SPEC.modalities, targets={"size": Regression()})
    with pytest.raises(ValueError, match="prototypes='moving' needs a single target of classes"):
        build_objective(spec, dim=4, own_terms=own(), prototypes="moving")
