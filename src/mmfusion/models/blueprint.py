"""Blueprints: a method as a plain value, a part's name and options for each slot."""

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from mmfusion import registry
from mmfusion.models.slots import NONE, TermSettings, checked_options, slot_value
from mmfusion.option_checks import check_names, check_options, keyword_options, unknown_option
from mmfusion.options import Dropout, ModalityNames, Name, Probability, Width, Widths
from mmfusion.registry import Choice, named

Part: TypeAlias = Mapping[str, Any]
"""A part's ``name`` and its options."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A fusion model and its losses as plain values: it can be printed, saved, changed, compared.

    Attributes:
        encoder: Image encoder: ``name``, ``weights``, ``shared``, ``n_stages``, ``bag`` (how several images of a case
            are pooled: ``mean`` or ``max``), and a registered backbone's options.
        tokenizer: ``image`` and ``table``, a tokenizer each; without them ``pool`` and ``mlp``.
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

    Raises:
        ValueError: Naming every fault: unknown parts and options, values of another type or out of range.
    """

    encoder: Choice = "convnet"
    tokenizer: Mapping[str, Choice] = field(default_factory=dict)
    reads: ModalityNames = ("*",)
    context: Choice | None = None
    maps: Sequence[Choice] = ()
    tokens: Mapping[str, Sequence[Choice]] = field(default_factory=dict)
    token_norm: bool = False
    pooling: Choice = "mean"
    vectors: Choice = "concat"
    decision: Choice | None = None
    head: Choice = "mlp"
    loss: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Choice | None = None
    dim: Width = 128

    def __post_init__(self) -> None:
        faults: list[str] = []
        values = checked_options("a blueprint", vars(self), faults, type(self))
        values = {slot: slot_value(slot, value, faults) for slot, value in values.items()}
        if faults:
            raise ValueError("; ".join(faults))
        for slot, value in values.items():
            object.__setattr__(self, slot, _canonical(value))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as in a file: ``"none"`` for None.

        Raises:
            ValueError: If an option is for Python only, such as a function.
        """
        return {slot: _plain(value) for slot, value in vars(self).items()}

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "Blueprint":
        """The inverse of :meth:`to_dict`; a key that is left out has its default.

        Raises:
            ValueError: As the constructor; for unknown slots too.
        """
        known = keyword_options(cls)
        faults = [unknown_option("a blueprint", slot, known) for slot in packed if slot not in known]
        try:
            blueprint = cls(**{slot: value for slot, value in packed.items() if slot in known})
        except ValueError as error:
            faults.append(str(error))
        if faults:
            raise ValueError("; ".join(faults))
        return blueprint

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
        given = {key: value for key, value in options.items() if value is not None}
        check_names("a blueprint", shared_options, options)
        check_options("a blueprint", shared_options, given)
        slots: dict[str, Any] = {key: given[key] for key in ("dim", "token_norm") if key in given}
        for slot, keys in (
            ("encoder", {"encoder": "name", "weights": "weights", "shared_encoder": "shared"}),
            ("head", {"hidden": "hidden", "dropout": "dropout"}),
        ):
            if changes := {keys[key]: given[key] for key in keys if key in given}:
                slots[slot] = as_part(getattr(self, slot)) | changes
        if "tabular_tokenizer" in given:
            table = _replaced(self.tokenizer["table"], given["tabular_tokenizer"])
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
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    token_norm: bool = False,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> None:
    """The options that all methods share, by the slot of a :class:`Blueprint` that each changes.

    Their defaults are those of a method that does not say otherwise.

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


def _canonical(value: Any) -> Any:
    """One form for equal blueprints: a tuple for a list, a part without options as its name."""
    if isinstance(value, Mapping):
        entries = {key: _canonical(item) for key, item in value.items()}
        return entries["name"] if list(entries) == ["name"] and isinstance(entries["name"], str) else entries
    return tuple(map(_canonical, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """As in a file."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if value is None or isinstance(value, str | bool | int | float):
        return NONE if value is None else value
    raise ValueError(f"the blueprint has {value!r}, which is for Python only: a file cannot hold it")
