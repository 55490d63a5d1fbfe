"""Checks of a blueprint's slots: every name and every value against what the parts declare."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any, TypeAlias

from mmfusion import registry
from mmfusion.losses import Schedule
from mmfusion.models.bags import BagPooling
from mmfusion.option_checks import keyword_options, marks, option_hints, takes_none, unknown_option, value_faults
from mmfusion.options import LossWeight, Modalities, ModalityNames, PartOf, Probability, Stages
from mmfusion.registry import Choice, PluginError, Registry, named

TermSettings: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By a name of one's own: ``term``, a registered loss, ``weight``, and the loss's options."""

NONE = "none"
"""What None is called in a file."""
_OF_IMAGE = ("in_channels", "n_axes", "n_stages", "size", "spacing", "weights")
"""Parameters of a backbone that follow from the image or are the slot's."""


def loss_options(
    *,
    terms: TermSettings | None = None,
    prototypes: Choice = "batch",
    weighting: Choice = "constant",
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> None:
    """The loss slot of a blueprint.

    Args:
        terms: By a name of one's own, a registered loss with its weight and options:
            ``{"nce": {"term": "info_nce", "weight": 0.1, ...}}``. A weight may be a mapping with the options of
            :class:`~mmfusion.losses.weighting.Schedule`; a term of weight 0 is left out. ``dim``, ``columns`` and
            ``parts`` are filled in for losses that take them.
        prototypes: ``"batch"``, ``"moving"`` or ``"memory"``; see :mod:`mmfusion.losses.memory`.
        weighting: ``"constant"``, ``"uncertainty"`` or ``"gradnorm"``, of the terms beside the targets' losses; see
            :mod:`mmfusion.losses.weighting`.
        classification: The loss of targets of classes; see :class:`~mmfusion.losses.objective.Objective`.
        label_smoothing: For targets of classes.
    """


def _token_lists(*, per_stage: Sequence[Choice] = (), layers: Sequence[Choice] = ()) -> None:
    """The keys of ``tokens``."""


def _tokenizer_kinds(*, image: Choice = "pool", table: Choice = "mlp") -> None:
    """The keys of ``tokenizer``."""


def _encoder_options(
    *, weights: str | Path = NONE, shared: bool = True, n_stages: Stages = 1, bag: BagPooling = "mean"
) -> None:
    """The options of ``encoder``, beside the backbone's."""


def _term_options(*, term: str = "", weight: LossWeight | Mapping[str, Any] = 0.0) -> None:
    """The options of a term, beside the loss's."""


def _of(*, of: ModalityNames = ("*",)) -> None:
    """The option of ``vectors`` and ``decision``, beside the part's."""


def _shared(*, shared: bool = False) -> None:
    """The option of ``head``, beside the part's."""


def _cls(*, cls: bool = False) -> None:
    """The option of a tabular tokenizer, beside its own."""


_KEYS: dict[str, Callable[..., None]] = {"tokenizer": _tokenizer_kinds, "tokens": _token_lists, "loss": loss_options}
"""Slots that are tables of options."""

_PARTS: dict[str, tuple[Registry, Callable[..., None] | None]] = {
    "tokenizer.image": (registry.image_tokenizers, None),
    "tokenizer.table": (registry.tabular_tokenizers, _cls),
    "context": (registry.tabular_tokenizers, None),
    "maps": (registry.map_fusions, None),
    "tokens.per_stage": (registry.token_fusions, None),
    "tokens.layers": (registry.token_fusions, None),
    "pooling": (registry.poolings, None),
    "vectors": (registry.vector_fusions, _of),
    "decision": (registry.decisions, _of),
    "head": (registry.heads, _shared),
    "loss.prototypes": (registry.prototypes, None),
    "loss.weighting": (registry.weightings, None),
    "loss.classification": (registry.losses, None),
    "pretraining": (registry.pretrainings, None),
}
"""What a slot's part, or each of its parts, is, and the options that the slot adds to it."""


def slot_value(slot: str, value: Any, faults: list[str]) -> Any:
    """The value of a slot, as a blueprint holds it.

    Args:
        slot: Its name.
        value: Of the slot's type.
        faults: What is wrong with the value is added here, all of it.

    Returns:
        With ``"none"`` as None where the slot or an option admits it.
    """
    if value is None or (slot, value) == ("context", "cells"):
        return value
    if slot in _KEYS:
        defaults = {key: option.default for key, option in keyword_options(_KEYS[slot]).items() if slot != "loss"}
        keys = checked_options(slot, defaults | value, faults, _KEYS[slot])
        return {key: slot_value(f"{slot}.{key}", entry, faults) for key, entry in keys.items()}
    if slot == "encoder":
        return _encoder(value, faults)
    if slot == "loss.terms":
        return {name: _term(f"{slot}.{name}", term, faults) for name, term in value.items()}
    if slot not in _PARTS:
        return value
    kind, of_slot = _PARTS[slot]
    name = value.get("name") if isinstance(value, Mapping) else value
    if slot == "tokenizer.table" and name in registry.table_encoders:
        kind = registry.table_encoders
    if isinstance(value, list | tuple):
        return tuple(_part(kind, f"{slot}[{i}]", choice, faults) for i, choice in enumerate(value))
    return _part(kind, slot, value, faults, of_slot)


def checked_options(
    what: str,
    values: Mapping[str, Any],
    faults: list[str],
    *builders: Callable[..., Any],
    without: Sequence[str] = (),
) -> dict[str, Any]:
    """Options of builders as a blueprint holds them.

    Args:
        what: The part, for messages.
        values: By name.
        faults: What is wrong is added here: unknown names, values of another type or out of range.
        builders: Whose options they may be; a later one's go before.
        without: Names that are no options although a builder but the last has them.

    Returns:
        Those without a fault, with ``"none"`` as None where it is admitted.
    """
    known: dict[str, Parameter] = {}
    hints: dict[str, Any] = {}
    for builder in builders:
        known = {key: option for key, option in known.items() if key not in without} | keyword_options(builder)
        hints |= option_hints(builder)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            faults.append(unknown_option(what, key, known))
            continue
        hint, default = hints.get(key, Any), known[key].default
        if isinstance(value, str) and value == NONE and takes_none(hint, default):
            checked[key] = None
        elif (value is None and default is None) or (isinstance(value, str) and marks(hint, Modalities)):
            checked[key] = value
        elif wrong := value_faults(key, value, hint):
            faults += [f"{what}: {fault}" for fault in wrong]
        elif inner := marks(hint, PartOf):
            checked[key] = _part(getattr(registry, inner[0].registry), f"{what}: {key}", value, faults)
        else:
            checked[key] = value
    return checked


def _part(
    kind: Registry, where: str, choice: Choice, faults: list[str], of_slot: Callable[..., None] | None = None
) -> Any:
    """A part with its options and the slot's checked."""
    try:
        name, options = named(choice, kind.kind)
        builder = kind.get(name)
    except (ValueError, PluginError) as error:
        faults.append(f"{where}: {error}")
        return choice
    what = f"{where}: {kind.kind} {name!r}"
    if "dim" in options and kind is not registry.map_fusions:  # there it is a part's own width
        faults.append(f"{what}: dim follows from the blueprint: leave it out")
    checked = checked_options(what, options, faults, *filter(None, (builder, of_slot)))
    return {"name": name, **checked} if checked else name


def _encoder(value: Choice, faults: list[str]) -> Any:
    """A registered backbone or one of timm's, which is looked up where the model is built."""
    try:
        name, options = named(value, registry.backbones.kind)
        builders = [registry.backbones.get(name)] if name in registry.backbones else []
    except (ValueError, PluginError) as error:
        faults.append(f"encoder: {error}")
        return value
    what = f"encoder: {name!r}"
    return {"name": name, **checked_options(what, options, faults, *builders, _encoder_options, without=_OF_IMAGE)}


def _term(where: str, value: Mapping[str, Any], faults: list[str]) -> Mapping[str, Any]:
    if missing := [key for key in ("term", "weight") if key not in value]:
        faults.append(f"{where} needs {' and '.join(missing)}")
        return value
    if isinstance(value["weight"], Mapping):
        checked_options(f"{where}.weight", value["weight"], faults, Schedule)
        if absent := [key for key in ("start", "end", "steps") if key not in value["weight"]]:
            faults.append(f"{where}.weight needs {', '.join(absent)}")
    options = {key: entry for key, entry in value.items() if key != "term"}
    part = _part(registry.losses, where, {**options, "name": value["term"]}, faults, _term_options)
    checked = part if isinstance(part, Mapping) else {}
    return {"term": value["term"], **{key: entry for key, entry in checked.items() if key != "name"}}
