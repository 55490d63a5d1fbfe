import math

import pytest
import torch

import mmfusion as mmf
from helpers.explained import batch_for, left_as_it_was, small_model, table_of
from helpers.small import make_inputs, make_spec
from mmfusion.explain import Output, value_of_knowing
from mmfusion.explain.coalition_values import known_cells
from mmfusion.spec import Regression
from mmfusion.tokens import Table

COLUMNS = ("age", "size", "sex", "place")
SOME = torch.tensor([True, False, True])


def table(numerical: list[list[float]], categorical: list[list[int]]) -> Table:
    return Table(torch.tensor(numerical), torch.tensor(categorical))


@pytest.mark.slow
def test_only_missing_values_have_worth() -> None:
    model = small_model("concat")
    inputs, reference = batch_for(model, 3, missing_cells=True), batch_for(model, 9, seed=1, missing_cells=True)
    with torch.inference_mode(), left_as_it_was(model):
        worths = value_of_knowing(model, inputs, {"image0": SOME}, reference, n_donors=4, batch_size=5)
    known = known_cells(table_of(inputs))
    for i, worth in enumerate(worths):
        missing = {f"table0.{name}" for name, of_case in zip(COLUMNS, known[i].tolist(), strict=True) if not of_case}
        assert set(worth) == missing | ({"image0"} if not SOME[i] else set())
        assert all(w.change > 0 and 1 <= w.n_donors <= 4 for w in worth.values())


def test_worth_is_mean_over_closest_cases() -> None:
    model = small_model("concat", images=0)
    nan = math.nan
    case = {"table0": table([[0.5, nan]], [[1, 2]])}
    # The first two are this case with a size; the others are far away, or lack it.
    reference = {"table0": table([[0.5, -1.0], [0.51, 2.0], [30.0, 5.0], [0.5, nan]], [[1, 2], [1, 2], [0, 0], [1, 2]])}
    (worth,) = value_of_knowing(model, case, None, reference, n_donors=2, output=Output(index=1))
    with torch.no_grad():
        before = model(case).logits.double().softmax(1)
        after = [model({"table0": table([[0.5, size]], [[1, 2]])}).logits.double().softmax(1) for size in (-1.0, 2.0)]
    change = sum(float((p - before)[0, 1].abs()) for p in after) / 2
    entropy = float(torch.special.entr(before).sum()) - sum(float(torch.special.entr(p).sum()) for p in after) / 2
    assert list(worth) == ["table0.size"]
    assert worth["table0.size"].change == pytest.approx(change, rel=1e-5)
    assert worth["table0.size"].entropy_reduction == pytest.approx(entropy, rel=1e-4, abs=1e-9)
    assert worth["table0.size"].n_donors == 2


def test_no_donors_give_no_worth() -> None:
    model = small_model("concat", images=0)
    case = {"table0": table([[0.5, math.nan]], [[1, 2]])}
    assert value_of_knowing(model, case, None, case) == [{}]


def test_reference_without_shared_modality_gives_no_worth() -> None:
    model = small_model("concat")
    inputs = batch_for(model, 2, missing_cells=True)
    present = {"image0": torch.tensor([True, False])}
    assert value_of_knowing(model, inputs, present, {"image0": inputs["image0"]}) == [{}, {}]


@pytest.mark.parametrize("names", [(), ("image0", "table0")])
def test_reference_with_unequal_case_counts_raises(names: tuple[str, ...]) -> None:
    model = small_model("concat")
    inputs, more = batch_for(model, 2), batch_for(model, 3)
    reference = {name: (inputs if name == "image0" else more)[name] for name in names}
    with pytest.raises(ValueError, match=r"same number in each modality, got (none|.'image0': 2, 'table0': 3)"):
        value_of_knowing(model, inputs, None, reference)


@pytest.mark.slow
def test_regression_worth_has_no_entropy_reduction() -> None:
    targets = {"volume": Regression(1), "kind": mmf.Labels(2)}
    spec = mmf.DataSpec(make_spec().modalities, targets=targets)
    torch.manual_seed(0)
    model = mmf.create_model("film", spec, dim=8)
    case = {"image0": make_inputs(spec, 1)["image0"]}
    absent, reference = {"table0": torch.zeros(1, dtype=torch.bool)}, make_inputs(spec, 4, seed=1)
    (worth,) = value_of_knowing(model, case, absent, reference, output=Output("volume"))
    assert worth["table0"].entropy_reduction is None
    assert worth["table0"].change > 0
    (worth,) = value_of_knowing(model, case, absent, reference, output=Output("kind", 1))
    assert worth["table0"].entropy_reduction is not None
