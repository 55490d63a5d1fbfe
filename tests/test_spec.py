import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.spec import Classes, Columns, DataSpec, Image, Labels, Regression, Survival, Wording

IMAGE = Image(3, (8, 8))

RIGHT_AND_WRONG: list[Any] = [
    # what, right options, wrong options, what the message says
    (
        Image,
        {"channels": 1, "size": (4, 5)},
        {"channels": 0, "size": (4, 5)},
        "Image: channels expects int of at least 1, got 0",
    ),
    (
        Image,
        {"channels": 1, "size": (4, 5, 6)},
        {"channels": 1, "size": (4,)},
        r"size expects 2 to 3 values, .*, got \(4,\)",
    ),
    (
        Image,
        {"channels": 1, "size": [4, 5]},
        {"channels": 1, "size": (4, 0)},
        r"size expects 2 to 3 values, .*, got \(4, 0\)",
    ),
    (Image, {"channels": 1, "size": (1, 1)}, {"channels": 1, "size": 224}, "size expects 2 to 3 values, .*got 224"),
    (
        Image,
        {"channels": 1, "size": (4, 5), "spacing": (0.5, 2)},
        {"channels": 1, "size": (4, 5), "spacing": (1.0,)},
        r"spacing expects 2 to 3 values, .* got \(1.0,\)",
    ),
    (
        Image,
        {"channels": 1, "size": (4, 5), "spacing": (0.5, 2)},
        {"channels": 1, "size": (4, 5), "spacing": (1.0, 0.0)},
        "spacing expects 2 to 3 values, a list of float above 0 or none, got",
    ),
    (Columns, {"numerical": ("age",)}, {}, "at least one column, got none"),
    (Columns, {"numerical": ["age"]}, {"numerical": "age"}, "numerical expects a list of str, got 'age'"),
    (
        Columns,
        {"numerical": ("a",), "categorical": (("b", 2),)},
        {"numerical": ("a",), "categorical": (("a", 2),)},
        r"twice or more: \['a'\]",
    ),
    (Columns, {"categorical": (("b", 1),)}, {"categorical": (("b", 0),)}, "'b' expects at least 1 category, got 0"),
    (
        Columns,
        {"numerical": ("a",), "wordings": (Wording(unit="mm"),)},
        {"numerical": ("a", "b"), "wordings": (Wording(),)},
        "a wording for each of 2 columns or none, got 1",
    ),
    (
        Columns,
        {"categorical": (("sex", 2),), "wordings": (Wording(categories=("f", "m")),)},
        {"categorical": (("sex", 3),), "wordings": (Wording(categories=("f", "m")),)},
        "'sex' has 3 categories, its wording 2",
    ),
    (Wording, {"template": "It is {value}"}, {"template": "It is {name}"}, r"needs \{value\}"),
    (Wording, {"template": "{value} of {name}"}, {"template": "{value} of {column}"}, "where wanted, got"),
    (Wording, {"std": 2.0}, {"std": 0.0}, "std expects float above 0, got 0.0"),
    (Wording, {"low": 1.0, "high": 1.0}, {"low": 1.0, "high": float("nan")}, "high expects float, got nan"),
    (Wording, {"categories": ("a",)}, {"categories": "a"}, "categories expects a list of str, got 'a'"),
    (Classes, {"n": 2}, {"n": 1}, "Classes: n expects int of at least 2, got 1"),
    (Classes, {"n": 2, "names": ("a", "b")}, {"n": 2, "names": ("a",)}, "names expects 2 names, got 1"),
    (Classes, {"n": 2, "names": ["a", "b"]}, {"n": 2, "names": "ab"}, "names expects a list of str, got 'ab'"),
    (Labels, {"n": 1}, {"n": 0}, "Labels: n expects int of at least 1, got 0"),
    (Labels, {"n": 1, "names": ("a",)}, {"n": 1, "names": ("a", "b")}, "names expects 1 names, got 2"),
    (Regression, {"n": 1}, {"n": 0}, "Regression: n expects int of at least 1, got 0"),
    (Survival, {"n_bins": 1}, {"n_bins": 0}, "n_bins expects int of at least 1, got 0"),
    (
        DataSpec,
        {"modalities": {"x": IMAGE}, "n_classes": 2},
        {"modalities": {}, "n_classes": 2},
        "at least one modality",
    ),
    (
        DataSpec,
        {"modalities": {"x": IMAGE}, "n_classes": 2},
        {"modalities": {"x y": IMAGE}, "n_classes": 2},
        "modality's name must be a Python identifier, got 'x y'",
    ),
    (
        DataSpec,
        {"modalities": {"kind": IMAGE}, "n_classes": 2},
        {"modalities": {"type": IMAGE}, "n_classes": 2},
        "modality cannot be called 'type'",
    ),
    (
        DataSpec,
        {"modalities": {"x": IMAGE}, "n_classes": 2},
        {"modalities": {"x": (3, 8, 8)}, "n_classes": 2},
        "'x' must be an Image or Columns",
    ),
    (
        DataSpec,
        {"modalities": {"x": IMAGE}, "n_classes": 2},
        {"modalities": {"x": IMAGE}},
        "either n_classes or targets",
    ),
    (
        DataSpec,
        {"modalities": {"x": IMAGE}, "targets": {"y": Regression()}},
        {"modalities": {"x": IMAGE}, "targets": {"y": Regression()}, "n_classes": 2},
        "either n_classes or targets",
    ),
    (
        DataSpec,
        {"modalities": {"x": IMAGE}, "targets": {"y": Classes(2)}},
        {"modalities": {"x": IMAGE}, "targets": {"y": 2}},
        "target 'y' must be Classes, Labels, Regression or Survival, got 2",
    ),
    (
        DataSpec,
        {"modalities": {"x": IMAGE}, "targets": {"stage": Classes(2)}},
        {"modalities": {"x": IMAGE}, "targets": {"a.b": Classes(2)}},
        "target's name must be a Python identifier, got 'a.b'",
    ),
]


@pytest.mark.parametrize(("what", "right", "wrong", "message"), RIGHT_AND_WRONG)
def test_invalid_values_raise(what: Any, right: dict[str, Any], wrong: dict[str, Any], message: str) -> None:
    what(**right)
    with pytest.raises(ValueError, match=message):
        what(**wrong)


def test_shorthand_equals_long_form() -> None:
    short, long = DataSpec({"x": IMAGE}, n_classes=4), DataSpec({"x": IMAGE}, targets={"label": Classes(4)})
    assert short == long
    assert short.n_classes == long.n_classes == 4
    assert DataSpec({"x": IMAGE}, targets={"y": Regression()}).n_classes is None


def test_specs_of_other_order_are_unequal() -> None:
    a, b = Columns(("a",)), Columns(("b",))
    assert DataSpec({"a": a, "b": b}, n_classes=2) == DataSpec({"a": a, "b": b}, n_classes=2)
    assert DataSpec({"a": a, "b": b}, n_classes=2) != DataSpec({"b": b, "a": a}, n_classes=2)


def test_sequences_become_tuples() -> None:
    columns = Columns(numerical=["a"], categorical=[["b", 2]])
    assert columns == Columns(("a",), (("b", 2),))
    assert Image(1, [2, 3]).shape == (1, 2, 3)


def test_columns_names_and_cardinalities() -> None:
    columns = Columns(("a", "b"), (("c", 2), ("d", 5)))
    assert columns.names == ("a", "b", "c", "d")
    assert columns.cardinalities == (2, 5)
    assert len(columns) == 4


def test_wording_sentences() -> None:
    assert Wording(unit="years").sentence("age_at_visit", "45") == "The age at visit is 45 years"
    assert Wording("The lesion elevation is {value}").sentence("elevation", "palpable") == (
        "The lesion elevation is palpable"
    )
    # Braces in a name or a value are text, not placeholders.
    assert Wording().sentence("{x}", "{value}") == "The {x} is {value}"


@pytest.mark.parametrize(("target", "n_out"), [(Classes(3), 3), (Labels(4), 4), (Regression(2), 2), (Survival(7), 7)])
def test_output_width_of_targets(target: Any, n_out: int) -> None:
    assert target.n_out == n_out


def test_views_keep_order() -> None:
    spec = DataSpec({"t": Columns(("a",)), "b": IMAGE, "a": IMAGE, "s": Columns(("a",))}, n_classes=2)
    assert spec.names == ("t", "b", "a", "s")
    assert list(spec.images) == ["b", "a"]
    assert list(spec.tables) == ["t", "s"]
    assert spec["b"] is spec.images["b"]
    assert spec.only("a", "t").names == ("t", "a")
    assert spec.only("a").targets == spec.targets


def test_unknown_modality_raises() -> None:
    spec = DataSpec({"x": IMAGE}, n_classes=2)
    with pytest.raises(KeyError, match="no modality 'y'; there are"):
        spec["y"]
    with pytest.raises(KeyError, match="no modality 'y'"):
        spec.only("x", "y")


def test_single_target_of_several_raises() -> None:
    spec = DataSpec({"x": IMAGE}, targets={"y": Classes(2)})
    assert spec.single_target() == ("y", Classes(2))
    several = DataSpec({"x": IMAGE}, targets={"b": Regression(), "a": Classes(2)})
    with pytest.raises(ValueError, match=r"one target, the spec has \['a', 'b'\]"):
        several.single_target()


def test_unknown_kind_raises() -> None:
    packed = DataSpec({"x": IMAGE}, n_classes=2).to_dict()
    packed["modalities"]["x"]["kind"] = "Sound"
    with pytest.raises(ValueError, match=r"spec.modalities.x.kind expects one of .*, got 'Sound'"):
        DataSpec.from_dict(packed)


positive = st.integers(1, 500)
name = st.from_regex(r"[a-z]{1,3}[0-9]", fullmatch=True)
text = st.text(max_size=4)
images = st.integers(2, 3).flatmap(
    lambda axes: st.builds(
        Image,
        positive,
        st.tuples(*[positive] * axes),
        st.none() | st.tuples(*[st.floats(1e-3, 1e3)] * axes),
    )
)
wordings = st.builds(
    Wording,
    template=st.sampled_from(["The {name} is {value} {unit}", "{value}"]),
    unit=text,
    mean=st.floats(-1e6, 1e6),
    std=st.floats(1e-6, 1e6),
    low=st.floats(-9, 0),
    high=st.floats(0, 9),
    step=st.floats(0, 9),
)
columns = st.lists(text, min_size=1, max_size=6, unique=True).flatmap(
    lambda names: st.builds(
        lambda n, sizes, said: Columns(names[:n], list(zip(names[n:], sizes, strict=False)), said),
        st.integers(0, len(names)),
        st.lists(positive, min_size=len(names), max_size=len(names)),
        st.just(()) | st.lists(wordings, min_size=len(names), max_size=len(names)),
    )
)
targets = st.one_of(
    st.integers(2, 9).flatmap(lambda n: st.builds(Classes, st.just(n), st.lists(text, min_size=n, max_size=n))),
    st.builds(Classes, st.integers(2, 99)),
    st.builds(Labels, positive),
    st.builds(Regression, positive),
    st.builds(Survival, positive),
)
specs = st.builds(
    lambda modalities, kinds: DataSpec(modalities, targets=kinds),
    st.dictionaries(name, images | columns, min_size=1, max_size=4),
    st.dictionaries(name, targets, min_size=1, max_size=3),
)


@pytest.mark.slow
@given(specs)
def test_round_trip_through_json(spec: DataSpec) -> None:
    again = DataSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.names == spec.names
    assert list(again.targets) == list(spec.targets)
