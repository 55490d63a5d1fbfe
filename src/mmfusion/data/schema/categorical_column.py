"""Columns of categories, levels and booleans, fitted on the training rows."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from mmfusion.data.schema.cells import BOOLEANS, ERRORS, Codes, distinct, key, one_column, parse_numbers
from mmfusion.data.schema.known_orders import in_order
from mmfusion.data.schema.number_cells import Mask, Reading, Remark, remarks_of
from mmfusion.option_checks import check_fields
from mmfusion.spec import Wording

RARE = "rare"
"""Name of the category into which rare categories are merged."""
MIN_CASES = 5
"""Fewest training cases of a category that is kept by name."""


def packed(column: Any) -> dict[str, Any]:
    """A column's attributes as plain values, without defaults."""
    plain = type(column)(column.name)
    content = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(column).items()
        if value != getattr(plain, name)
    }
    return {"name": column.name, **content}


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of categories.

    Attributes:
        name: The column's name in the table.
        categories: A value's code is its index here. Values that differ only in case or blanks are one category.
        kind: ``"categorical"``, sorted; ``"ordinal"``, in their order; ``"boolean"``: false and true.
        aliases: Other spellings and their categories.
        unit: Such as ``"mm"``; for sentences.
        template: Template of its sentence; see :class:`~mmfusion.spec.Wording`. Empty: the default.
        missing: Further spellings of a missing cell.
        rare: Whether the last category collects all others: those of too few training rows, whose names are not kept,
            and those that no training row has.
        numbers_only: Whether values that are not numbers count as missing.
    """

    name: str
    categories: tuple[str, ...] = ()
    kind: Literal["categorical", "ordinal", "boolean"] = "categorical"
    aliases: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    template: str = ""
    missing: tuple[str, ...] = ()
    rare: bool = False
    numbers_only: bool = False

    def __post_init__(self) -> None:
        check_fields(self, f"column {self.name!r}")
        object.__setattr__(self, "aliases", dict(self.aliases))
        object.__setattr__(self, "missing", tuple(text.lower() for text in self.missing))
        spelt = Counter(map(key, self.categories))
        if twice := [name for name in self.categories if spelt[key(name)] > 1]:
            raise ValueError(f"column {self.name!r} has categories that differ only in case or blanks: {twice}")
        if self.kind == "boolean" and self.categories != ("false", "true"):
            raise ValueError(
                f"column {self.name!r} of booleans expects the categories false, true, got {self.categories}"
            )
        if self.rare and not self.categories:
            raise ValueError(
                f"column {self.name!r} with rare=True expects categories, the last of which is the rare one"
            )
        _ = self.wording

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        name: str,
        *,
        train: Sequence[int] | None = None,
        min_cases: int = 1,
        **options: Any,
    ) -> "CategoricalColumn":
        """Learn the vocabulary of a column.

        Args:
            frame: All rows; every cell is checked.
            name: The column.
            train: Positions of the training rows, whose values are the vocabulary; None: all.
            min_cases: Categories of fewer training rows are merged into the last one, :data:`RARE`; their names are
                not kept. Booleans and given categories are not merged.
            options: Attributes that are not fitted. Given ``categories`` are kept: the order of an ordinal column.

        Raises:
            ValueError: If a cell is not one of the given categories, or not a spelling of a boolean.
        """
        if type(min_cases) is not int or min_cases < 1:
            raise ValueError(f"column {name!r} expects min_cases of 1 or more, got {min_cases!r}")
        codes, texts = distinct(one_column(frame, name), [text.lower() for text in options.get("missing", ())])
        if train is not None:
            codes = codes[np.asarray(train, dtype=np.int64)]
        if options.get("numbers_only"):
            codes = np.where(np.append(_are_numbers(texts), False)[codes], codes, -1)
        if options.get("kind") == "boolean":
            options["categories"] = ("false", "true")
        if "categories" not in options:
            aliases = {key(alias): category for alias, category in options.get("aliases", {}).items()}
            counts = np.bincount(codes[codes >= 0], minlength=len(texts))
            # A category is named by its most frequent spelling.
            spellings: dict[str, str] = {}
            n_cases: Counter[str] = Counter()
            for text, count in sorted(zip(texts, counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])):
                if not count:
                    continue
                category = aliases.get(key(text), text)
                spellings.setdefault(key(category), category)
                n_cases[key(category)] += count
            names = sorted(category for folded, category in spellings.items() if n_cases[folded] >= min_cases)
            ordered = options.get("kind") == "ordinal"
            options["categories"] = in_order(names) if ordered else tuple(names)
            if len(names) < len(spellings):
                options["categories"] += (_unused_name(RARE, names),)
                options["rare"] = True
            return cls(name, **options)
        column = cls(name, **options)
        if unknown := column._unknown(texts):
            raise ValueError(
                f"column {name!r} has {', '.join(map(repr, unknown[:10]))}, expected one of {column.categories}: add "
                "the category, an alias, or a spelling of missing"
            )
        return column

    def spellings(self) -> dict[str, int]:
        """The code of each known spelling, by :func:`~mmfusion.data.schema.cells.key`."""
        codes = {key(category): code for code, category in enumerate(self.categories)}
        if self.kind == "boolean":
            codes |= {spelling: int(value) for spelling, value in BOOLEANS.items()}
        aliases = {}
        for alias, category in self.aliases.items():
            if key(category) in codes:  # the training rows may not have it
                aliases[key(alias)] = codes[key(category)]
        return codes | aliases

    def encode(self, frame: pd.DataFrame) -> Codes:
        """Codes, shape ``(n,)`` int64; -1 is missing, or an unknown category if there is no rare one."""
        known, other = self.spellings(), len(self.categories) - 1 if self.rare else -1
        codes, texts = distinct(one_column(frame, self.name), self.missing)
        of_texts = np.array([known.get(key(text), other) for text in texts], dtype=np.int64)
        if self.numbers_only:
            of_texts[~_are_numbers(texts)] = -1
        return np.append(of_texts, -1)[codes]

    def unseen(self, frame: pd.DataFrame) -> list[str]:
        """Unknown categories, in the order of their first row; they count as missing, or as the rare category."""
        return self._unknown(distinct(one_column(frame, self.name), self.missing)[1])

    def _unknown(self, texts: list[str]) -> list[str]:
        known = self.spellings()
        valid = _are_numbers(texts) if self.numbers_only else np.ones(len(texts), dtype=np.bool_)
        return [
            text for text, is_valid in zip(texts, valid.tolist(), strict=True) if is_valid and key(text) not in known
        ]

    @property
    def source(self) -> str:
        """The table's column."""
        return self.name

    def remarks(self, frame: pd.DataFrame) -> list[Remark]:
        """Remarks on a table's cells: errors of spreadsheets, and words among numbered levels."""
        column = one_column(frame, self.name)
        codes, texts = distinct(column, self.missing, errors=True)
        is_error = np.array([text.lower() in ERRORS for text in texts], dtype=np.bool_)
        is_invalid = ~_are_numbers(texts) & ~is_error & self.numbers_only
        none = np.zeros(len(column), dtype=np.bool_)
        errors, invalid = (np.append(of_texts, False)[codes] for of_texts in (is_error, is_invalid))
        reading = Reading(np.full(len(column), np.nan), none.astype(np.int8), none, errors, invalid)
        return remarks_of(self.name, column, reading, "number", "missing")

    @property
    def wording(self) -> Wording:
        """The meaning of the codes."""
        words = ("no", "yes") if self.kind == "boolean" else self.categories
        return Wording(template=self.template or Wording.template, unit=self.unit, categories=words)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without defaults."""
        return packed(self)


def _unused_name(name: str, taken: Collection[str]) -> str:
    """The name, made longer while it is in use."""
    while key(name) in set(map(key, taken)):
        name = f"other {name}"
    return name


def _are_numbers(texts: Sequence[str]) -> Mask:
    return np.isfinite(parse_numbers(texts))
