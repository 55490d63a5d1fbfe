"""Loss factory: from a model's blueprint to its objective."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmfusion import registry
from mmfusion.fusion.vectors import SplitFusion
from mmfusion.losses import LossBank, Objective, Schedule
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.slots import TermSettings, slot_value
from mmfusion.registry import Choice
from mmfusion.spec import DataSpec


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
    faults: list[str] = []
    options = slot_value("loss", {**model.blueprint.loss, **changes}, faults)
    if faults:
        raise ValueError("; ".join(faults))
    spec = model.spec.only(*model.names)
    dim = next(iter((model.embedding_widths or {}).values()), model.blueprint.dim)
    of_targets = {key: options.pop(key) for key in ("classification", "label_smoothing") if key in options}
    return Objective(spec.targets, _bank(model, spec, dim, **options), **of_targets)


def _bank(
    model: FusionModel,
    spec: DataSpec,
    dim: int,
    terms: TermSettings | None = None,
    prototypes: Choice = "batch",
    weighting: Choice = "constant",
) -> LossBank | None:
    known: dict[str, Any] = {"dim": dim}
    if len(spec.tables) == 1:
        (known["columns"],) = spec.tables.values()
    if isinstance(model.vectors, SplitFusion):
        known["parts"] = model.vectors.parts
    chosen = {name: _term(name, term, known) for name, term in (terms or {}).items() if term["weight"] != 0}
    if prototypes != "batch" and spec.n_classes is None:
        raise ValueError(f"{prototypes=} needs a single target of classes")
    if chosen:
        sizes = {"n_modalities": len(model.tokenizers), "n_classes": spec.n_classes, "dim": dim}
        source = registry.prototypes.build(prototypes, **sizes)
        return LossBank(spec.n_classes, chosen, prototypes=source, weighting=registry.weightings.build(weighting))
    if (prototypes, weighting) != ("batch", "constant"):
        raise ValueError("prototypes and weighting are about terms beside the targets' losses, and there are none")
    return None


def _term(name: str, settings: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[float | Schedule, nn.Module]:
    """A weight and a loss."""
    options = {**settings, "name": settings["term"]}
    del options["term"]
    weight = options.pop("weight")
    if "columns" in registry.losses.options(settings["term"]) and "columns" not in {**known, **options}:
        raise ValueError(f"terms.{name}: {settings['term']!r} needs a single table")
    loss: nn.Module = registry.losses.build(options, **known)
    return Schedule(**weight) if isinstance(weight, Mapping) else weight, loss
