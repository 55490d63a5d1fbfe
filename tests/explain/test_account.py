from functools import cache
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import mmfusion as mmf
from helpers.explained import batch_for, image_of, left_as_it_was, small_model, table_of
from helpers.marks import EXHAUSTIVE
from helpers.small import TABLE, make_inputs, make_spec
from mmfusion.explain import Account, Output, contributions, grid_regions, modality_contributions, without_content
from mmfusion.explain.coalition_values import known_cells, only_cells

SOME = torch.tensor([True, False, True])
FEW = {"cfcml", "concat", "film"}


@pytest.mark.slow
def test_values_match_mean_over_grouped_orders() -> None:
    torch.manual_seed(0)
    model = mmf.create_model("concat", make_spec(), dim=8).double().eval()
    inputs = dict(batch_for(model, 1))
    inputs["image0"] = image_of(inputs).double()  # so that baselines are, too
    regions = grid_regions((16, 16), (1, 2))
    output = Output(index=1)
    (account,) = contributions(model, inputs, output=output, regions={"image0": regions}, baseline="mean")
    image, table = image_of(inputs), table_of(inputs)

    @cache
    def value(parts: frozenset[str]) -> float:
        """Of parts by name: ``image0`` and ``table0`` are the presence, ``r0``... regions, ``c0``... columns."""
        keep = torch.tensor([f"r{i}" in parts for i in range(2)])[regions]
        known = torch.tensor([[f"c{i}" in parts for i in range(4)]])
        given = {
            "image0": torch.where(keep, image, image.mean((2, 3), keepdim=True)),
            "table0": only_cells(table, known),
        }
        present = {name: torch.tensor([name in parts]) for name in given}
        with torch.no_grad():
            x = model(given, present).logits[0].softmax(0)[1]
        return float((x / (1 - x)).log())

    members = {"image0": ["r0", "r1"], "table0": ["c0", "c1", "c2", "c3"]}
    total: dict[str, float] = {}
    n = 0
    for groups in permutations(members):
        for of_image in permutations(members["image0"]):
            for of_table in permutations(members["table0"]):
                inner = {"image0": of_image, "table0": of_table}
                joined: frozenset[str] = frozenset()
                for part in [part for group in groups for part in (group, *inner[group])]:
                    total[part] = total.get(part, 0.0) + value(joined | {part}) - value(joined)
                    joined = joined | {part}
                n += 1
    assert account.bias == pytest.approx(value(frozenset()))
    assert account.presence == pytest.approx({name: total[name] / n for name in members}, abs=1e-9)
    for name, parts in account.parts.items():
        assert parts.values.tolist() == pytest.approx([total[key] / n for key in members[name]], abs=1e-9)
        assert not parts.errors.any()
    assert account.total == pytest.approx(account.output, abs=1e-9)


def adds_up(account: Account) -> None:
    assert account.total == pytest.approx(account.output, abs=1e-5)
    assert account.bias + sum(account.modalities.values()) == pytest.approx(account.output, abs=1e-5)
    for name, parts in account.parts.items():
        value = account.presence[name] + float(parts.values.sum())
        assert value == pytest.approx(account.modalities[name], abs=1e-5)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in FEW else EXHAUSTIVE) for n in mmf.registry.models.list()]
)
def test_account_adds_up_and_leaves_model_unchanged(name: str) -> None:
    torch.manual_seed(0)
    spec = make_spec()
    model = mmf.create_model(name, spec, dim=8).train()
    inputs = make_inputs(spec, 3, missing_cells=True)
    present = {"image0": SOME}
    regions = {"image0": grid_regions((16, 16), (1, 3))} if "image0" in model.images else None
    with torch.inference_mode(), left_as_it_was(model):
        accounts = contributions(model, inputs, present, regions=regions, n_orders=4)
    # The predicted class and its log odds are those of the model.
    logits = model.eval()(inputs, present).logits.double()
    top = logits.max(1).values
    others = logits.scatter(1, logits.argmax(1, keepdim=True), -torch.inf).logsumexp(1)
    assert [account.output for account in accounts] == pytest.approx((top - others).tolist(), abs=1e-5)
    for account in accounts:
        adds_up(account)
    assert accounts[1].modalities.get("image0", 0) == accounts[1].presence.get("image0", 0) == 0
    assert "image0" not in accounts[1].parts
    if "table0" in model.columns:
        known = known_cells(table_of(inputs))
        for account, of_case in zip(accounts, known, strict=True):
            assert ("table0" in account.parts) == bool(of_case.any())
            assert not any(parts.values[~of_case].any() for n, parts in account.parts.items() if n == "table0")


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6))
def test_account_adds_up_on_any_batch(seed: int) -> None:
    model = small_model("concat")
    for account in contributions(model, batch_for(model, 1, seed=seed)):
        adds_up(account)


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(st.floats(-3, 3), st.integers(0, 10**6))
def test_symmetric_columns_have_equal_contributions(cell: float, seed: int) -> None:
    torch.manual_seed(0)
    model = mmf.create_model("concat", make_spec(), dim=8).eval()
    layer = model.tokenizers["table0"].layers[0]  # type: ignore[index, union-attr]  # a submodule, for mypy any
    with torch.no_grad():
        layer.weight[:, 1], layer.weight[:, 3] = layer.weight[:, 0], layer.weight[:, 2]  # numbers, and indicators
    inputs = dict(batch_for(model, 1, seed=seed))
    inputs["table0"] = table_of(inputs)._replace(numerical=torch.full((1, 2), cell))
    values = contributions(model, inputs)[0].parts["table0"].values
    assert_close(values[0], values[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("missing", ["token", "mask"])
def test_ignored_column_has_zero_contribution(missing: str) -> None:
    torch.manual_seed(0)
    tokenizer = {"name": "mlp", "missing": missing}
    model = mmf.create_model("late", make_spec(), dim=8, tabular_tokenizer=tokenizer).eval()
    with torch.no_grad():
        layer = model.tokenizers["table0"].layers[0]  # type: ignore[index, union-attr]  # a submodule, for mypy any
        layer.weight[:, 1] = 0
        if missing == "token":
            layer.weight[:, 3] = 0
    inputs = dict(batch_for(model, 2))
    alone = only_cells(table_of(inputs), torch.tensor([[True, True, True, True], [False, True, False, False]]))
    every, single = contributions(model, inputs | {"table0": alone}, batch_size=5)
    assert every.parts["table0"].values[1] == 0
    assert every.parts["table0"].values[[0, 2, 3]].all()
    assert not single.parts["table0"].values.any()
    adds_up(every)
    adds_up(single)
    sampled = contributions(model, inputs | {"table0": alone}, exact=0, n_orders=4)
    assert [float(account.parts["table0"].values[1]) for account in sampled] == [0, 0]
    for account in sampled:
        adds_up(account)


def test_sampled_values_are_close_to_exact() -> None:
    model = small_model("concat")
    inputs = batch_for(model, 1)
    (exact,), (sampled,) = contributions(model, inputs), contributions(model, inputs, exact=0, n_orders=60)
    adds_up(sampled)
    of_exact, of_sampled = exact.parts["table0"], sampled.parts["table0"]
    assert (of_sampled.errors > 0).all()
    assert ((of_sampled.values - of_exact.values).abs() < 4 * of_sampled.errors).all()
    assert contributions(model, inputs, exact=0, n_orders=60)[0].parts["table0"].values.equal(of_sampled.values)


@pytest.mark.slow
def test_region_values_match_captum() -> None:
    attributions = pytest.importorskip("captum.attr")
    model = small_model("image")
    inputs = batch_for(model, 1)
    regions = grid_regions((16, 16), 2)
    (account,) = contributions(
        model, inputs, output=Output(index=2, unit="output"), regions={"image0": regions}, n_orders=16
    )

    def forward(x: Tensor) -> Tensor:
        logits: Tensor = model({"image0": x}).logits
        return logits

    x = image_of(inputs)
    shapley = attributions.ShapleyValues(forward)
    with torch.no_grad():
        expected = shapley.attribute(x, baselines=without_content(x), target=2, feature_mask=regions[None, None])
    by_region = torch.stack([expected[0, 0][regions == i][0] for i in range(4)])
    assert_close(account.parts["image0"].values, by_region.double(), atol=1e-5, rtol=1e-5)


def test_additive_model_has_no_interactions() -> None:
    torch.manual_seed(0)
    model = mmf.create_model("concat", make_spec(images=2), dim=8, hidden=()).eval()
    inputs = batch_for(model)
    with left_as_it_was(model):
        of = modality_contributions(model, inputs, {"image1": SOME}, output=Output(index=0, unit="output"))
    assert of.names == ("image0", "image1", "table0")
    assert_close(of.bias + of.values.sum(1), of.output)
    assert_close(of.output, model(inputs, {"image1": SOME}).logits[:, 0].double(), atol=1e-6, rtol=1e-5)
    assert of.values[1, 1] == 0
    assert of.interactions.abs().max() < 1e-6
    in_log_odds = modality_contributions(model, inputs)
    assert in_log_odds.mean_interaction(absolute=True)[0, 1] > 1e-6
    assert_close(in_log_odds.mean_interaction(), in_log_odds.interactions.mean(0))


def test_invalid_regions_and_too_many_modalities_raise() -> None:
    model = small_model("concat")
    inputs = batch_for(model, 2)
    for regions, message in (
        ({"table0": torch.zeros(16, 16, dtype=torch.int64)}, "images of the model"),
        ({"image0": torch.zeros(8, 8, dtype=torch.int64)}, "of shape"),
        ({"image0": torch.zeros(16, 16)}, "whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            contributions(model, inputs, regions=regions)
    with pytest.raises(ValueError, match="pixels"):
        contributions(model, {**inputs, **model.encode(inputs)}, regions={"image0": grid_regions((16, 16), 2)})
    spec = mmf.DataSpec({f"t{i}": TABLE for i in range(7)}, n_classes=2)
    many = mmf.create_model("concat", spec, dim=8)
    with pytest.raises(ValueError, match="at most 6"):
        modality_contributions(many, make_inputs(spec, 1))
