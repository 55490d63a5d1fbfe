"""Blueprints: a method as a plain value, a part's name and options for each slot."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from mmfusion import registry
from mmfusion.options import (
    Dropout,
    Name,
    Probability,
    Width,
    Widths,
    alternatives,
    check_names,
    keyword_options,
    option_hints,
    takes_none,
    value_faults,
)
from mmfusion.registry import Choice, Registry, named

Part: TypeAlias = Mapping[str, Any]
"""A part's ``name`` and its options."""
TermSettings: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By a name of one's own: ``term``, a registered loss, ``weight``, and the loss's options."""

NONE = "none"


@dataclass(frozen=True)
class Blueprint:
    """A fusion model and its losses as plain values: it can be printed, saved, changed, compared.

    Attributes:
        encoder: Image encoder: ``name``, ``weights``, ``shared``, ``n_stages`` and the backbone's options.
        tokenizer: ``image`` and ``table``, a tokenizer each.
        reads: Modalities that become tokens: names, ``images``, ``tables`` or ``*``.
        context: What conditions ``maps``: ``cells``, the tables' cells, or a tabular tokenizer, whose tokens are
            averaged; None: nothing.
        maps: Map fusions inside the encoders, in order.
        tokens: ``per_stage``, token fusions at each stage, and ``layers``, token fusions on the last stage's tokens; in
            order.
        token_norm: Whether tokens are brought to one scale before token fusion; see
            :class:`~mmfusion.models.FusionModel`.
        pooling: Tokens to embeddings.
        vectors: Fusion of embeddings, not read with a decision; ``of`` names them, by default all modalities'.
        decision: Fusion of the outputs of one head per modality, with ``of`` as there; None: there is one head.
        head: Outputs; ``shared = true`` gives all modalities one head where there is a decision.
        loss: What training minimizes: ``terms``, ``prototypes``, ``weighting``, ``classification``,
            ``label_smoothing``; see :func:`~mmfusion.models.loss.create_loss`.
        pretraining: A phase before it; None: there is none.
        dim: Width of tokens and embeddings.
    """

    encoder: Choice = "convnet"
    tokenizer: Mapping[str, Choice] = field(default_factory=lambda: {"image": "pool", "table": "mlp"})
    reads: Sequence[str] = ("*",)
    context: Choice | None = None
    maps: Sequence[Choice] = ()
    tokens: Mapping[str, Sequence[Choice]] = field(default_factory=lambda: {"per_stage": (), "layers": ()})
    token_norm: bool = False
    pooling: Choice = "mean"
    vectors: Choice = "concat"
    decision: Choice | None = None
    head: Choice = "mlp"
    loss: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Choice | None = None
    dim: int = 128

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as in a file: ``"none"`` for None."""
        packed: dict[str, Any] = json.loads(json.dumps({f.name: getattr(self, f.name) for f in fields(self)}))
        return {key: _plain(value) for key, value in packed.items()}

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "Blueprint":
        """The inverse of :meth:`to_dict`; a key that is left out has its default.

        Raises:
            ValueError: Naming every fault: unknown slots, parts and options, values of another type or out of range.
        """
        check_names("a blueprint", _slots, packed)
        faults: list[str] = []
        checked: dict[str, Any] = {}
        for slot, value in packed.items():
            try:
                checked[slot] = _checked_slot(slot, value)
            except ValueError as error:
                faults.append(f"{slot}: {error}")
        if faults:
            raise ValueError("; ".join(faults))
        return cls(**checked)

    def to_toml(self) -> str:
        """The blueprint as the text of a file that :func:`read` takes, one line per slot."""
        packed = self.to_dict()
        if self.decision is not None:
            del packed["vectors"]  # not read then
        return "".join(f"{line}\n" for slot, value in packed.items() for line in _lines(slot, value))

    def changed(self, **options: Any) -> "Blueprint":
        """The same with other values of the options that all methods share.

        Args:
            options: Of :func:`shared_options`; one that is None changes nothing.

        Raises:
            ValueError: If an option is unknown or its value is not valid, or an option is of a slot that this blueprint
                does not have.
        """
        check_names("a blueprint", shared_options, options)
        hints = option_hints(shared_options)
        given = {key: value for key, value in options.items() if value is not None}
        if faults := [fault for key, value in given.items() for fault in value_faults(key, value, hints[key])]:
            raise ValueError("; ".join(faults))
        slots: dict[str, Any] = {key: given[key] for key in ("dim", "token_norm") if key in given}
        for slot, keys in (
            ("encoder", {"encoder": "name", "weights": "weights", "shared_encoder": "shared"}),
            ("head", {"hidden": "hidden", "dropout": "dropout"}),
        ):
            if changes := {keys[key]: given[key] for key in keys if key in given}:
                slots[slot] = as_part(getattr(self, slot)) | changes
        if "tabular_tokenizer" in given:
            table = _replaced(self.tokenizer.get("table", "mlp"), given["tabular_tokenizer"])
            slots["tokenizer"] = {**self.tokenizer, "table": table}
            if self.context is not None:
                slots["context"] = given["tabular_tokenizer"]
        loss: dict[str, Any] = {key: given[key] for key in ("classification", "label_smoothing") if key in given}
        if terms := given.get("terms"):
            if taken := sorted(set(terms) & set(self.loss.get("terms", {}))):
                raise ValueError(f"the method has its own terms {taken}: choose other names in terms")
            loss["terms"] = {**self.loss.get("terms", {}), **terms}
        if loss:
            slots["loss"] = {**self.loss, **loss}
        return replace(self, **slots)


def shared_options(
    *,
    encoder: Name | None = None,
    weights: str | Path | None = None,
    shared_encoder: bool | None = None,
    dim: Width | None = None,
    tabular_tokenizer: Choice | None = None,
    token_norm: bool | None = None,
    hidden: Widths | None = None,
    dropout: Dropout | None = None,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability | None = None,
) -> None:
    """The options that all methods share, by the slot of a :class:`Blueprint` that each changes.

    Args:
        encoder: ``encoder.name``: a registered backbone, or a model of timm's.
        weights: ``encoder.weights``: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: ``encoder.shared``: one encoder for all images of one shape, or one each.
        dim: ``dim``: width of tokens and embeddings.
        tabular_tokenizer: ``tokenizer.table``, and ``context`` where there is one: a registered tabular tokenizer, or a
            mapping with its name and options; see :mod:`mmfusion.tokenizers.tabular`.
        token_norm: ``token_norm``: bring the tokens of all modalities to one scale before they are fused.
        hidden: ``head.hidden``: widths of the head's hidden layers.
        dropout: ``head.dropout``: probability after each of them.
        terms: ``loss.terms``: more losses, beside the method's; see :func:`~mmfusion.models.loss.create_loss`.
        classification: ``loss.classification``: a registered loss of logits and labels; None: cross-entropy.
        label_smoothing: ``loss.label_smoothing``: of the cross-entropy.
    """


def read(path: str | Path) -> Blueprint:
    """A blueprint from a TOML file.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is no TOML, or as :meth:`Blueprint.from_dict`; names the file.
    """
    try:
        return Blueprint.from_dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no blueprint {path}: give a file, or a registered name") from error
    except (ValueError, UnicodeDecodeError) as error:  # TOMLDecodeError is a ValueError
        raise ValueError(f"the blueprint {path}: {error}") from error


def part(name: str, /, **options: Any) -> dict[str, Any]:
    """A part as a mapping: its name and options."""
    return {"name": name, **options}


def as_part(choice: Choice, kind: str = "part") -> dict[str, Any]:
    """A choice as a mapping with ``name`` and options; ``kind`` is for messages."""
    name, options = named(choice, kind)
    return {"name": name, **options}


def _replaced(current: Choice, choice: Choice) -> dict[str, Any]:
    """Another tabular tokenizer in its place: inside a table encoder, and behind the same [CLS]."""
    part, other = as_part(current), as_part(choice, registry.tabular_tokenizers.kind)
    if part["name"] in registry.table_encoders:
        return {**part, "of": other}
    return other | ({"cls": True} if part.get("cls") else {})


def _slots(
    *,
    dim: Width = 128,
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
) -> None:
    """The types of the slots, for checks."""


_REGISTRIES: dict[str, Registry] = {
    "maps": registry.map_fusions,
    "pooling": registry.poolings,
    "vectors": registry.vector_fusions,
    "decision": registry.decisions,
    "head": registry.heads,
    "pretraining": registry.pretrainings,
}
_SLOT_OPTIONS = {"vectors": ("of",), "decision": ("of",), "head": ("shared",), "table": ("cls",)}
"""Options that the slot itself has, beside the part's."""


def _checked_slot(slot: str, value: Any) -> Any:
    """A slot's value with every name and option checked, ``"none"`` as None where that is possible."""
    hint, default = option_hints(_slots)[slot], keyword_options(_slots)[slot].default
    if value == NONE and takes_none(hint, default):
        return None
    if faults := value_faults(slot, value, hint):
        raise ValueError("; ".join(faults))
    if slot == "maps":
        return tuple(_checked_part(registry.map_fusions, part) for part in value)
    if slot == "tokens":
        check_names("tokens", _token_lists, value)
        return {key: tuple(_checked_part(registry.token_fusions, p) for p in parts) for key, parts in value.items()}
    if slot == "tokenizer":
        check_names("tokenizer", _tokenizer_kinds, value)
        kinds = {"image": registry.image_tokenizers, "table": registry.tabular_tokenizers}
        return {key: _checked_table(p) if key == "table" else _checked_part(kinds[key], p) for key, p in value.items()}
    if slot == "context":
        return value if value == "cells" else _checked_part(registry.tabular_tokenizers, value)
    if slot in _REGISTRIES:
        return _checked_part(_REGISTRIES[slot], value, _SLOT_OPTIONS.get(slot, ()))
    return tuple(value) if slot == "reads" else value


def _checked_table(part: Choice) -> dict[str, Any]:
    kind = registry.table_encoders if as_part(part)["name"] in registry.table_encoders else registry.tabular_tokenizers
    return _checked_part(kind, part, _SLOT_OPTIONS["table"])


def _checked_part(kind: Registry, choice: Choice, slot_options: Sequence[str] = ()) -> dict[str, Any]:
    name, options = named(choice, kind.kind)
    builder = kind.get(name)
    hints, known = option_hints(builder), keyword_options(builder)
    for key, value in options.items():
        if isinstance(value, str) and value == NONE and key in known and takes_none(hints.get(key), known[key].default):
            options[key] = None
    values = {key: value for key, value in options.items() if key not in slot_options}
    check_names(f"{kind.kind} {name!r}", builder, values)
    faults = [
        fault
        for key, value in values.items()
        if not (value is None and known[key].default is None) and not _names_modalities(value, hints.get(key))
        for fault in value_faults(key, value, hints.get(key, Any))
    ]
    if faults:
        raise ValueError(f"{kind.kind} {name!r}: {'; '.join(faults)}")
    return {"name": name, **options}


def _names_modalities(value: Any, hint: Any) -> bool:
    """Whether a text chooses modalities by their kind."""
    from mmfusion.options import Modalities

    marked = [a for one in alternatives(hint) for a in getattr(one, "__metadata__", ()) if isinstance(a, Modalities)]
    return bool(marked) and isinstance(value, str)


def _token_lists(*, per_stage: Sequence[Choice] = (), layers: Sequence[Choice] = ()) -> None:
    """The keys of ``tokens``."""


def _tokenizer_kinds(*, image: Choice = "pool", table: Choice = "mlp") -> None:
    """The keys of ``tokenizer``."""


def _lines(key: str, value: Any) -> list[str]:
    """A key of a TOML file on one line, or one line for each entry where a slot holds several parts."""
    if key in ("tokenizer", "tokens", "loss", "loss.terms") and value:
        return [line for name, entry in value.items() for line in _lines(f"{key}.{_key(name)}", entry)]
    return [f"{key} = {_inline(value)}"]


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    # Texts, numbers and booleans are written alike in JSON and TOML.
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """As in a file: ``"none"`` for None, and a part without options as its name."""
    if isinstance(value, dict):
        if list(value) == ["name"]:
            return value["name"]
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return NONE if value is None else value
