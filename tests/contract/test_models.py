"""What every registered model keeps, whatever its method: one contract over names, layouts and conditions."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE, every_compiler, within
from helpers.small import loss_inputs, make_inputs, make_labels, make_spec, rows, spoilt
from mmfusion.comparison.search_space import MOST_OPTIONS
from mmfusion.models import FusionModel, Phase
from mmfusion.models.registration import blueprint_of
from mmfusion.option_checks import search_ranges
from mmfusion.options import Among
from mmfusion.spec import DataSpec
from mmfusion.tokens import FusionOutput, Inputs, Present, Table
from mmfusion.training.phases import phases_of

NAMES = mmf.registry.models.list()
# A method whose defaults leave a phase of its training out, with it. Three of the four columns are hidden, so that in a
# few cases there are numbers and categories among what is to be told.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"tip, pretrained": ("tip", {"pretrain": True, "mask_rate": 0.75})}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one_image": {"images": 1, "size": (16, 16)},
    "two_images": {"images": 2, "size": (16, 16)},
    "three_volumes": {"images": 3, "size": (8, 8, 8)},
}
N = 6
SOME = torch.tensor([True, False, True, True, False, True])
CONDITIONS: dict[str, dict[str, Any]] = {
    "everything": {},
    "cells_missing": {"missing_cells": True},
    "table_missing": {"present": {"table0": SOME}},
    "image_missing": {"present": {"image0": SOME}},
    "one_case": {"n": 1},
}
# The softmax does not change when all its scores move alike: the bias of a key has a gradient of zero.
WITHOUT_GRADIENT = ("key.bias",)
# A window of one position of one image has a single key: nothing is chosen, so nothing of the choice is learned.
ONE_KEY = {
    ("tformer", "one_image"): [
        f"pooling.stages.{layer}.image0.{part}"
        for layer in ("2.0", "2.1", "3.0")
        for part in ("bias", "query.weight", "query.bias", "key.weight")
    ]
}

# Where every operator costs time, one layer of a kind, or two where the second differs, shows what all of them do.
SHALLOW: dict[str, dict[str, Any]] = {
    "gated_query": {"depth": 1, "table_depth": 1},
    "healnet": {"depth": 1},
    "mbt": {"depth": 2, "fusion_layer": 1},
    "mult": {"depth": 1, "self_depth": 1},
    "tabular": {"depth": 1},
    "tip": {"table_depth": 1, "joint_depth": 1},
}

# Of one image all models; of three volumes some that have all kinds of parts between them.
SOME_MODELS = {"cfcml", "concat", "film", "mbt"}
LAYOUT_MARKS: dict[str, Any] = {"one_image": (), "two_images": EXHAUSTIVE, "three_volumes": EXHAUSTIVE}


ON_META = {*((name, "one_image") for name in SOME_MODELS), ("tip, pretrained", "one_image")}


def _marks(name: str, layout: str) -> Any:
    return pytest.mark.slow if name in SOME_MODELS and layout == "three_volumes" else LAYOUT_MARKS[layout]


def over_layouts(names: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("name", "layout"),
        [pytest.param(name, layout, marks=_marks(name, layout)) for layout in LAYOUTS for name in names],
    )


every_model = pytest.mark.parametrize("name", NAMES)
every_model_and_layout = over_layouts(NAMES)
# Of a variant the phases count; its forward is that of its model.
every_phase_and_layout = over_layouts([*NAMES, *VARIANTS])


def create(name: str, spec: DataSpec, *, few_layers: bool = False) -> FusionModel:
    """With its default options, or a variant's; of few layers if asked for."""
    model, options = VARIANTS.get(name, (name, {}))
    return mmf.create_model(model, spec, **(SHALLOW.get(model, {}) if few_layers else {}), **options)


@cache
def build_model(name: str, layout: str) -> tuple[DataSpec, FusionModel]:
    """Built once from its spec alone; tests leave it as they find it."""
    torch.manual_seed(0)
    spec = make_spec(**LAYOUTS[layout])
    return spec, create(name, spec).eval()


@cache
def shallow(name: str, layout: str) -> tuple[DataSpec, FusionModel]:
    """As :func:`build_model`, of few layers."""
    torch.manual_seed(0)
    spec = make_spec(**LAYOUTS[layout])
    return spec, create(name, spec, few_layers=True).eval()


def batch(spec: DataSpec, condition: str) -> tuple[dict[str, Tensor | Table], dict[str, Tensor], dict[str, Tensor]]:
    """Inputs, targets, presence."""
    options = CONDITIONS[condition]
    n = options.get("n", N)
    inputs = make_inputs(spec, n, missing_cells=options.get("missing_cells", False))
    return inputs, make_labels(spec, n), options.get("present", {})


@cache
def phases(name: str, layout: str) -> list[Phase]:
    """The phases of :func:`build_model`'s model."""
    torch.manual_seed(0)
    found = phases_of(build_model(name, layout)[1])
    for phase in found:
        for part in (phase.loss, phase.model):
            if part is not None:
                part.eval()
    return found


def losses_of(
    model: FusionModel, phases: list[Phase], inputs: Inputs, targets: dict[str, Tensor], present: Present
) -> list[Tensor]:
    """Of all phases, each with its forward; random numbers are the same each time."""
    torch.manual_seed(0)
    found = []
    for phase in phases:
        given = loss_inputs((phase.model or model)(inputs, present), targets, present)
        if next(model.parameters()).device.type != "meta" and hasattr(phase.loss, "check"):
            phase.loss.check(given)
        found += list(phase.loss(given).values())
    return found


def trained(model: FusionModel, phases: list[Phase]) -> dict[str, nn.Parameter]:
    """All parameters of a model, of its losses and of its pretraining, by name."""
    found = dict(model.named_parameters())
    for phase in phases:
        for what, part in (("loss", phase.loss), ("pretraining", phase.model)):
            if part is not None:
                of_part = {f"{phase.name}.{what}.{key}": p for key, p in part.named_parameters()}
                known = {id(p) for p in found.values()}
                found |= {key: p for key, p in of_part.items() if id(p) not in known}
    return found


def flat(output: FusionOutput) -> list[Tensor]:
    return [*output.outputs.values(), *output.embeddings.values(), *output.aux.values()]


@pytest.mark.slow
@every_phase_and_layout
@within("condition", CONDITIONS)
def test_output_shapes_are_finite_and_deterministic(name: str, layout: str, condition: str) -> None:
    """Shapes; finite outputs and losses; deterministic; zeros for missing modalities."""
    spec, model = build_model(name, layout)
    inputs, targets, present = batch(spec, condition)
    n = len(targets["label"])
    model.check(inputs, present)
    output = model(inputs, present)
    assert {key: tuple(x.shape) for key, x in output.outputs.items()} == {"label": (n, 3)}
    assert set(output.embeddings) <= set(spec.names)
    assert len({x.shape for x in output.embeddings.values()}) == 1
    assert all(x.ndim == 2 and len(x) == n for x in output.embeddings.values())
    assert all(bool(x.isfinite().all()) for x in flat(output))
    losses = losses_of(model, phases(name, layout), inputs, targets, present)
    assert all(x.ndim == 0 and bool(x.isfinite()) for x in losses)
    for key, row in present.items():
        if key in output.embeddings:
            assert not bool(output.embeddings[key][~row].any())
    assert all(torch.equal(one, two) for one, two in zip(flat(output), flat(model(inputs, present)), strict=True))


@every_phase_and_layout
def test_every_parameter_gets_gradient(name: str, layout: str) -> None:
    spec, model = build_model(name, layout)
    inputs, targets, _ = batch(spec, "cells_missing")
    parameters = trained(model, phases(name, layout))
    for p in parameters.values():
        p.grad = None
    sum(losses_of(model, phases(name, layout), inputs, targets, {})).backward()
    grads = {key: p.grad for key, p in parameters.items()}
    for p in parameters.values():
        p.grad = None
    assert [key for key, grad in grads.items() if grad is None or not bool(grad.isfinite().all())] == []
    without = [key for key, grad in grads.items() if not bool(grad.any())]
    assert [key for key in without if not key.endswith(WITHOUT_GRADIENT)] == ONE_KEY.get((name, layout), [])


@every_phase_and_layout
def test_every_parameter_is_in_a_phase(name: str, layout: str) -> None:
    _, model = build_model(name, layout)
    found = phases(name, layout)
    in_phases = {id(p) for phase in found for group in phase.parameters for p in group.parameters}
    assert in_phases == {id(p) for p in trained(model, found).values()}
    assert len({phase.name for phase in found}) == len(found)
    assert {group.name for phase in found for group in phase.parameters} <= {"encoder", "fusion"}
    for phase in found:
        if phase.model is not None:
            assert phase.model.model is model


@every_phase_and_layout
def test_state_dict_has_weights_only(name: str, layout: str) -> None:
    """No loss, no projection of a pretraining, no tensor twice."""
    _, model = build_model(name, layout)
    tensors = {id(x) for x in model.state_dict(keep_vars=True).values()}
    assert len(tensors) == len(model.state_dict())
    elsewhere = [phase.loss for phase in phases(name, layout)]
    elsewhere += [phase.model for phase in phases(name, layout) if phase.model is not None]
    own = [phase.model.own_state() for phase in phases(name, layout) if phase.model is not None]
    assert not any(part in model.modules() for part in elsewhere)
    assert all(not any(id(x) in tensors for x in state.values()) for state in own)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, *VARIANTS])
def test_state_dict_round_trip(name: str) -> None:
    spec, model = build_model(name, "two_images")
    inputs, _, _ = batch(spec, "cells_missing")
    other = create(name, spec).eval()
    other.load_state_dict(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(flat(other(inputs)), flat(model(inputs)), strict=True))


# With all cells there, nothing happens that does not where some are missing.
@every_model_and_layout
@within("condition", ["cells_missing", "table_missing", "image_missing"])
def test_equivariant_to_case_order(name: str, layout: str, condition: str) -> None:
    spec, model = build_model(name, layout)
    inputs, _, present = batch(spec, condition)
    order = torch.randperm(N)
    whole = model(inputs, present)
    moved = model(rows(inputs, order), {key: row[order] for key, row in present.items()})
    for one, other in zip(flat(moved), flat(whole), strict=True):
        torch.testing.assert_close(one, other[order], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@every_model_and_layout
@within("missing", ["table0", "image0"])
def test_missing_modality_has_no_effect(name: str, layout: str, missing: str) -> None:
    """Bit for bit: in some cases, in all of them, and left out of the inputs."""
    spec, model = build_model(name, layout)
    inputs, _, _ = batch(spec, "everything")
    for there in (SOME, torch.zeros(N, dtype=torch.bool)):
        present = {missing: there}
        expected = flat(model(inputs, present))
        ways = [spoilt(inputs, missing, there)]
        if not there.any():
            ways.append({key: value for key, value in inputs.items() if key != missing})
        for way in ways:
            assert all(torch.equal(a, b) for a, b in zip(flat(model(way, present)), expected, strict=True))


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        # Every operator is Python there, which has its price.
        pytest.param(name, layout, marks=pytest.mark.slow if (name, layout) in ON_META else EXHAUSTIVE)
        for name in (*NAMES, *VARIANTS)
        for layout in LAYOUTS
    ],
)
def test_runs_on_meta_device(name: str, layout: str) -> None:
    """Built and run there, losses and backward: shapes only, and no tensor of another device."""
    spec, here = shallow(name, layout)
    with torch.device("meta"):
        model = create(name, spec, few_layers=True)
        found = phases_of(model)
    for condition in ("table_missing", "image_missing", "one_case") if layout == "one_image" else ("image_missing",):
        inputs, targets, present = batch(spec, condition)
        model.train(condition != "one_case")
        moved = {
            key: Table(*(part.to("meta") for part in value)) if isinstance(value, Table) else value.to("meta")
            for key, value in inputs.items()
        }
        row = {key: value.to("meta") for key, value in present.items()}
        output = model(moved, row)
        assert [x.shape for x in flat(output)] == [x.shape for x in flat(here(inputs, present))], condition
        sum(losses_of(model, found, moved, {key: x.to("meta") for key, x in targets.items()}, row)).backward()
        assert all(x.device.type == "meta" for x in flat(output)), condition


@pytest.mark.parametrize(
    "present",
    [
        pytest.param({}, id="everything", marks=EXHAUSTIVE),
        pytest.param({"table0": SOME, "image0": SOME.roll(1)}, id="some_missing"),
    ],
)
@every_compiler
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SOME_MODELS else EXHAUSTIVE) for name in NAMES]
)
def test_compiles_without_graph_break(name: str, backend: str, present: dict[str, Tensor]) -> None:
    """As one graph, with the same numbers; a missing modality has no effect there either, each in other cases."""
    spec, model = shallow(name, "one_image")
    inputs, _, _ = batch(spec, "everything")
    torch.compiler.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    expected = flat(model(inputs, present))
    found = flat(compiled(inputs, present))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for key, there in present.items():
        again = flat(compiled(spoilt(inputs, key, there), present))
        assert all(torch.equal(one, other) for one, other in zip(again, found, strict=True))


@pytest.mark.slow
@every_model
def test_exports(name: str) -> None:
    spec, model = build_model(name, "one_image")
    inputs, _, _ = batch(spec, "cells_missing")
    present = dict.fromkeys(spec.names, SOME)
    program = torch.export.export(model, (inputs, present))
    for one, other in zip(flat(program.module()(inputs, present)), flat(model(inputs, present)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@every_model
def test_tuned_options_change_the_blueprint(name: str) -> None:
    """At most two options of its own, whose range has the default and whose every value is another blueprint."""
    spec, builder = make_spec(**LAYOUTS["one_image"]), mmf.registry.models.get(name)
    ranges, defaults = search_ranges(builder), mmf.registry.models.defaults(name)
    assert len(ranges) <= MOST_OPTIONS
    plain = blueprint_of(name, spec)
    for option, kind in ranges.items():
        tried = kind.values if isinstance(kind, Among) else (kind.at(0), kind.at(1))
        if isinstance(kind, Among):
            assert defaults[option] in kind.values
        else:
            assert kind.low <= defaults[option] <= kind.high
        for value in tried:
            changed = blueprint_of(name, spec, **{option: value})
            assert (changed == plain) == (value == defaults[option])
