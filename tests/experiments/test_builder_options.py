from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from mmfusion.experiments.builder_options import typed_options

if TYPE_CHECKING:
    from nowhere import Thing


class Own:
    """A type that only the builder knows."""


def build(
    spec: object,
    *,
    dim: int = 8,
    rank: int | None = 4,
    share: float = 0.5,
    deep: bool = False,
    encoder: str = "small",
    weights: str | Path = "none",
    root: Path | None = None,
    hidden: Sequence[int] = (),
    size: int | Sequence[int] = 8,
    names: Sequence[str] | None = None,
    choice: str | Mapping[str, Any] = "mlp",
    terms: Mapping[str, Mapping[str, Any]] | None = None,
    kind: Literal["none", "one"] | None = None,
    forgetful: int = None,  # type: ignore[assignment]  # noqa: RUF013  # as people write it
    own: Own | None = None,
    anything=3,  # type: ignore[no-untyped-def]  # without an annotation, as people write it
) -> None: ...


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("rank", "none", None),
        ("rank", 4, 4),
        ("root", "none", None),
        ("terms", "none", None),
        ("forgetful", "none", None),
        ("own", "none", None),
        ("weights", "none", "none"),
        ("encoder", "none", "none"),
        ("kind", "none", "none"),
        ("anything", "none", "none"),
        ("dim", 3, 3),
        ("share", 1, 1),
        ("deep", True, True),
        ("weights", Path("here"), Path("here")),
        ("root", "here", "here"),
        ("hidden", [1, 2], [1, 2]),
        ("hidden", (), ()),
        ("size", [1, 2], [1, 2]),
        ("size", 3, 3),
        ("names", ["a"], ["a"]),
        ("choice", {"name": "mlp", "width": 3}, {"name": "mlp", "width": 3}),
        ("terms", {"nce": {"weight": 1}}, {"nce": {"weight": 1}}),
        ("own", 3, 3),
    ],
)
def test_options_are_converted_to_declared_types(option: str, value: object, wanted: object) -> None:
    assert typed_options("model", build, {option: value}) == {option: wanted}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dim", "abc", "model.dim expects int, got 'abc'"),
        ("dim", "none", "model.dim expects int, got 'none'"),
        ("dim", True, "model.dim expects int, got True"),
        ("dim", 1.5, "model.dim expects int, got 1.5"),
        ("rank", "abc", "model.rank expects int or none, got 'abc'"),
        ("share", "half", "model.share expects float, got 'half'"),
        ("deep", 1, "model.deep expects bool, got 1"),
        ("encoder", 3, "model.encoder expects str, got 3"),
        ("weights", 3, "model.weights expects str, got 3"),
        ("hidden", 64, "model.hidden expects a list of int, got 64"),
        ("hidden", ["a"], "model.hidden expects a list of int, got ['a']"),
        ("size", "big", "model.size expects int or a list of int, got 'big'"),
        ("names", "age", "model.names expects a list of str or none, got 'age'"),
        ("choice", 3, "model.choice expects str or a table of options, got 3"),
        ("terms", {"nce": 1}, "model.terms.nce expects a table of options, got 1"),
        ("kind", 3, "model.kind expects one of none, one or none, got 3"),
        ("forgetful", "abc", "model.forgetful expects int, got 'abc'"),
    ],
)
def test_invalid_options_raise(option: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        typed_options("model", build, {option: value})
    assert str(caught.value) == message


def test_string_annotations_are_resolved() -> None:
    def texts(*, dim: "int | None" = 8) -> None: ...

    def foreign(*, dim: "int" = 8, thing: "Thing | None" = None, rank: "Thing" = 3) -> None: ...

    assert typed_options("data", texts, {"dim": "none"}) == {"dim": None}
    with pytest.raises(ValueError, match=r"data\.dim expects int or none, got 'abc'"):
        typed_options("data", texts, {"dim": "abc"})
    # Names that nobody can look up: the defaults are all there is to go by.
    given = {"dim": "abc", "thing": "none", "rank": "none"}
    assert typed_options("data", foreign, given) == {"dim": "abc", "thing": None, "rank": "none"}


def test_class_as_builder() -> None:
    class Build:
        def __init__(self, *, dim: int | None = 8) -> None: ...

    assert typed_options("model", Build, {"dim": "none"}) == {"dim": None}
