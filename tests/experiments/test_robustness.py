"""Cells and modalities taken away or exchanged: against whole batches made by hand, and the run that writes it down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import mmfusion as mmf
from helpers.small import make_inputs, make_labels, make_spec
from mmfusion.data.frame import FrameDataset
from mmfusion.experiments import folder, robustness, robustness_rows, run_report
from mmfusion.experiments.robustness import Cells, Condition, Outputs, conditions, exchanged
from mmfusion.metrics.intervals import estimates
from mmfusion.metrics.paired_tests import compare
from mmfusion.spec import DataSpec
from mmfusion.tokens import FusionOutput, Table
from mmfusion.training import checkpoints, inference
from mmfusion.training.precompute import precompute
from mmfusion.training.result_files import read_json

SPEC = make_spec(images=2, tables=1)
N = 7
CPU = torch.device("cpu")
Start = Callable[..., Path]


def dataset(spec: DataSpec = SPEC) -> FrameDataset:
    """Two cases lack something: the second image, the table."""
    inputs = make_inputs(spec, N)
    there = {"image1": torch.arange(N) != 2, "table0": torch.arange(N) != 4}
    tables = {}
    for name in spec.tables:
        table = inputs[name]
        table.numerical[1, 0], table.categorical[5, 0] = torch.nan, -1
        tables[name] = table
    return FrameDataset(
        spec,
        pd.DataFrame(index=range(N)),
        images={name: inputs[name] for name in spec.images},
        tables=tables,
        targets=make_labels(spec, N),
        present={name: row for name, row in there.items() if name in spec.names},
    )


def model(name: str, spec: DataSpec = SPEC) -> Any:
    torch.manual_seed(0)
    small = {"dim": 8, "hidden": (8,), "encoder": "convnet"}
    known = mmf.registry.models.options(name)
    return mmf.create_model(name, spec, **{key: value for key, value in small.items() if key in known}).eval()


def predict(net: nn.Module, data: Any, batch_size: int = 3, **options: Any) -> Outputs:
    return robustness.predict(net, data, "label", batch_size=batch_size, workers=0, device=CPU, seed=5, **options)


def by_hand(net: nn.Module, data: FrameDataset, one: Condition | None) -> np.ndarray:
    """All cases as one batch, through the whole model."""
    cases = data.__getitems__(list(range(N)))
    inputs, present = dict(cases.inputs), dict(cases.present)
    if one is not None and one.kind == "cells":
        tables = {name: inputs[name] for name in data.spec.tables}
        hidden = Cells(tables, present, 5)
        inputs |= {name: hidden.hide(name, table, torch.arange(N), one.share) for name, table in tables.items()}
    elif one is not None and one.kind == "without":
        present[one.modality] = torch.zeros(N, dtype=torch.bool)
    elif one is not None:
        source = exchanged(N, one.modality, 5).tolist()
        others = data.__getitems__(source)
        inputs[one.modality], present[one.modality] = others.inputs[one.modality], others.present[one.modality]
    with torch.no_grad():
        return net(inputs, present).outputs["label"].double().softmax(1).numpy()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("concat", id="tokens"),
        pytest.param("cfcml", id="tokens, several stages", marks=pytest.mark.slow),
        pytest.param("film", id="modulated inside", marks=pytest.mark.slow),
        pytest.param("metablock", id="modulated behind", marks=pytest.mark.slow),
        pytest.param("image", id="images alone", marks=pytest.mark.slow),
        pytest.param("tabular", id="the table alone", marks=pytest.mark.slow),
    ],
)
def test_conditions_match_modified_batches(name: str) -> None:
    net, data = model(name), dataset()
    found = predict(net, data)
    assert list(found.under) == conditions(SPEC)
    np.testing.assert_allclose(found.base, by_hand(net, data, None), atol=1e-5)
    for one, p in found.under.items():
        np.testing.assert_allclose(p, by_hand(net, data, one), atol=1e-5, err_msg=str(one))
    seen = set(net.names)
    for one, p in found.under.items():
        idle = one.share == 0 or (one.modality not in seen if one.share is None else "table0" not in seen)
        assert np.array_equal(p, found.base) == idle, one


@pytest.mark.slow
def test_unmodified_cases_are_bit_identical() -> None:
    net, data = model("concat"), dataset()
    known = inference.predict(net, inference.in_order(data, 3, workers=0, device=CPU), "label", CPU)
    found = predict(net, data)
    assert np.array_equal(found.base, known)
    assert np.array_equal(found.under[Condition("cells", share=0.0)], known)
    again = predict(net, data, base=known)
    assert all(np.array_equal(p, again.under[one]) for one, p in found.under.items())
    assert not net.training


@pytest.mark.slow
def test_invariant_to_batch_size(tmp_path: Path) -> None:
    net, data = model("concat"), dataset()
    found, ones = predict(net, data), predict(net, data, batch_size=1)
    maps = predict(net, precompute(net, data, tmp_path, batch_size=3, device=CPU))
    for one, p in found.under.items():
        np.testing.assert_allclose(p, ones.under[one], atol=1e-5)
        np.testing.assert_allclose(p, maps.under[one], atol=1e-5)


@pytest.mark.slow
def test_without_table_no_cell_conditions() -> None:
    spec = make_spec(images=2, tables=0)
    found = predict(model("concat", spec), dataset(spec))
    assert [one.kind for one in found.under] == ["without", "without", "permuted", "permuted"]
    assert robustness_rows.area(robustness_rows.rows(found, np.array([0, 1, 0, 1, 0, 1, 0]), list("abcdefg"))) is None


def test_missing_cells_are_nested() -> None:
    spec = make_spec(images=0, tables=2)
    tables = {name: table for name, table in make_inputs(spec, 40).items() if isinstance(table, Table)}
    present = {name: torch.arange(40) % 4 != i for i, name in enumerate(tables)}
    tables["table0"].numerical[:10] = torch.nan

    def real(name: str, table: Table) -> Tensor:
        return torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1) & present[name].unsqueeze(1)

    n = sum(int(real(name, table).sum()) for name, table in tables.items())
    cells = Cells(tables, present, seed=3)
    assert cells.n == n
    everyone = torch.arange(40)
    before = {name: real(name, table) for name, table in tables.items()}
    for share in robustness.SHARES:
        after = {name: real(name, cells.hide(name, table, everyone, share)) for name, table in tables.items()}
        assert sum(int(part.sum()) for part in after.values()) == n - round(share * n)
        assert not any((after[name] & ~before[name]).any() for name in tables)
        before = after
    # Both tables lose cells, rows by rows as all together, and another seed takes other cells.
    half = cells.hide("table1", tables["table1"], everyone, 0.5)
    part = cells.hide("table1", Table(*(x[[7, 3]] for x in tables["table1"])), torch.tensor([7, 3]), 0.5)
    assert torch.equal(part.categorical, half.categorical[[7, 3]])
    other = Cells(tables, present, seed=4).hide("table1", tables["table1"], everyone, 0.5)
    assert not torch.equal(other.categorical, half.categorical)
    assert 0 < int((half.categorical < 0).sum()) < half.categorical.numel()


def test_permutation_is_one_cycle() -> None:
    source = exchanged(11, "meta", 0).tolist()
    case, seen = 0, []
    for _ in range(11):
        seen.append(case)
        case = source[case]
    assert (case, sorted(seen)) == (0, list(range(11)))
    assert exchanged(11, "meta", 0).tolist() == source
    assert exchanged(11, "meta", 1).tolist() != source != exchanged(11, "derm", 0).tolist()
    assert exchanged(1, "meta", 0).tolist() == [0]


class Strict(nn.Module):
    """Has no answer where the table is missing."""

    def forward(self, inputs: Any, present: Any = None) -> FusionOutput:
        if "table0" in (present or {}):
            raise ValueError("no case may lack the table")
        score = inputs["table0"].numerical.nan_to_num().sum(1)
        return FusionOutput({"label": torch.stack([-score, score], 1)}, {}, {})


def test_failing_condition_has_a_reason() -> None:
    spec = make_spec(images=1, tables=1)
    inputs = make_inputs(spec, N)
    data = FrameDataset(
        spec,
        pd.DataFrame(index=range(N)),
        images={"image0": inputs["image0"]},
        tables={"table0": inputs["table0"]},
        targets={"label": torch.arange(N) % 2},
    )
    found = predict(Strict(), data)
    rows = robustness_rows.rows(found, np.arange(N) % 2, list("abcdefg"), n_resamples=20)
    refused = [row for row in rows if row["reason"] is not None]
    assert [(row["kind"], row["modality"], row["reason"]) for row in refused] == [
        ("without", "table0", "no case may lack the table")
    ]
    assert set(refused[0]["metrics"]) == set(robustness_rows.METRICS)
    assert {value for one in (*refused[0]["metrics"].values(), refused[0]["drop"]) for value in one.values()} == {None}
    assert all(row["metrics"]["auc"]["value"] is not None for row in rows if row["reason"] is None)
    known = {"auc": {"value": 0.5, "error": None}}
    lines = run_report.sentences(
        {"test": known, "validation": known, "gap_closed": None, "threshold": None, "notes": []}
        | {"robustness": robustness_rows.summary(rows)}
    )
    assert any(line.startswith("Without 'table0' the test AUC is undefined; with its rows") for line in lines)

    class Broken(Strict):
        def forward(self, inputs: Any, present: Any = None) -> FusionOutput:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        predict(Broken(), data)


def test_metrics_and_drops_match_reference() -> None:
    rng = np.random.default_rng(0)
    y, groups = np.arange(60) % 3, [f"g{i // 2}" for i in range(60)]
    base, other = (rng.dirichlet([1, 1, 1], 60) + np.eye(3)[y] * w for w in (1.0, 0.3))
    base, other = (p / p.sum(axis=1, keepdims=True) for p in (base, other))
    found = Outputs(base, {Condition("cells", share=0.0): base, Condition("without", "meta"): other})
    first, second = robustness_rows.rows(found, y, groups, n_resamples=40, seed=7)
    wanted = estimates(other, y, groups, n_resamples=40, seed=7)
    for name in robustness_rows.METRICS:
        assert second["metrics"][name] == pytest.approx(wanted[name].to_dict(), abs=1e-12)
    drop = compare(base, other, y, groups, n_resamples=40, seed=7)
    assert second["drop"]["value"] == pytest.approx(drop.mean)
    # Student's t of the same resamples' standard error, where ``compare`` has their percentiles.
    ends = (second["drop"]["low"], second["drop"]["high"])
    assert ends == pytest.approx((drop.low, drop.high), abs=0.02)
    assert sum(ends) / 2 == pytest.approx(drop.mean)
    assert first["drop"] == {"value": 0, "low": 0, "high": 0, "error": 0}
    assert first["metrics"]["auc"]["value"] == pytest.approx(estimates(base, y, n_resamples=1)["auc"].value)


def row(auc: float | None, share: float | None = None, modality: str | None = None, kind: str = "cells") -> Any:
    drop = None if auc is None else 0.8 - auc
    return {
        "kind": kind,
        "modality": modality,
        "share": share,
        "metrics": {"auc": {"value": auc}},
        "drop": {"value": drop},
        "reason": None,
    }


def test_nonfinite_outputs_give_undefined_metrics() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    broken = p.copy()
    broken[[0, 2]] = np.nan
    y, groups = np.array([0, 1, 0, 1]), list("abcd")
    condition = Condition("without", "image0")
    for base, under, reason in (
        (p, broken, "the output for 2 of 4 cases is not finite"),
        (broken, p, None),
        (broken, broken, "the output for 2 of 4 cases is not finite"),
    ):
        (row,) = robustness_rows.rows(Outputs(base, {condition: under}), y, groups, n_resamples=5)
        assert row["reason"] == reason
        assert row["drop"]["value"] is None
        assert row["metrics"]["auc"]["value"] == (None if reason else 1.0)


def test_area_is_mean_height_of_curve() -> None:
    rows = [row(0.8, 0.0), row(0.7, 0.1), row(0.6, 0.3), row(0.6, 0.5), row(0.6, 0.7), row(0.5, 0.9)]
    rows.append(row(0.1, modality="meta", kind="without"))
    by_parts = 0.1 * 0.75 + 0.2 * 0.65 + 0.2 * 0.6 + 0.2 * 0.6 + 0.2 * 0.55
    assert robustness_rows.area(rows) == pytest.approx(by_parts / 0.9)
    assert robustness_rows.area([*rows, row(None, 1.0)]) is None
    assert robustness_rows.summary(rows)["rows"][-1] == {
        "kind": "without",
        "modality": "meta",
        "share": None,
        "auc": 0.1,
        "drop": pytest.approx(0.7),
    }


@pytest.mark.slow
def test_run_writes_robustness(start: Start) -> None:
    out = start()
    packed, metrics = read_json(out / folder.ROBUSTNESS), read_json(out / folder.METRICS)
    assert packed["format"] == 1
    rows = packed["rows"]
    assert [(one["kind"], one["modality"], one["share"]) for one in rows] == [
        *(("cells", None, share) for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)),
        ("without", "meta", None),
        ("permuted", "meta", None),
    ]
    for name in robustness_rows.METRICS:
        assert rows[0]["metrics"][name]["value"] == pytest.approx(metrics["test"][name]["value"], abs=1e-12)
    assert metrics["robustness"]["area"] == pytest.approx(robustness_rows.area(rows))
    lines = run_report.sentences(metrics)
    drop = rows[-1]["drop"]["value"]
    assert abs(drop) > 0.001
    said = f"{'falls' if drop > 0 else 'rises'} by {abs(drop):.3f}"
    # The model of this test does not look at who has the table.
    assert f"Without 'meta' the test AUC stays the same; with its rows exchanged between cases it {said}." in lines
    assert any("0% to 90% of the table's cells" in line for line in lines)


@pytest.mark.slow
def test_robustness_does_not_change_results(start: Start) -> None:
    on, off = start("on"), start("off", {"run": {"robustness": False}})
    assert not (off / folder.ROBUSTNESS).exists()
    assert (on / folder.PREDICTIONS).read_bytes() == (off / folder.PREDICTIONS).read_bytes()
    one, other = (checkpoints.load(out / checkpoints.BEST)[0] for out in (on, off))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with_it, without = (read_json(out / folder.METRICS) for out in (on, off))
    del with_it["robustness"]
    for metrics in (with_it, without):
        metrics["cost"] = {key: metrics["cost"][key] for key in ("parameters", "flops_per_case", "epochs")}
    assert with_it == without
    run_report.sentences(without)
