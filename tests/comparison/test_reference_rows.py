import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmfusion.comparison import grid, reference_encoder, reference_rows
from mmfusion.comparison.analysis import analyse
from mmfusion.comparison.collect import collect
from mmfusion.comparison.reference_choice import ROWS, Choice, of_name
from mmfusion.comparison.reference_encoder import Encoder
from mmfusion.comparison.reference_inputs import Inputs
from mmfusion.data.bundle import DataBundle
from mmfusion.experiments.embeddings import Embeddings
from mmfusion.experiments.settings import Settings
from mmfusion.registry import datasets
from mmfusion.training.reporter import Silent

DATA = {"size": 32, "n_train": 120, "n_validation": 30, "n_test": 60}
TABLE_ROWS = ROWS[:2]
OPTIONS = {"encoder": "tiny", "weights": "file.pt"}


@pytest.fixture(scope="module")
def bundle() -> DataBundle:
    return datasets.create("synthetic_derm7pt", **DATA)


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def planned(tmp_path: Path) -> list[grid.Planned]:
    return grid.plan(grid.methods("concat,image"), ["synthetic_derm7pt"], [{"data": DATA}], seeds=(0, 1), out=tmp_path)


@pytest.fixture
def with_weights(tmp_path: Path) -> list[grid.Planned]:
    changes = [{"data": DATA, "model": {"weights": "file.pt"}}]
    return grid.plan(grid.methods("concat"), ["synthetic_derm7pt"], changes, seeds=(0, 1), out=tmp_path)


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows that predict the same for all cases; the list has what was fitted."""
    fitted: list[str] = []

    def predict(learner: Any, features: Any, labels: Any, kind: Any) -> Any:
        return {part: np.tile([0.4, 0.6], (len(x), 1)) for part, x in features.items() if part != "train"}

    def learner(self: Inputs, reference: Any, target: str, kind: Any, *, seed: int) -> Any:
        fitted.append(f"{reference.name}, seed {seed}")
        features = {name: np.zeros((len(dataset), 1)) for name, dataset in self._sets.items()}
        return None, features, self.bundle.train.labels(target).numpy()

    monkeypatch.setattr(Inputs, "predict", staticmethod(predict))
    monkeypatch.setattr(Inputs, "learner", learner)
    return fitted


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, bundle: DataBundle) -> list[Settings]:
    """Datasets that were read."""
    out: list[Settings] = []

    def build(settings: Settings, *_: object) -> DataBundle:
        out.append(settings)
        return bundle

    monkeypatch.setattr(reference_rows, "build_dataset", build)
    return out


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Embeddings that know the label a little; the list has an entry per encoding."""
    calls: list[str] = []

    def embeddings(self: Encoder, bundle: DataBundle, reporter: Any) -> Any:
        calls.append(str(self.options["weights"]))
        generator = np.random.default_rng(0)
        found = {}
        for name, dataset in {"train": bundle.train, "validation": bundle.validation, "test": bundle.test}.items():
            values = generator.normal(size=(len(dataset), 3))
            values[:, 0] += dataset.labels("label").numpy()
            found[name] = Embeddings(values, np.ones((len(dataset), 1), dtype=bool))
        return found, 2.5

    monkeypatch.setattr(Encoder, "embeddings", embeddings)
    return calls


@pytest.mark.slow
def test_reference_rows_are_read_as_runs(
    with_weights: list[grid.Planned], tmp_path: Path, read: list[Settings], encoded: list[str]
) -> None:
    """Two learners on three inputs; a second call fits nothing."""
    lines = Lines()
    places = reference_rows.beside(with_weights[:1], tmp_path, lines)
    assert lines.lines == []
    assert encoded == ["file.pt"]
    result = collect([tmp_path])
    assert not result.skipped
    assert {item.folder for item in result.runs} == set(places)
    names = [row.name for row in ROWS if row.learner not in ("LightGBM", "TabPFN")]
    assert {item.model for item in result.runs} == set(names)
    for item in result.runs:
        assert (item.row, item.seed, item.n_train) == ("scikit-learn", 0, 120)
        assert item.settings.data == DATA
        assert item.metrics["cost"]["seconds"] > 0
        assert ("embedding_seconds" in item.metrics["cost"]) == item.model.startswith("embeddings")
    [comparison] = analyse(result.runs, n_resamples=50).comparisons
    methods = {method.label: method for method in comparison.methods}
    assert set(methods) == set(names)
    assert all(method.is_row and method.beyond is None for method in methods.values())
    assert methods["embeddings: logistic regression"].cost is not None
    stored = {item.model: item.metrics["test"]["auc"]["value"] for item in result.runs}
    assert {label: method.scores["auc"].mean for label, method in methods.items()} == pytest.approx(stored)
    before = [(place / "metrics.json").stat().st_mtime_ns for place in places]
    assert reference_rows.beside(with_weights[:1], tmp_path, lines) == places
    assert [(place / "metrics.json").stat().st_mtime_ns for place in places] == before
    assert len(read) == len(encoded) == 1


def test_missing_dataset_skips_rows_with_message(
    planned: list[grid.Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> DataBundle:
        raise FileNotFoundError("no folder\n x")

    monkeypatch.setattr(reference_rows, "build_dataset", gone)
    lines = Lines()
    assert reference_rows.beside(planned, tmp_path, lines, Choice(TABLE_ROWS)) == []
    assert lines.lines == ["No reference rows for synthetic_derm7pt: no folder x"]


@pytest.mark.slow
def test_rows_are_fitted_once(
    with_weights: list[grid.Planned], tmp_path: Path, read: list[Settings], constant: list[str]
) -> None:
    rows = (*TABLE_ROWS, of_name("embeddings: logistic regression"))
    places = reference_rows.beside(with_weights, tmp_path, Lines(), Choice(TABLE_ROWS))
    assert len(set(places)) == 4
    assert (len(read), len(constant)) == (1, 4)
    assert reference_rows.beside(with_weights, tmp_path, Lines(), Choice(TABLE_ROWS)) == places
    assert (len(read), len(constant)) == (1, 4)
    # Of more rows the others alone are fitted.
    more = reference_rows.beside(with_weights, tmp_path, Lines(), Choice(rows))
    assert set(places) < set(more)
    assert constant[4:] == ["embeddings: logistic regression, seed 0", "embeddings: logistic regression, seed 1"]


def test_omitted_rows_are_reported_once(
    planned: list[grid.Planned], tmp_path: Path, read: list[Settings], constant: list[str]
) -> None:
    """Untrained weights give no embeddings, in any seed."""
    rows = (TABLE_ROWS[0], of_name("embeddings: logistic regression"))
    lines = Lines()
    assert len(reference_rows.beside(planned, tmp_path, lines, Choice(rows, ("No TabPFN: why",)))) == 2
    assert lines.lines == [
        "No TabPFN: why",
        "No reference rows (embeddings: logistic regression) for synthetic_derm7pt: the encoder tiny_convnet starts "
        "without pretrained weights (model.weights=none), so that its frozen maps are random features",
    ]


def test_failing_row_keeps_the_others(
    planned: list[grid.Planned], tmp_path: Path, read: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def write(want: Any, inputs: Any, **_: Any) -> None:
        tried.append(want.reference.name)
        if want.reference == TABLE_ROWS[0]:
            raise ValueError("no room")
        want.place.mkdir(parents=True)
        (want.place / "metrics.json").write_text("{}")

    monkeypatch.setattr(reference_rows, "write", write)
    lines = Lines()
    assert len(reference_rows.beside(planned, tmp_path, lines, Choice(TABLE_ROWS))) == 2
    assert lines.lines == ["No reference rows (logistic regression) for synthetic_derm7pt: no room"]
    # Another seed is not tried.
    assert tried == ["logistic regression", "gradient boosting", "gradient boosting"]


@pytest.mark.slow
def test_changed_table_refits_rows(tmp_path: Path, bundle: DataBundle, constant: list[str]) -> None:
    table, copy = tmp_path / "cases.csv", tmp_path / "copy.csv"
    out = tmp_path / "out"

    def fitted(path: Path) -> list[Path]:
        wanted = reference_rows.wanted(TABLE_ROWS, "synthetic_derm7pt", out, data={"table": str(path)})
        for want in wanted:
            reference_rows.write(want, Inputs(bundle), resamples=20)
        return [want.place for want in wanted]

    for path in (table, copy):
        path.write_text("a,b\n1,2\n")
    first = fitted(table)
    assert fitted(copy) == first
    table.write_text("a,b\n1,3\n")
    second = fitted(table)
    assert not set(first) & set(second)
    assert len(constant) == 4
    # The rows say which table they saw.
    result = collect([out])
    assert not result.skipped
    digests = {item.folder: item.metrics["content"]["data"]["table"] for item in result.runs}
    assert {digests[place] for place in first} == {hashlib.sha256(b"a,b\n1,2\n").hexdigest()}
    assert {digests[place] for place in second} == {hashlib.sha256(b"a,b\n1,3\n").hexdigest()}


def test_plugin_dataset_changes_place_by_content(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"

    def places(dataset: str) -> list[Path]:
        return [want.place for want in reference_rows.wanted(TABLE_ROWS, dataset, tmp_path, plugins=[str(plugin)])]

    plugin.write_text("A = 1\n")
    options, foreign = places("synthetic_derm7pt"), places("mine")
    plugin.write_text("A = 2\n")
    assert places("synthetic_derm7pt") == options
    assert not set(places("mine")) & set(foreign)


def test_place_without_files_is_stable(tmp_path: Path) -> None:
    [row] = reference_rows.wanted(TABLE_ROWS[:1], "ham10000", tmp_path, data={"size": 128})
    assert row.place == tmp_path / "ham10000" / "logistic-regression" / "seed0-9b655acb73"


def test_embedding_place_depends_on_encoder_and_weights(with_weights: list[grid.Planned], tmp_path: Path) -> None:
    def places(**changes: Any) -> set[Path]:
        encoder = Encoder(OPTIONS | changes, True, with_weights[0])
        rows = reference_rows.wanted(ROWS, "ham10000", tmp_path, encoder=encoder)
        return {want.place for want in rows}

    one, other = places(), places(weights="other.pt")
    assert len(one) == len(ROWS)
    assert {place.parent.name for place in one & other} == {
        *("logistic-regression", "gradient-boosting", "LightGBM", "TabPFN")
    }
    assert {place.parent.name for place in one - other} >= {"embeddings-LightGBM", "embeddings-table-LightGBM"}


def test_missing_validation_set_raises(tmp_path: Path, bundle: DataBundle) -> None:
    [row] = reference_rows.wanted(TABLE_ROWS[:1], "synthetic_derm7pt", tmp_path, data=DATA)
    with pytest.raises(ValueError, match="the reference rows need a validation set"):
        reference_rows.write(row, Inputs(replace(bundle, validation=[])))


def test_distinct_encoders_prefer_precomputed_maps(tmp_path: Path) -> None:
    """Of two runs with the same encoder the one with precomputed maps; models without an encoder have none."""
    frozen = {"train": {"freeze": "all", "precompute": True}, "model": {"weights": "file.pt"}}
    layers = [[{"model": {"weights": "file.pt"}}], [frozen], [{"model": {"weights": "other.pt"}}]]
    planned = [
        run
        for layer in layers
        for run in grid.plan(grid.methods("concat,tabular"), ["synthetic_derm7pt"], layer, out=tmp_path)
    ]
    found, reason = reference_encoder.encoders(planned)
    assert reason == ""
    assert [encoder.options["weights"] for encoder in found] == ["file.pt", "other.pt"]
    assert found[0].planned.settings.train.precompute
    alone = grid.plan(grid.methods("tabular"), ["synthetic_derm7pt"], out=tmp_path)
    assert reference_encoder.encoders(alone) == ([], "no method has the options encoder and weights")


def test_precomputed_maps_of_run_are_used(
    with_weights: list[grid.Planned], bundle: DataBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_weights[0].settings
    kept = replace(settings, train=replace(settings.train, precompute=True), run=replace(settings.run, cache="cache"))
    model = torch.nn.Linear(1, 1)
    monkeypatch.setattr(reference_encoder, "build_model", lambda *_, **__: model)
    asked: list[Path] = []

    def precompute(_: Any, dataset: Any, folder: Path, **__: Any) -> Any:
        asked.append(folder)
        return dataset

    def embed(_: Any, dataset: Any, **__: Any) -> Embeddings:
        return Embeddings(np.zeros((len(dataset), 1)), np.ones((len(dataset), 1), dtype=bool))

    monkeypatch.setattr(reference_encoder, "precompute", SimpleNamespace(precompute=precompute))
    monkeypatch.setattr(reference_encoder, "embed", embed)
    for run, expected in ((with_weights[0], 0), (replace(with_weights[0], settings=kept), 3)):
        asked.clear()
        found, seconds = Encoder(OPTIONS, True, run).embeddings(bundle, Silent())
        assert {name: len(rows.values) for name, rows in found.items()} == {"train": 120, "validation": 30, "test": 60}
        assert seconds >= 0
        assert asked == [Path("cache/maps")] * expected


class Unlabeled:
    """A dataset whose labels nobody may ask for."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def labels(self, target: str) -> torch.Tensor:
        raise AssertionError("labels of a held-out set")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic regression", "embeddings + table: gradient boosting"])
def test_held_out_labels_are_not_used(
    name: str, bundle: DataBundle, with_weights: list[grid.Planned], encoded: list[str]
) -> None:
    """Rows are fitted and predict without these labels: no order of them changes a prediction."""
    hidden = replace(bundle, validation=Unlabeled(bundle.validation), test=Unlabeled(bundle.test))
    encoder = Encoder(OPTIONS, True, with_weights[0])
    kind = bundle.spec.targets["label"]
    reference = of_name(name)
    assert reference is not None
    embedded, _ = encoder.embeddings(bundle, Silent())
    found = []
    for sets in (bundle, hidden):
        inputs = Inputs(sets, encoder)
        inputs._embeddings = embedded
        learner, features, labels = inputs.learner(reference, "label", kind, seed=0)
        found.append(inputs.predict(learner, features, labels, kind))
    for part in ("validation", "test"):
        np.testing.assert_array_equal(found[0][part], found[1][part])


@pytest.mark.slow
def test_embeddings_match_encoder_of_method(bundle: DataBundle, tmp_path: Path) -> None:
    """Whether its maps are precomputed for the run or not; the first call leaves the run its maps."""
    frozen = {"train": {"freeze": "all", "precompute": True}, "run": {"cache": str(tmp_path / "cache")}}
    run = {"data": DATA}
    [direct] = grid.plan(grid.methods("concat"), ["synthetic_derm7pt"], [run], out=tmp_path)
    [kept] = grid.plan(grid.methods("concat"), ["synthetic_derm7pt"], [run, frozen], out=tmp_path)
    torch.manual_seed(0)
    model = reference_encoder.build_model(direct.settings, bundle.spec, weights=True)

    def encoder(planned: grid.Planned) -> dict[str, Embeddings]:
        return Encoder({}, True, planned).embeddings(bundle, Silent())[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_encoder, "build_model", lambda *_, **__: model)
        one, other = encoder(direct), encoder(kept)
    assert {name: rows.values.shape for name, rows in one.items()} == {
        name: (n, model.encoders.map_shapes["clinic"][-1][0] * len(bundle.spec.images))
        for name, n in (("train", 120), ("validation", 30), ("test", 60))
    }
    for name, rows in one.items():
        np.testing.assert_allclose(rows.values, other[name].values, atol=1e-6)
    assert len(list((tmp_path / "cache" / "maps").iterdir())) == 3
