"""What the data are: modalities and targets, without any data.

A model learns everything that depends on the data from a :class:`DataSpec`: the number of images, their
sizes, the columns, the classes. Specs are plain frozen dataclasses, equal by value, and travel as JSON.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeAlias

from torch import nn

from mmfusion.option_checks import check_fields
from mmfusion.options import Length, Range
from mmfusion.packed import entries, unpack

AtLeastOne: TypeAlias = Annotated[int, Range(1)]


@dataclass(frozen=True)
class Image:
    """An image modality, 2D or 3D.

    Attributes:
        channels: Number of channels.
        size: Pixels or voxels along each spatial axis, in the tensor's order: ``(height, width)`` or three.
        spacing: Distance between neighbours along each axis, in millimetres, where known.
        bag: Most images that a case may have. Above 1 a batch holds them as a :class:`~mmfusion.tokens.Bag`.
    """

    channels: AtLeastOne
    size: Annotated[tuple[AtLeastOne, ...], Length(2, 3)]
    spacing: Annotated[tuple[Annotated[float, Range(0, above=True)], ...], Length(2, 3)] | None = None
    bag: AtLeastOne = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.spacing is not None and len(self.spacing) != len(self.size):
            raise ValueError(f"Image: spacing expects one value for each axis of {self.size}, got {self.spacing}")

    @property
    def shape(self) -> tuple[int, ...]:
        """``(channels, *size)``, of one image."""
        return (self.channels, *self.size)


@dataclass(frozen=True)
class Wording:
    """What a column's cells mean in words, for tokenizers that read sentences and for reports.

    Attributes:
        template: A sentence with ``{value}`` in it, and ``{name}`` and ``{unit}`` where wanted.
        unit: Of a number: ``"years"``, ``"mm"``; empty where it has none.
        categories: Of a categorical column, what each code stands for; empty for a number.
        mean: Of a number: the value that the cell 0 stands for.
        std: Of a number: what a cell grows by 1 for.
        low: Of a number: the smallest value that is known to occur.
        high: The largest.
        step: What the values are multiples of, such as 1 for whole years; 0 where that is not known.
    """

    template: str = "The {name} is {value} {unit}"
    unit: str = ""
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: Annotated[float, Range(0, above=True)] = 1.0
    low: float = 0.0
    high: float = 0.0
    step: Annotated[float, Range(0)] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            text = self.template.format(name="", value="\0", unit="")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                "a template is a sentence with {value}, and {name} and {unit} where wanted, "
                f"got {self.template!r}"
            ) from error
        if "\0" not in text:
            raise ValueError(f"a template needs {{value}} where the cell's value belongs, got {self.template!r}")
        if not self.low <= self.high:
            raise ValueError(f"Wording: low expects a number not above high, got low={self.low} and high={self.high}")

    def sentence(self, name: str, value: str) -> str:
        """The sentence of one cell, without doubled blanks: ``"The lesion elevation is palpable"``.

        Args:
            name: The column's name; underscores become blanks.
            value: The cell's value as text.
        """
        text = self.template.format(name=name.replace("_", " "), value=value.replace("_", " "), unit=self.unit)
        return " ".join(text.split())


@dataclass(frozen=True)
class Columns:
    """A table modality.

    Attributes:
        numerical: Names of the numerical columns, in order.
        categorical: ``(name, number of categories)`` of the categorical columns, in order.
        wordings: What the cells of each column mean, in the order of :attr:`names`; empty where that is not known.
    """

    numerical: tuple[str, ...] = ()
    categorical: tuple[tuple[str, int], ...] = ()
    wordings: tuple[Wording, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "categorical", tuple((str(name), int(n)) for name, n in self.categorical))
        wordings = tuple(w if isinstance(w, Wording) else Wording(**w) for w in self.wordings)
        object.__setattr__(self, "wordings", wordings)
        check_fields(self)
        if not self.names:
            raise ValueError("Columns expects at least one column, got none")
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise ValueError(f"Columns expects each name once, got twice or more: {repeated}")
        for name, n in self.categorical:
            if n < 1:
                raise ValueError(f"column {name!r} expects at least 1 category, got {n}")
        if wordings and len(wordings) != len(self):
            raise ValueError(f"Columns expects a wording for each of {len(self)} columns or none, got {len(wordings)}")
        for (name, n), wording in zip(self.categorical, wordings[len(self.numerical) :]):
            if wording.categories and len(wording.categories) != n:
                raise ValueError(f"column {name!r} has {n} categories, its wording {len(wording.categories)}")

    @property
    def names(self) -> tuple[str, ...]:
        """All column names: numerical ones, then categorical ones."""
        return self.numerical + tuple(name for name, _ in self.categorical)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of categories of each categorical column."""
        return tuple(n for _, n in self.categorical)

    def __len__(self) -> int:
        return len(self.numerical) + len(self.categorical)


@dataclass(frozen=True)
class _Counted:
    """A target of ``n`` outputs."""

    n: AtLeastOne

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def n_out(self) -> int:
        """Width of the output."""
        return self.n


@dataclass(frozen=True)
class _Named(_Counted):
    """A target whose outputs may have names."""

    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.names and len(self.names) != self.n:
            kind = type(self).__name__
            raise ValueError(f"{kind}: names expects {self.n} names, got {len(self.names)}: {self.names}")


@dataclass(frozen=True)
class Labels(_Named):
    """Any number of ``n`` labels; targets are ``(b, n)`` float 0 or 1, outputs ``(b, n)`` logits."""


@dataclass(frozen=True)
class Classes(_Named):
    """One label out of ``n`` classes; targets are ``(b,)`` int64, outputs ``(b, n)`` logits."""

    n: Annotated[int, Range(2)]


@dataclass(frozen=True)
class Regression(_Counted):
    """``n`` real numbers; targets and outputs are ``(b, n)`` float."""

    n: AtLeastOne = 1


@dataclass(frozen=True)
class Survival:
    """Time to an event, in ``n_bins`` discrete intervals.

    Targets are ``(b, 2)`` int64: the interval, and 1 for an event or 0 for censored. Outputs are ``(b, n_bins)``
    logits of the hazard in each interval.
    """

    n_bins: AtLeastOne

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def n_out(self) -> int:
        """Width of the output."""
        return self.n_bins


Modality: TypeAlias = Image | Columns
Target: TypeAlias = Classes | Labels | Regression | Survival

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Image, Columns, Classes, Labels, Regression, Survival)}

_TAKEN = frozenset(dir(nn.ModuleDict()))
"""What a part of a model cannot be called: parts are stored by modality and by target, as ``torch`` submodules."""


def name_fault(name: object) -> str:
    """Why a modality or target cannot be called so; empty: it can."""
    if not isinstance(name, str) or not name.isidentifier():
        return f"name must be a Python identifier, got {name!r}"
    return f"cannot be called {name!r}, which torch.nn.Module keeps for itself: rename it" if name in _TAKEN else ""


def _check_name(what: str, name: str) -> None:
    if fault := name_fault(name):
        raise ValueError(f"a {what}{'' if fault.startswith('cannot') else chr(39) + 's'} {fault}")


def _pack(value: Modality | Target) -> dict[str, Any]:
    packed = {"kind": type(value).__name__, **asdict(value)}
    if isinstance(value, Image) and value.bag == 1:
        del packed["bag"]  # the digests of former runs hold
    return packed


def _unpack(packed: object, where: str) -> Any:
    options = dict(entries(packed, where, "kind"))
    kind = options.pop("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"{where}.kind expects one of {', '.join(sorted(_KINDS))}, got {kind!r}")
    return unpack(_KINDS[kind], options, where)


@dataclass(frozen=True, eq=False)
class DataSpec:
    """Modalities and targets of a dataset; equal to another with the same ones in the same order.

    Attributes:
        modalities: Image or Columns by name; the order is kept and is the order everywhere.
        n_classes: Shorthand for ``targets={"label": Classes(n_classes)}``; afterwards the number of classes of the
            only target, None if it has none or there are several.
        targets: What is to be predicted, by name.

    Raises:
        ValueError: If there is no modality, or neither or both of ``n_classes`` and ``targets`` are given.
    """

    modalities: Mapping[str, Modality]
    n_classes: int | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", dict(self.modalities))
        if not self.modalities:
            raise ValueError("DataSpec expects at least one modality, got none")
        for name, modality in self.modalities.items():
            _check_name("modality", name)
            if not isinstance(modality, Image | Columns):
                raise ValueError(f"modality {name!r} must be an Image or Columns, got {modality!r}")
        if (self.n_classes is None) == (not self.targets):
            raise ValueError(
                "DataSpec expects either n_classes or targets, "
                f"got n_classes={self.n_classes} and targets={dict(self.targets)}"
            )
        targets = dict(self.targets) or {"label": Classes(self.n_classes or 0)}
        for name, target in targets.items():
            _check_name("target", name)
            if not isinstance(target, Classes | Labels | Regression | Survival):
                raise ValueError(f"target {name!r} must be Classes, Labels, Regression or Survival, got {target!r}")
        object.__setattr__(self, "targets", targets)
        # The shorthand and its long form must be the same spec.
        only = next(iter(targets.values())) if len(targets) == 1 else None
        object.__setattr__(self, "n_classes", only.n if isinstance(only, Classes) else None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DataSpec):
            return NotImplemented
        # Lists, not dicts: another order of the modalities is another model.
        return list(self.modalities.items()) == list(other.modalities.items()) and list(self.targets.items()) == list(
            other.targets.items()
        )

    __hash__ = None  # type: ignore[assignment]  # holds dicts

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(self.modalities)

    @property
    def images(self) -> dict[str, Image]:
        """The image modalities, in order."""
        return {name: value for name, value in self.modalities.items() if isinstance(value, Image)}

    @property
    def tables(self) -> dict[str, Columns]:
        """The table modalities, in order."""
        return {name: value for name, value in self.modalities.items() if isinstance(value, Columns)}

    def __getitem__(self, name: str) -> Any:
        if name not in self.modalities:
            raise KeyError(f"no modality {name!r}; there are {list(self.modalities)}")
        return self.modalities[name]

    def only(self, *names: str) -> "DataSpec":
        """The same targets with only the modalities named, in the spec's order.

        Raises:
            KeyError: If there is no such modality.
        """
        for name in names:
            self[name]
        return DataSpec({name: self[name] for name in self.names if name in names}, targets=self.targets)

    def single_target(self) -> tuple[str, Target]:
        """The only target with its name.

        Raises:
            ValueError: If there are several.
        """
        if len(self.targets) != 1:
            raise ValueError(f"this part works on one target, the spec has {sorted(self.targets)}")
        return next(iter(self.targets.items()))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and tuples, for JSON. The order of the modalities is part of it: do not sort the keys."""
        return {
            "modalities": {name: _pack(value) for name, value in self.modalities.items()},
            "targets": {name: _pack(value) for name, value in self.targets.items()},
        }

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "DataSpec":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If it is not what that wrote; names the key.
        """
        parts = entries(packed, "spec", "modalities", "targets")
        modalities, targets = (
            {
                name: _unpack(value, f"spec.{part}.{name}")
                for name, value in entries(parts[part], f"spec.{part}").items()
            }
            for part in ("modalities", "targets")
        )
        try:
            return cls(modalities, targets=targets)
        except ValueError as error:
            raise ValueError(f"spec.modalities and spec.targets: {error}") from error
