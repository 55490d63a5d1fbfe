"""Loss factory: from a model's blueprint to its objective."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import nn

from mmfusion.fusion.vectors import SplitFusion
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
from mmfusion.models.blueprint import Blueprint
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.slots import TermSettings, loss_options
from mmfusion.option_checks import check_options, value_faults
from mmfusion.options import LossWeight
from mmfusion.registry import Choice, losses, named
from mmfusion.spec import Classes, DataSpec

Weight: TypeAlias = float | Schedule

_WEIGHTINGS: dict[str, type[Weighting]] = {"uncertainty": UncertaintyWeighting, "gradnorm": GradNormWeighting}
_PROTOTYPES: dict[str, type[nn.Module]] = {"moving": MovingPrototypes, "memory": MemoryPrototypes}


def create_loss(model: nn.Module, **changes: Any) -> Objective:
    """The loss of a model that was assembled from a blueprint.

    Args:
        model: From :func:`~mmfusion.create_model`.
        changes: Of the blueprint's loss; see :func:`~mmfusion.models.slots.loss_options`.

    Returns:
        From an output and targets to weighted scalars by name, to be summed::

            terms = loss(output, {"label": y}, present)

    Raises:
        ValueError: If the model has no blueprint, a name or an option is unknown, or a term that needs classes is asked
            for without a single target of classes.
    """
    if not isinstance(model, FusionModel) or model.blueprint is None or model.spec is None:
        raise ValueError(
            f"a {type(model).__name__} without a blueprint has no loss of its own: build one, "
            "mmfusion.losses.Objective(spec.targets, LossBank(...))"
        )
    options = {**model.blueprint.loss, **changes}
    check_options("the loss", loss_options, options)
    return _objective(model, model.blueprint, model.spec, **options)


def _objective(
    model: FusionModel,
    blueprint: Blueprint,
    spec: DataSpec,
    *,
    terms: TermSettings | None = None,
    prototypes: Choice = "batch",
    weighting: Choice = "constant",
    classification: Choice | None = None,
    label_smoothing: float = 0.0,
) -> Objective:
    spec = spec.only(*model.names)
    dim = next(iter((model.embedding_widths or {}).values()), blueprint.dim)
    known: dict[str, Any] = {"dim": dim}
    if len(spec.tables) == 1:
        (known["columns"],) = spec.tables.values()
    if isinstance(model.vectors, SplitFusion):
        known["parts"] = model.vectors.parts
    chosen: dict[str, tuple[Weight, nn.Module]] = {
        name: term for name, settings in (terms or {}).items() if (term := _term(name, settings, known)) is not None
    }
    n_classes = _n_classes(spec)
    bank = None
    if chosen:
        bank = LossBank(
            n_classes,
            chosen,
            prototypes=_prototypes(prototypes, len(model.tokenizers), n_classes, dim),
            weighting=_build("weighting", weighting, "constant", _WEIGHTINGS),
        )
    elif (prototypes, weighting) != ("batch", "constant"):
        raise ValueError("prototypes and weighting are about terms beside the targets' losses, and there are none")
    return Objective(spec.targets, bank, label_smoothing=label_smoothing, classification=classification)


def _n_classes(spec: DataSpec) -> int | None:
    kinds = list(spec.targets.values())
    return kinds[0].n if len(kinds) == 1 and isinstance(kinds[0], Classes) else None


def _term(name: str, settings: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[Weight, nn.Module] | None:
    """A weight and a loss; None for weight 0."""
    if not isinstance(settings, Mapping) or not {"term", "weight"} <= set(settings):
        raise ValueError(f"terms.{name} needs a term and a weight, as in terms.{name}.term='info_nce', got {settings}")
    options = dict(settings)
    loss, weight = options.pop("term"), options.pop("weight")
    try:
        needed = losses.options(loss)
    except ValueError as error:
        raise ValueError(f"terms.{name}.term: {error}") from error
    if "columns" in needed and "columns" not in options and "columns" not in known:
        raise ValueError(f"terms.{name}: {loss!r} needs a single table")
    if isinstance(weight, Mapping):
        check_options(f"the schedule of terms.{name}", _schedule, dict(weight))
        if missing := [key for key in ("start", "end", "steps") if key not in weight]:
            raise ValueError(f"the schedule of terms.{name} needs start, end and steps, {', '.join(missing)} missing")
        weight = _schedule(**weight)
    elif faults := value_faults(f"terms.{name}.weight", weight, LossWeight | Mapping[str, Any]):
        raise ValueError(faults[0])
    term: nn.Module = losses.build({"name": loss, **options}, **known)
    return None if weight == 0 else (weight, term)


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
    name, options = named(choice, what)
    if name == none and not options:
        return None
    if name not in builders:
        raise ValueError(
            f"{what} must be one of {[none, *builders]}, or a mapping with name and options, got {choice!r}"
        )
    check_options(f"{what} {name!r}", builders[name], options)
    return builders[name](*arguments, **options)
