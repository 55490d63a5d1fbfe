"""Slots of a blueprint's file: types and checks."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mmfusion import registry
from mmfusion.option_checks import alternatives, check_names, keyword_options, option_hints, takes_none, value_faults
from mmfusion.options import LossWeight, Modalities, Probability, Stages, Width
from mmfusion.registry import Choice, PluginError, Registry, named

TermSettings: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By a name of one's own: ``term``, a registered loss, ``weight``, and the loss's options."""

NONE = "none"


def slots(
    *,
    encoder: Choice = "convnet",
    tokenizer: Mapping[str, Choice] | None = None,
    reads: Sequence[str] = ("*",),
    context: Choice | None = None,
    maps: Sequence[Choice] = (),
    tokens: Mapping[str, Sequence[Choice]] | None = None,
    token_norm: bool = False,
    pooling: Choice = "mean",
    vectors: Choice = "concat",
    decision: Choice | None = None,
    head: Choice = "mlp",
    loss: Mapping[str, Any] | None = None,
    pretraining: Choice | None = None,
    dim: Width = 128,
) -> None:
    """The types of the slots."""


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


def slot_value(slot: str, value: Any, faults: list[str]) -> Any:
    """A slot's value as a blueprint holds it.

    Args:
        slot: Its name.
        value: From a file.
        faults: What is wrong with the value is added here, all of it.

    Returns:
        With ``"none"`` as None where the slot or an option admits it.
    """
    if slot_faults := _unknown("a blueprint", slots, [slot]):
        faults += slot_faults
        return value
    hint, default = option_hints(slots)[slot], keyword_options(slots)[slot].default
    if value == NONE and takes_none(hint, default):
        return None
    if slot_faults := value_faults(slot, value, hint):
        faults += slot_faults
    elif slot == "maps":
        return tuple(_part(registry.map_fusions, f"maps[{i}]", item, faults) for i, item in enumerate(value))
    elif slot in ("tokens", "tokenizer"):
        keys = _token_lists if slot == "tokens" else _tokenizer_kinds
        unknown = _unknown(slot, keys, value)
        faults += unknown
        return value if unknown else {key: _under(slot, key, entry, faults) for key, entry in value.items()}
    elif slot == "loss":
        return _loss(value, faults)
    elif slot == "encoder":
        return _encoder(value, faults)
    elif slot == "context":
        return value if value == "cells" else _part(registry.tabular_tokenizers, slot, value, faults)
    elif slot in _REGISTRIES:
        return _part(_REGISTRIES[slot], slot, value, faults, _SLOT_OPTIONS.get(slot, ()))
    return tuple(value) if slot == "reads" and not slot_faults else value


_REGISTRIES: dict[str, Registry] = {
    "pooling": registry.poolings,
    "vectors": registry.vector_fusions,
    "decision": registry.decisions,
    "head": registry.heads,
    "pretraining": registry.pretrainings,
}
_SLOT_OPTIONS = {"vectors": ("of",), "decision": ("of",), "head": ("shared",)}
"""Options that the slot itself has, beside the part's."""


_OF_IMAGE = ("in_channels", "n_axes", "n_stages", "size", "spacing", "weights")
"""Parameters of a backbone that follow from the image or are the slot's."""
_FILLED = ("dim",)
"""Options that the assembly fills in, from the blueprint's ``dim`` and what comes before a part."""


def _token_lists(*, per_stage: Sequence[Choice] = (), layers: Sequence[Choice] = ()) -> None:
    """The keys of ``tokens``."""


def _tokenizer_kinds(*, image: Choice = "pool", table: Choice = "mlp") -> None:
    """The keys of ``tokenizer``."""


def _encoder_options(*, weights: str = NONE, shared: bool = True, n_stages: Stages = 1) -> None:
    """The options of ``encoder``, beside the backbone's."""


def _term_options(*, weight: LossWeight | Mapping[str, Any] = 0.0) -> None:
    """The options of a term, beside the loss's."""


def _under(slot: str, key: str, entry: Any, faults: list[str]) -> Any:
    """An entry of ``tokens`` or ``tokenizer``."""
    where = f"{slot}.{key}"
    if slot == "tokens":
        return tuple(_part(registry.token_fusions, f"{where}[{i}]", item, faults) for i, item in enumerate(entry))
    if key == "image":
        return _part(registry.image_tokenizers, where, entry, faults)
    name = entry.get("name") if isinstance(entry, Mapping) else entry
    kind = registry.table_encoders if name in registry.table_encoders else registry.tabular_tokenizers
    return _part(kind, where, entry, faults, ("cls",))


def _encoder(value: Choice, faults: list[str]) -> Any:
    """A registered backbone or one of timm's, which is looked up where the model is built."""
    try:
        name, options = named(value, registry.backbones.kind)
    except ValueError as error:
        faults.append(f"encoder: {error}")
        return value
    hints, known = dict(option_hints(_encoder_options)), dict(keyword_options(_encoder_options))
    if name in registry.backbones:
        builder = registry.backbones.get(name)
        of_backbone = {key: option for key, option in keyword_options(builder).items() if key not in _OF_IMAGE}
        known |= of_backbone
        hints |= {key: hint for key, hint in option_hints(builder).items() if key in of_backbone}
    if unknown := [key for key in options if key not in known]:
        faults.append(f"encoder: {name!r} has no option {', '.join(map(repr, unknown))}. Valid: {', '.join(known)}")
    faults += [
        f"encoder: {fault}"
        for key, entry in options.items()
        if key in hints
        for fault in value_faults(key, entry, hints[key])
    ]
    return value


def _loss(value: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    faults += (unknown := _unknown("loss", loss_options, value))
    hints, known = option_hints(loss_options), keyword_options(loss_options)
    checked: dict[str, Any] = {}
    for key, entry in value.items():
        if unknown and key not in known:
            continue
        checked[key] = None if entry == NONE and takes_none(hints[key], known[key].default) else entry
        wrong = [] if checked[key] is None else value_faults(f"loss.{key}", entry, hints[key])
        faults += wrong
        if key == "terms" and not wrong and checked[key] is not None:
            checked[key] = {name: _term(f"loss.terms.{name}", term, faults) for name, term in entry.items()}
    return checked


def _term(where: str, value: Mapping[str, Any], faults: list[str]) -> Mapping[str, Any]:
    if missing := [key for key in ("term", "weight") if key not in value]:
        faults.append(f"{where} needs {' and '.join(missing)}")
        return value
    faults += value_faults(f"{where}.weight", value["weight"], option_hints(_term_options)["weight"])
    options = {key: entry for key, entry in value.items() if key not in ("term", "weight")}
    part = _part(registry.losses, where, {**options, "name": value["term"]}, faults)
    if not isinstance(part, dict):
        return value
    return {"term": value["term"], "weight": value["weight"], **{k: v for k, v in part.items() if k != "name"}}


def _part(kind: Registry, where: str, choice: Choice, faults: list[str], slot_options: Sequence[str] = ()) -> Any:
    """A part with its options checked."""
    try:
        name, options = named(choice, kind.kind)
        builder = kind.get(name)
    except (ValueError, PluginError) as error:
        faults.append(f"{where}: {error}")
        return choice
    hints, known = option_hints(builder), keyword_options(builder)
    of_slot = {key: value for key, value in options.items() if key in slot_options}
    values = {key: value for key, value in options.items() if key not in slot_options}
    what = f"{where}: {kind.kind} {name!r}"
    faults += _unknown(what, builder, values)
    if kind is not registry.map_fusions:  # there it is a part's own width
        faults += [f"{what}: {key} follows from the blueprint: leave it out" for key in _FILLED if key in values]
    for key, value in values.items():
        if key not in known:
            continue
        hint, default = hints.get(key, Any), known[key].default
        if isinstance(value, str) and value == NONE and takes_none(hint, default):
            values[key] = None
        elif not (value is None and default is None) and not _names_modalities(value, hint):
            faults += [f"{what}: {fault}" for fault in value_faults(key, value, hint)]
    if "of" in of_slot and not _is_names(of_slot["of"]):
        faults.append(f"{what}: of expects names of modalities, images, tables or *, got {of_slot['of']!r}")
    for key in ("shared", "cls"):
        faults += [f"{what}: {fault}" for fault in value_faults(key, of_slot.get(key, False), bool)]
    return {"name": name, **{key: values.get(key, of_slot.get(key)) for key in options}}


def _unknown(what: str, builder: Any, names: Any) -> list[str]:
    """One line for each name that is no option."""
    faults = []
    for name in names:
        try:
            check_names(what, builder, {name: None})
        except ValueError as error:
            faults.append(str(error))
    return faults


def _names_modalities(value: Any, hint: Any) -> bool:
    """Whether a text chooses modalities by their kind."""
    marks = [a for item in alternatives(hint) for a in getattr(item, "__metadata__", ()) if isinstance(a, Modalities)]
    return bool(marks) and isinstance(value, str)


def _is_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Sequence) and all(isinstance(item, str) for item in value))
