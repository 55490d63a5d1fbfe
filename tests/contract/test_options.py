"""Hostile values for every option of every part: success, or one error of ours that names the option."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE
from helpers.small import TABLE, make_spec
from mmfusion import losses
from mmfusion.fusion.maps import MapSites
from mmfusion.option_checks import keyword_options, option_faults, option_hints, value_faults
from mmfusion.options import LossWeight
from mmfusion.registry import Registry
from mmfusion.spec import Image
from mmfusion.tokens import TokenShape

HOSTILE: tuple[Any, ...] = (
    -1,
    0,
    1e-300,
    -0.5,
    1.5,
    10**5,
    10**9,
    2**70,
    10**400,
    math.nan,
    math.inf,
    -math.inf,
    True,
    None,
    "",
    " ",
    "[/b]",
    "none",
    "x" * 500,
    [],
    [-1],
    [0],
    [10**9],
    [math.nan, 1, 1],
    ["a"],
    {},
    {"name": ""},
    {"name": "x", "y": math.nan},
    object(),
)
SPEC = make_spec(images=1)
NAMES = ("image0", "table0")
IMAGE = Image(2, (8, 8))
MAPS = ((4, 4, 4), (6, 2, 2))
SITES = MapSites({"image0": "image0"}, {"image0": [(3, 8, 8), *MAPS]}, d_context=3)
SHAPES = [{name: TokenShape(4, 8, (2, 2) if name == "image0" else None) for name in NAMES} for _ in range(4)]
PARTS = {"parts": {"image0": 2, "table0": 2}}
NEEDED: dict[str, dict[str, Any]] = {
    "masked_columns": {"columns": TABLE, "dim": 4},
    "matching": {"dim": 4},
    "metric": {"loss": "SupConLoss"},
    "density": PARTS,
    "leakage": PARTS,
}
KINDS = {"*": NAMES, "images": NAMES[:1], "tables": NAMES[1:]}
OF_SLOTS: dict[str, Any] = {
    "names": NAMES,
    "stages": SHAPES,
    "kinds": KINDS,
    "spec": SPEC,
    "targets": SPEC.targets,
    "dim": 8,
    "sites": SITES,
    "image": IMAGE,
    "map_shapes": MAPS,
    "columns": TABLE,
}


def given(kind: str, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a blueprint's slot gives a builder, by position and by name."""
    signature = inspect.signature(getattr(mmf.registry, kind).get(name)).parameters.values()
    parameters = [p for p in signature if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    by_name = {p.name: OF_SLOTS[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in OF_SLOTS}
    return tuple(OF_SLOTS[p.name] for p in parameters if p.kind is not p.KEYWORD_ONLY), by_name


# What each kind is called with beside its options.
CALLS: dict[str, Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "models": lambda name: ((SPEC,), {}),
    "backbones": lambda name: ((), {}),
    "image_tokenizers": lambda name: ((IMAGE, MAPS), {"dim": 4}),
    "tabular_tokenizers": lambda name: ((TABLE,), {"dim": 4}),
    "compressions": lambda name: ((TokenShape(16, 4, (4, 4)),), {"n_latents": 2}),
    "token_fusions": lambda name: ((NAMES,), {"dim": 8}),
    "map_fusions": lambda name: ((SITES,), {}),
    "poolings": lambda name: given("poolings", name),
    "vector_fusions": lambda name: given("vector_fusions", name),
    "decisions": lambda name: given("decisions", name),
    "heads": lambda name: given("heads", name),
    "table_encoders": lambda name: ((TABLE,), {"dim": 8}),
    "losses": lambda name: ((), NEEDED.get(name, {})),
}
# The models hand these on to parts that all of them share: what their declarations accept is built once.
SHARED = {
    "encoder",
    "weights",
    "shared_encoder",
    "tabular_tokenizer",
    "hidden",
    "dropout",
    "terms",
    "classification",
    "label_smoothing",
}
SLOW = ("models", "backbones")
# Most of their options are those of all: these have others of each kind.
SOME = ("cfcml", "mbt", "convnet")
PARTS = [(kind, name) for kind in CALLS for name in getattr(mmf.registry, kind).list()]


def outcomes(registry: Registry, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Iterator[str]:
    """What is wrong, one line for each value that neither builds nor ends in an error that names the option."""
    known = registry.options(name)
    needed = {"dim": 4} if "dim" in known and known["dim"].default is known["dim"].empty else {}
    given = {**needed, **options}
    builder = registry.get(name)
    for option in known:
        for value in HOSTILE:
            accepted = not option_faults(builder, {option: value})
            if accepted and option in SHARED and registry is mmf.registry.models and name != "concat":
                continue
            changed = {**given, option: value}
            try:
                registry.create(name, *args, **changed)
            except (ValueError, TypeError, FileNotFoundError) as error:
                # A part within a part may be named as what it is.
                within = registry is mmf.registry.table_encoders and option == "of"
                named = {option.replace("_", " "), *(["tabular tokenizer"] if within else [])}
                if not any(name in str(error).replace("_", " ") for name in named):
                    yield f"{option}={value!r}: {type(error).__name__}: {error}"
            except Exception as error:
                error.add_note(f"with {option}={value!r}")
                raise
            else:
                if not accepted:
                    yield f"{option}={value!r} was accepted against its declaration"


def marks_of(kind: str, name: str) -> Any:
    if kind not in SLOW:
        return ()
    return pytest.mark.slow if name in SOME else EXHAUSTIVE


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(*part, marks=marks_of(*part), id="-".join(part)) for part in PARTS],
)
def test_invalid_option_values_raise(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args, options = CALLS[kind](name)
    with torch.device("meta"):
        wrong = list(outcomes(getattr(mmf.registry, kind), name, args, options))
    assert not wrong, "\n".join(wrong)


# Parts of losses that are chosen by a name of their own or constructed directly, with what they need.
UNREGISTERED: dict[type[torch.nn.Module], Mapping[str, Any]] = {
    losses.Schedule: {"start": 1.0, "end": 0.0, "steps": 5},
    losses.UncertaintyWeighting: {},
    losses.GradNormWeighting: {},
    losses.MovingPrototypes: {"n_modalities": 2, "n_classes": 3, "dim": 4},
    losses.MemoryPrototypes: {"n_modalities": 2, "n_classes": 3, "dim": 4},
    losses.Temperature: {},
    losses.Objective: {"targets": SPEC.targets},
}


@pytest.mark.parametrize("part", UNREGISTERED, ids=lambda part: part.__name__)
def test_invalid_option_values_of_loss_parts_raise(part: type[torch.nn.Module]) -> None:
    needed, hints = UNREGISTERED[part], option_hints(part.__init__)
    for name in {**needed, **keyword_options(part)}:
        if name in ("targets", "classification"):
            continue
        for value in HOSTILE:
            with torch.device("meta"):
                if not value_faults(name, value, hints[name]):
                    part(**{**needed, name: value})
                    continue
                with pytest.raises(ValueError, match=rf"^{part.__name__}: {name} expects .*, got "):
                    part(**{**needed, name: value})


def test_declared_ranges_hold_for_positional_arguments() -> None:
    for build in (
        lambda: losses.MovingPrototypes(2, 0, 4),
        lambda: losses.Temperature(-1.0),
    ):
        with pytest.raises(ValueError, match=r"(n_classes|temperature) expects .*, got "):
            build()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prototypes", "weighting", "classification", "weight", "term"])
def test_invalid_objective_options_raise(kind: str) -> None:
    """Options of a recipe or a command line."""
    for value in HOSTILE:
        entry = {"term": "sample_anchor", "weight": 0.5}
        changed = kind in ("weight", "term")
        options: dict[str, Any] = {"terms": {"more": {**entry, kind: value} if changed else entry}}
        if kind == "weight" and not value_faults(kind, value, LossWeight):
            mmf.create_loss(mmf.create_model("concat", SPEC, **options))
            continue
        if kind == "classification" and value in (None, "none"):
            continue
        with pytest.raises(ValueError, match=r"terms\.more" if changed else kind):
            mmf.create_loss(mmf.create_model("concat", SPEC, **options), **({} if changed else {kind: value}))
