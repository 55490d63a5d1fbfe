"""Hostile values for every option of every part: success, or one error of ours that names the option."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import mmfusion as mmf
from mmfusion import losses
from mmfusion.layers.compression import TokenShape
from mmfusion.options import LossWeight, keyword_options, option_faults, option_hints, value_faults
from mmfusion.registry import Registry
from mmfusion.spec import Image
from small import TABLE, make_spec

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
ROUTES = {"image0": "image0"}
NEEDED = {"masked_columns": {"columns": TABLE, "dim": 4}, "matching": {"dim": 4}, "metric": {"loss": "SupConLoss"}}
# What each kind is called with beside its options.
CALLS: dict[str, Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "models": lambda name: ((SPEC,), {}),
    "backbones": lambda name: ((), {}),
    "image_tokenizers": lambda name: ((IMAGE,), {"dim": 4}),
    "tabular_tokenizers": lambda name: ((TABLE,), {"dim": 4}),
    "compressions": lambda name: ((TokenShape(16, 4, (4, 4)),), {"n_latents": 2}),
    "interactions": lambda name: ((NAMES,), {"dim": 8}),
    "modulators": lambda name: ((ROUTES,), {}),
    "readouts": lambda name: ((NAMES,) if name in ("stage_pool", "granularity_merge") else (), {}),
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
                if option.replace("_", " ") not in str(error).replace("_", " "):
                    yield f"{option}={value!r}: {type(error).__name__}: {error}"
            except Exception as error:
                error.add_note(f"with {option}={value!r}")
                raise
            else:
                if not accepted:
                    yield f"{option}={value!r} was accepted against its declaration"


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(*part, marks=pytest.mark.slow if part[0] in SLOW else (), id="-".join(part)) for part in PARTS],
)
def test_hostile_options(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_hostile_options_of_parts_of_losses(part: type[torch.nn.Module]) -> None:
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


def test_declared_ranges_hold_by_position_too() -> None:
    for build in (
        lambda: losses.Schedule(1.0, math.nan, steps=5),
        lambda: losses.MovingPrototypes(2, 0, 4),
        lambda: losses.Temperature(-1.0),
    ):
        with pytest.raises(ValueError, match=r"(end|n_classes|temperature) expects .*, got "):
            build()


@pytest.mark.parametrize("kind", ["prototypes", "weighting", "classification", "weight", "term"])
def test_hostile_choices_of_an_objective(kind: str) -> None:
    """What a recipe or a command line says of the losses."""
    for value in HOSTILE:
        entry = {"term": "sample_anchor", "weight": 0.5}
        changed = kind in ("weight", "term")
        options: dict[str, Any] = {"terms": {"more": {**entry, kind: value} if changed else entry}}
        if kind == "weight" and not value_faults(kind, value, LossWeight):
            mmf.create_model("concat", SPEC, **options)
            continue
        if kind == "classification" and value is None:
            continue
        with pytest.raises(ValueError, match=r"terms\.more" if changed else kind):
            mmf.create_model("concat", SPEC, **options, **({} if changed else {kind: value}))
