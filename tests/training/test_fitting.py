"""What tokenizers learn from the training rows: once, before the first step, and found again in every checkpoint."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import mmfusion as mmf
from helpers.small import make_inputs, make_labels, make_spec
from helpers.text import FakeEncoder
from mmfusion.data.frame import FrameDataset
from mmfusion.experiments import run, settings
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokenizers import TextTokenizer, TreeTokenizer
from mmfusion.tokenizers.tabular import encoders
from mmfusion.tokens import Table
from mmfusion.training import checkpoints, whole_tables
from mmfusion.training.fitting import fit_tokenizers, learning
from mmfusion.training.precompute import precompute

SPEC = make_spec(images=1, tables=2)
N = 40
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"dim": 8, "image_latents": 2, "table_latents": 2, "hidden": (8,)}


def dataset() -> FrameDataset:
    inputs = make_inputs(SPEC, N, missing_cells=True)
    return FrameDataset(
        SPEC,
        pd.DataFrame(index=range(N)),
        images={"image0": inputs["image0"]},
        tables={name: inputs[name] for name in SPEC.tables},
        targets=make_labels(SPEC, N),
        present={"table1": torch.arange(N) % 2 == 0},
    )


def model(tabular_tokenizer: Any) -> mmf.FusionModel:
    torch.manual_seed(0)
    return mmf.create_model("cfcml", SPEC, tabular_tokenizer=tabular_tokenizer, **SMALL).eval()


def seen(net: mmf.FusionModel, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Table, Any]]:
    """What each tokenizer is fitted to, when it will be."""
    found: dict[str, tuple[Table, Any]] = {}
    for name in SPEC.tables:
        monkeypatch.setattr(
            net.tokenizers[name].tokenizer,
            "fit",
            lambda table, labels, name=name: found.update({name: (table, labels)}),
        )
    return found


@pytest.mark.slow
def test_tokenizers_are_fitted_on_present_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, more than fit into a batch too, with their labels."""
    data, net = dataset(), model("piecewise_linear")
    found = seen(net, monkeypatch)
    monkeypatch.setattr(whole_tables, "_BATCH", 7)
    monkeypatch.setattr(data, "_images", {"image0": None})  # no image is looked at
    fit_tokenizers(net, data, "label")
    for name, there in (("table0", torch.ones(N, dtype=torch.bool)), ("table1", torch.arange(N) % 2 == 0)):
        (table, labels), whole = found[name], data._tables[name]
        assert torch.equal(table.numerical.nan_to_num(9.0), whole.numerical[there].nan_to_num(9.0))
        assert torch.equal(table.categorical, whole.categorical[there])
        assert torch.equal(labels, data.labels("label")[there])


@pytest.mark.slow
def test_fits_on_precomputed_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its maps are not read."""
    data, net = dataset(), model({"name": "trees", "n_trees": 3})
    maps = precompute(net, data, tmp_path, batch_size=8, device=CPU)
    found = seen(net, monkeypatch)
    monkeypatch.setattr(maps, "__getitems__", lambda indices: pytest.fail("maps were read"))
    fit_tokenizers(net, maps, "label")
    assert torch.equal(found["table1"][0].categorical, data._tables["table1"].categorical[::2])
    without = maps.without(["image0"])
    assert set(without.__getitems__([0, 1]).inputs) == {"table0", "table1"}
    assert (without.ids, len(without)) == (data.ids, N)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_tokenizers_that_learn_from_rows() -> None:
    names = {
        "feature": False, "mlp": False, "periodic": False, "tabtransformer": False, "text": True, "trees": True,
        "piecewise_linear": True,
    }  # fmt: skip
    assert sorted(names) == mmf.registry.tabular_tokenizers.list()
    for name, learns in names.items():
        assert bool(learning(model(name))) == learns
        assert {table for table, _ in learning(model({"name": name, "missing": "impute"}))} == {"table0", "table1"}
    assert learning(torch.nn.Linear(1, 1)) == []


@pytest.mark.slow
def test_nested_tokenizers_are_fitted_once() -> None:
    """In a compression, in a table encoder, in the context of map fusions, or both; each once."""
    spec, choice = make_spec(), {"name": "trees", "n_trees": 2}
    for name, places in {
        "cfcml": ["tokenizers.table0.tokenizer"],
        "gated_query": ["tokenizers.table0.cells"],
        "tip": ["tokenizers.table0.tokenizer"],
        "film": ["context.tokenizers.table0"],
        "mmtm": ["tokenizers.table0", "context.tokenizers.table0"],
    }.items():
        net = mmf.create_model(name, spec, dim=8, tabular_tokenizer=choice)
        assert learning(net) == [("table0", net.get_submodule(place)) for place in places]


@pytest.mark.slow
def test_sentence_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the run's cache folder; a tokenizer with its own folder keeps it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for own, place in ((None, tmp_path / "run"), (tmp_path / "own", tmp_path / "own")):
        net = model({"name": "text", "encoder": FakeEncoder("fake"), "cache": own})
        fit_tokenizers(net, dataset(), "label", cache=tmp_path / "run")
        (text,) = {part.cache for part in net.modules() if isinstance(part, TextTokenizer)}
        assert text == place
        assert len(list(place.rglob("*.npz"))) == 1
    assert not (tmp_path / "home").exists()


class Named(FakeEncoder):
    """An encoder that a run's settings can name; gone where there is none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__("fake")
        known = {**encoders._NAMED, "fake": (lambda: self, self.d_text, "fake")}
        monkeypatch.setattr(encoders, "_NAMED", known)

    def leave(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent() -> Any:
            raise ImportError("the encoder is not installed")

        monkeypatch.setattr(encoders, "_NAMED", {**encoders._NAMED, "fake": (absent, self.d_text, "fake")})


def chosen(
    tmp_path: Path, name: str, model_options: dict[str, Any], model_name: str = "tabular", **train: Any
) -> settings.Settings:
    overrides = {
        "run": {"out": str(tmp_path / name), "device": "cpu", "cache": str(tmp_path / "cache")},
        "train": {"epochs": 2, "resamples": 20, **train},
        "data": {"n_train": 48, "n_validation": 24, "n_test": 24, "size": 32},
        "model": {"dim": 8, **model_options},
    }
    picked = settings.resolve(model_name, "synthetic_derm7pt", [overrides])
    picked.train.augment = {}
    return picked


TOKENIZERS: dict[str, dict[str, Any]] = {
    "text": {"name": "text", "encoder": "fake", "missing": "impute"},
    "trees": {"name": "trees", "n_trees": 4, "depth": 2},
    "piecewise_linear": {"name": "piecewise_linear", "n_bins": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_name", "name"),
    [
        *(("tabular", name) for name in TOKENIZERS),
        pytest.param("film", "text", marks=pytest.mark.exhaustive),
        pytest.param("tip", "trees", marks=pytest.mark.exhaustive),
        pytest.param("gated_query", "text", marks=pytest.mark.exhaustive),
    ],
)
def test_run_is_fitted_once_and_folder_predicts_the_same(
    model_name: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder alone is enough, on a machine without text encoder or scikit-learn's trees."""
    encoder = Named(monkeypatch)
    fits: list[int] = []
    for kind in (TextTokenizer, TreeTokenizer, mmf.registry.tabular_tokenizers.get("piecewise_linear")):
        plain = kind.fit
        monkeypatch.setattr(
            kind,
            "fit",
            lambda self, table, labels=None, plain=plain: (fits.append(len(labels)), plain(self, table, labels))[1],
        )
    result = run.start(chosen(tmp_path, "run", {"tabular_tokenizer": TOKENIZERS[name]}, model_name))
    assert fits == [48]
    asked = list(encoder.asked)
    assert len(asked) == len(set(asked))
    assert bool(asked) == (name == "text")
    encoder.leave(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    from mmfusion.data import export
    from mmfusion.registry import datasets

    export(datasets.create("synthetic_derm7pt", n_train=48, n_validation=24, n_test=24, size=32), tmp_path / "new")
    predicted = mmf.load(result.folder).predict(pd.read_csv(tmp_path / "new" / "table.csv"), tmp_path / "new")
    told = pd.read_csv(result.folder / "predictions.csv")
    told = told[told["part"] == "test"]
    columns = [column for column in predicted if column.startswith("prob_")]
    torch.testing.assert_close(
        torch.tensor(predicted[columns].to_numpy()), torch.tensor(told[columns].to_numpy()), rtol=1e-4, atol=1e-5
    )
    assert encoder.asked == asked
    assert fits == [48]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "trees" else pytest.mark.exhaustive) for name in TOKENIZERS]
)
def test_resumed_run_is_not_fitted_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends like one that was not interrupted, and needs no encoder."""
    encoder = Named(monkeypatch)
    whole = run.start(chosen(tmp_path, "whole", {"tabular_tokenizer": TOKENIZERS[name]}))
    from mmfusion.training.loop import Training

    plain = Training._keep

    def stop(self: Training, *args: Any) -> None:
        plain(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_keep", stop)
        with pytest.raises(run.Interrupted):
            run.start(chosen(tmp_path, "parts", {"tabular_tokenizer": TOKENIZERS[name]}))
    encoder.leave(monkeypatch)
    monkeypatch.setattr("mmfusion.training.loop.fit_tokenizers", lambda *args, **kw: pytest.fail("fitted again"))
    resumed = run.resume(tmp_path / "parts")
    one, two = (checkpoints.load(result.folder / checkpoints.BEST)[0] for result in (whole, resumed))
    assert set(one) == set(two)
    assert all(torch.equal(one[key].nan_to_num(9.0), two[key].nan_to_num(9.0)) for key in one)


@pytest.mark.slow
def test_cached_sentences_do_not_change_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether sentences are encoded or read from the cache, the run is the same."""
    encoder = Named(monkeypatch)
    first, second = (
        run.start(chosen(tmp_path, name, {"tabular_tokenizer": TOKENIZERS["text"]})) for name in ("first", "second")
    )
    assert len(encoder.asked) == len(set(encoder.asked))
    one, two = ((result.folder / "predictions.csv").read_text() for result in (first, second))
    assert one == two


def test_chosen_on_command_line() -> None:
    """A name, or options next to the recipe's."""
    for words, expected in (
        (["model.tabular_tokenizer=text"], "text"),
        (
            ["model.tabular_tokenizer.name=periodic", "model.tabular_tokenizer.missing=mask"],
            {"name": "periodic", "missing": "mask"},
        ),
    ):
        picked = settings.resolve("cfcml", "synthetic_derm7pt", map(settings.parse_override, words))
        assert picked.model["tabular_tokenizer"] == expected


@pytest.mark.slow
def test_fit_without_class_target() -> None:
    """No labels are passed then."""
    spec = DataSpec({"image": Image(1, (8, 8)), "meta": Columns(("age",))}, targets={"size": mmf.Regression()})
    net = mmf.create_model("concat", spec, dim=4, tabular_tokenizer="piecewise_linear")
    data = FrameDataset(
        spec,
        pd.DataFrame(index=range(5)),
        images={"image": torch.rand(5, 1, 8, 8)},
        tables={"meta": Table(torch.arange(5.0).unsqueeze(1), torch.zeros(5, 0, dtype=torch.int64))},
        targets={"size": torch.rand(5, 1)},
    )
    fit_tokenizers(net, data, "size")
    edges = net.tokenizers["meta"].edges.view(torch.float32)[0]
    assert (edges[0].item(), edges[-1].item()) == (0.0, 4.0)
