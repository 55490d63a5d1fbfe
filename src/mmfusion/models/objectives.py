"""Objectives from plain settings: what a recipe or a command line says of the losses."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import nn

from mmfusion.losses import (
    GradNormWeighting,
    LossBank,
    MemoryPrototypes,
    MovingPrototypes,
    Objective,
    Schedule,
    UncertaintyWeighting,
    Weighting,
)
from mmfusion.losses.weighting import Delay, Shape, Steps
from mmfusion.options import LossWeight, value_faults
from mmfusion.registry import Choice, check_options, losses
from mmfusion.spec import Classes, DataSpec

TermSettings: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By a name of one's own: ``term``, a registered loss, ``weight``, and the loss's options."""

Weight: TypeAlias = float | Schedule

_WEIGHTINGS: dict[str, type[Weighting]] = {"uncertainty": UncertaintyWeighting, "gradnorm": GradNormWeighting}
_PROTOTYPES: dict[str, type[nn.Module]] = {"moving": MovingPrototypes, "memory": MemoryPrototypes}


def build_objective(
    spec: DataSpec,
    *,
    dim: int,
    own_terms: Mapping[str, tuple[Weight, nn.Module]] | None = None,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: float = 0.0,
    prototypes: Choice = "batch",
    weighting: Choice = "constant",
) -> Objective:
    """One loss a target, a method's own terms, and whatever else the settings ask for.

    Args:
        spec: The data.
        dim: Width of the embeddings.
        own_terms: The method's, by name, with their weights; those of weight 0 are left out.
        terms: More of them, by a name of one's own: ``{"nce": {"term": "info_nce", "weight": 0.1, ...options}}``. A
            weight may be a mapping with the options of :class:`~mmfusion.losses.weighting.Schedule`. ``dim`` and
            ``columns`` are filled in for losses that take them.
        classification: The loss of targets of classes; see :class:`~mmfusion.losses.objective.Objective`.
        label_smoothing: For targets of classes.
        prototypes: ``"batch"``, ``"moving"`` or ``"memory"``; see :mod:`mmfusion.losses.memory`.
        weighting: ``"constant"``, ``"uncertainty"`` or ``"gradnorm"``, of the terms beside the targets' losses; see
            :mod:`mmfusion.losses.weighting`.

    Returns:
        The objective.

    Raises:
        ValueError: If a name or an option is unknown, two terms have one name, or a term that needs classes is asked
            for without a single target of classes.
    """
    chosen: dict[str, tuple[Weight, nn.Module]] = {
        name: (weight, term) for name, (weight, term) in (own_terms or {}).items() if weight != 0
    }
    for name, settings in (terms or {}).items():
        if name in (own_terms or {}):
            raise ValueError(f"the method has a term {name!r} of its own: choose another name in terms")
        chosen[name] = _term(name, settings, spec, dim)
    n_classes = _n_classes(spec)
    bank = None
    if chosen:
        bank = LossBank(
            n_classes,
            chosen,
            prototypes=_prototypes(prototypes, len(spec.names), n_classes, dim),
            weighting=_build("weighting", weighting, "constant", _WEIGHTINGS),
        )
    elif (prototypes, weighting) != ("batch", "constant"):
        raise ValueError("prototypes and weighting are about terms beside the targets' losses, and there are none")
    return Objective(spec.targets, bank, label_smoothing=label_smoothing, classification=classification)


def _n_classes(spec: DataSpec) -> int | None:
    kinds = list(spec.targets.values())
    return kinds[0].n if len(kinds) == 1 and isinstance(kinds[0], Classes) else None


def _term(name: str, settings: Mapping[str, Any], spec: DataSpec, dim: int) -> tuple[Weight, nn.Module]:
    if not isinstance(settings, Mapping) or not {"term", "weight"} <= set(settings):
        raise ValueError(f"terms.{name} needs a term and a weight, as in terms.{name}.term='info_nce', got {settings}")
    options = dict(settings)
    loss, weight = options.pop("term"), options.pop("weight")
    try:
        known = losses.options(loss)
    except ValueError as error:
        raise ValueError(f"terms.{name}.term: {error}") from error
    if "dim" in known:
        options.setdefault("dim", dim)
    if "columns" in known and "columns" not in options:
        if len(spec.tables) != 1:
            raise ValueError(f"{loss!r} needs a single table, the spec has {list(spec.tables)}")
        options["columns"] = next(iter(spec.tables.values()))
    if isinstance(weight, Mapping):
        check_options(f"the schedule of terms.{name}", _schedule, dict(weight))
        if missing := [key for key in ("start", "end", "steps") if key not in weight]:
            raise ValueError(f"the schedule of terms.{name} needs start, end and steps, {', '.join(missing)} missing")
        weight = _schedule(**weight)
    elif faults := value_faults(f"terms.{name}.weight", weight, LossWeight | Mapping[str, Any]):
        raise ValueError(faults[0])
    return weight, losses.create(loss, **options)


def _schedule(
    *, start: LossWeight, end: LossWeight, steps: Steps, delay: Delay = 0, shape: Shape = "linear"
) -> Schedule:
    return Schedule(start, end, steps=steps, delay=delay, shape=shape)


def _prototypes(choice: Choice, n_modalities: int, n_classes: int | None, dim: int) -> nn.Module | None:
    if choice == "batch":
        return None
    if n_classes is None:
        raise ValueError(f"prototypes={choice!r} needs a single target of classes")
    source: nn.Module = _build("prototypes", choice, "batch", _PROTOTYPES, n_modalities, n_classes, dim)
    return source


def _build(what: str, choice: Choice, none: str, builders: Mapping[str, type[Any]], *arguments: Any) -> Any:
    options: dict[str, Any] = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = options.pop("name", None)
    if name == none and not options:
        return None
    if not isinstance(name, str) or name not in builders:
        raise ValueError(
            f"{what} must be one of {[none, *builders]}, or a mapping with name and options, got {choice!r}"
        )
    check_options(f"{what} {name!r}", builders[name], options)
    return builders[name](*arguments, **options)
