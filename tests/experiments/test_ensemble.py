import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers.commands import complaint
from mmfusion.cli import main
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.experiments import ensemble, folder, held_out_cases
from mmfusion.experiments.ensemble import AVERAGED, REFITTED, Ensemble
from mmfusion.experiments.held_out_cases import Cases
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predictor import Predictor
from mmfusion.metrics.calibration import fit_temperature
from mmfusion.metrics.classification import best_threshold
from mmfusion.tokens import FusionOutput
from mmfusion.training.result_files import read_json, write_json

NEW = pd.DataFrame({"age": [30.0, 500.0], "site": ["arm", "ear"]})


class Constant(nn.Module):
    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, inputs: object, present: object = None) -> FusionOutput:
        return FusionOutput({"label": self.logits.expand(2, -1)}, {}, {})


def member(
    *logits: float,
    sites: tuple[str, ...] = ("arm", "leg"),
    classes: tuple[str, ...] = ("good", "bad"),
    age: str = "age",
) -> Predictor:
    train = pd.DataFrame({age: [20.0, 60.0] * 5, "site": [sites[0]] * 5 + [sites[1]] * 5})
    schema = TableSchema.fit(train, numerical=(age,), categorical=("site",))
    reader = CaseReader({"label": TargetColumn("dx", classes)}, schema=schema)
    return Predictor(Constant(*logits), reader, device=torch.device("cpu"), locked=Locked(0.5, 1.0))


def test_ensemble_predicts_mean_and_merges_missing() -> None:
    of_arms, of_ears = member(0.0, 0.0), member(float(np.log(0.1)), float(np.log(0.9)), sites=("arm", "ear"))
    both = Ensemble([of_arms, of_ears], Locked(0.75, 2.0))
    said: list[str] = []
    found = both.predict(NEW, say=said.append)
    np.testing.assert_allclose(found["prob_bad"], 0.7, atol=1e-6)
    assert found["calibrated_bad"][0] == pytest.approx(np.sqrt(0.7) / (np.sqrt(0.7) + np.sqrt(0.3)), abs=1e-6)
    assert list(found["label"]) == ["good", "good"]  # 0.7 is below the threshold
    assert list(found["missing"]) == ["", "age, site"]
    assert list(found["outside"]) == ["", "age"]
    assert len(said) == 1  # once, though both say it
    assert both.absent(NEW) == ()


def test_nonfinite_output_of_one_run_gives_no_label() -> None:
    both = Ensemble([member(0.0, 0.0), member(float("nan"), 0.0)], Locked(0.5, 1.0))
    with pytest.warns(UserWarning, match="2 of 2 rows have no label"):
        found = both.predict(NEW.assign(age=30.0))
    assert found[["prob_bad", "calibrated_bad", "label"]].isna().all(axis=None)


def test_mismatched_runs_raise_with_their_differences() -> None:
    others = [member(0.0, 0.0), member(0.0, 0.0, classes=("bad", "good")), member(0.0, 0.0, age="years")]
    with pytest.raises(
        ValueError, match="same classes and columns: run 2 has the classes bad, good, run 1 has"
    ) as info:
        Ensemble(others, Locked())
    assert "run 3 reads 'meta' from 'site', 'years', run 1 from 'age', 'site'" in str(info.value)
    with pytest.raises(ValueError, match="at least two runs, got 1"):
        Ensemble(others[:1], Locked())


def test_different_cases_have_no_mean() -> None:
    p = np.array([[0.2, 0.8], [0.6, 0.4]])
    one = Cases(np.array(["a", "b"]), np.array(["a", "b"]), np.array([0, 1]), p)
    turned = one.take(np.array([1, 0]))
    both = held_out_cases.mean([one, Cases(turned.ids, turned.groups, turned.labels, p)])
    assert both is not None
    np.testing.assert_allclose(both.probabilities, [[0.4, 0.6], [0.4, 0.6]])
    assert held_out_cases.mean([one, None]) is None
    assert held_out_cases.mean([one, one.take(np.array([0]))]) is None
    assert held_out_cases.mean([one, Cases(one.ids, one.groups, 1 - one.labels, p)]) is None


@pytest.fixture
def seeds(trained: Path, tmp_path: Path) -> list[Path]:
    """The run, and a copy whose validation was predicted otherwise."""
    places = [tmp_path / "seed0", tmp_path / "seed1"]
    for place in places:
        shutil.copytree(trained, place)
    held_out = pd.read_csv(places[1] / folder.PREDICTIONS)
    held_out[["prob_good", "prob_bad"]] = 0.5 * held_out[["prob_good", "prob_bad"]] + 0.25
    held_out.to_csv(places[1] / folder.PREDICTIONS, index=False)
    write_json(places[1] / folder.LOCKED, Locked(0.125, 4.0).to_dict())
    return places


@pytest.mark.slow
def test_threshold_and_temperature_are_fitted_to_mean_on_validation(seeds: list[Path], fakes: ModuleType) -> None:
    together = ensemble.load(seeds)
    assert isinstance(together, Ensemble)
    held_out = [
        pd.read_csv(place / folder.PREDICTIONS).query("part == 'validation'").sort_values("id") for place in seeds
    ]
    p = np.mean([one[["prob_good", "prob_bad"]].to_numpy() for one in held_out], axis=0)
    y = (held_out[0]["label"] == "bad").astype(int)
    assert together.locked == Locked(best_threshold(p, y), fit_temperature(p, y))
    assert together.about == REFITTED
    # One run is that run.
    frame = fakes.table(6, seed=2)
    alone = ensemble.load(seeds[:1])
    assert isinstance(alone, Predictor)
    np.testing.assert_allclose(together.predict(frame)["prob_bad"], alone.predict(frame)["prob_bad"], atol=1e-12)
    # A threshold of the settings stays.
    for place in seeds:
        settings = read_json(place / folder.SETTINGS)
        settings["train"]["threshold"] = 0.3
        write_json(place / folder.SETTINGS, settings)
    assert ensemble.load(seeds).locked == Locked(0.3, fit_temperature(p, y))
    # Without predictions, as in shared folders, the means of the runs' own.
    (seeds[1] / folder.PREDICTIONS).unlink()
    together = ensemble.load(seeds)
    assert isinstance(together, Ensemble)
    assert together.about == AVERAGED
    own = read_json(seeds[0] / folder.LOCKED)
    assert together.locked == Locked((own["threshold"] + 0.125) / 2, (own["temperature"] + 4.0) / 2)


@pytest.mark.slow
def test_predict_accepts_several_runs(
    seeds: list[Path], fakes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "new.csv", tmp_path / "out.csv"
    frame = fakes.table(8, seed=2)
    frame.to_csv(table, index=False)
    command = ["predict", *map(str, seeds), "--table", str(table), "--device", "cpu", "--out", str(out)]
    assert main(command) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"The mean of 2 runs. {REFITTED}" in printed
    wanted = ensemble.load(seeds).predict(frame)
    np.testing.assert_allclose(pd.read_csv(out)["calibrated_bad"], wanted["calibrated_bad"], atol=1e-12)
    assert "seed0 more than once" in complaint([*command[:2], *command[1:-1], str(tmp_path / "b.csv")], capsys)
