"""From Python: data, a trained run, its predictions and embeddings."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import mmfusion as mmf
from helpers import trees
from mmfusion.api.fit import nested
from mmfusion.api.predicting import RunEnsemble
from mmfusion.experiments import argument_names, folder
from mmfusion.models import OwnModule
from mmfusion.tokens import FusionOutput
from mmfusion.training import checkpoints

QUICK = {"train.resamples": 0, "run": {"cache_gb": 0, "references": False, "robustness": False}, "run.device": "cpu"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.own_table(tmp_path_factory.mktemp("own"), n=20)


@pytest.fixture(scope="module")
def data(root: Path) -> mmf.Data:
    return mmf.read_table(
        root / "table.csv", target="diagnosis", images="photo", group="patient", test="part", size=16, verbose=False
    )


@pytest.fixture(scope="module")
def run(data: mmf.Data, tmp_path_factory: pytest.TempPathFactory) -> mmf.Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return mmf.fit("concat", data, epochs=2, encoder="tiny_convnet", out=out, settings=QUICK, verbose=False)


def frame_of(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "table.csv")


class Own(nn.Module):
    """Logits of a photograph."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.last = nn.Linear(3 * 16 * 16, k)

    def forward(self, inputs: dict[str, Any]) -> Tensor:
        return self.last(inputs["photo"].flatten(1))


def test_read_table_shows_inferred_columns(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = mmf.read_table(root / "table.csv", target="diagnosis", images=["photo"], group="patient")
    shown = capsys.readouterr().out
    assert "smoker       boolean      its values are no, yes" in shown
    assert "photo       images of column 'photo', 3 x 64x64" in shown, "the size is the recipe's"
    assert str(data) in shown
    assert "<pre>" in data._repr_html_()
    assert data.options == {
        "table": str(root / "table.csv"),
        "label": "diagnosis",
        "group": "patient",
        "images": ["photo"],
    }


def test_frame_equals_its_file(root: Path, data: mmf.Data, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = {"target": "diagnosis", "images": "photo", "group": "patient", "test": "part", "size": 16}
    of_frame = mmf.read_table(frame_of(root), root=root, **options, verbose=False)
    assert str(of_frame) == str(data)
    (kept,) = (tmp_path / "mmfusion" / "tables").iterdir()
    assert kept.stat().st_mode & 0o077 == 0, "patients' data are the user's alone"
    assert of_frame.options["table"] == str(kept)


def test_synthetic_dataset() -> None:
    sizes = {"n_train": 40, "n_validation": 20, "n_test": 20, "size": 32}
    data = mmf.load_dataset("synthetic-derm7pt", **sizes)
    assert (data.name, data.options, data.plan) == ("synthetic_derm7pt", sizes, None)
    assert str(data) == "synthetic_derm7pt: made when it is loaded"
    assert len(data.load(verbose=False).train) == 40


@pytest.mark.slow
def test_run_has_metrics_and_history(run: mmf.Run, root: Path) -> None:
    assert run.metrics["dataset"] == "table"
    assert list(run.history.index) == [1, 2]
    assert {"losses.label", "validation.auc", "lr"} <= set(run.history.columns)
    assert set(run.predictions["part"]) == {"validation", "test"}
    assert run.settings.train.epochs == 2
    assert run.blueprint is not None
    assert run.spec.names == ("photo", "meta")
    auc = run.metrics["test"]["auc"]["value"]
    assert repr(run) == f"Run('{run.folder}': concat on table, seed 0, test AUC {auc:.3f})"
    page = run._repr_html_()
    assert "<th>balanced_accuracy</th>" in page
    assert 'src="data:image/png;base64,' in page


@pytest.mark.slow
def test_predict_accepts_frame_and_file(run: mmf.Run, root: Path) -> None:
    found = run.predict(root / "table.csv")
    wanted = run.predictions.set_index("id")["prob_benign"].astype(float)
    np.testing.assert_allclose(found.set_index("id").loc[wanted.index, "prob_benign"], wanted, rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(run.predict(frame_of(root), root)["prob_benign"].to_frame(), found[["prob_benign"]])
    again = mmf.load(run.folder).predict(root / "table.csv")
    pd.testing.assert_frame_equal(again, found)
    with pytest.raises(FileNotFoundError, match="no table nowhere"):
        run.predict("nowhere.csv")


@pytest.mark.slow
def test_embeddings_of_a_frame(run: mmf.Run, root: Path) -> None:
    frame = frame_of(root)[:3].set_index(pd.Index([7, 8, 9])).astype({"photo": object})
    frame.loc[8, "photo"] = None
    found = run.embed(frame, root, "absent")
    assert list(found.index) == [7, 8, 9]
    assert found["photo"].shape == found["meta"].shape == (3, 128)
    assert found["photo"].isna().all(axis=1).tolist() == [False, True, False]
    assert found["meta"].notna().all(axis=None)
    dataset = run.predictor.read(frame[:1], root)
    with torch.inference_mode():
        output = run.model(dataset.__getitems__([0]).inputs)
    np.testing.assert_allclose(found["photo"].iloc[0], output.embeddings["photo"][0], atol=1e-5)


@pytest.mark.slow
def test_evaluate_on_other_table(run: mmf.Run, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = frame_of(root).rename(columns={"diagnosis": "Dx"})
    evaluation = run.evaluate(other, target="Dx", image_root=root)
    assert evaluation.scores is not None
    assert evaluation.scores.n_cases == 20
    shown = capsys.readouterr().out
    assert "auc" in shown
    assert "The results are in" not in shown, "a frame's are nowhere"
    assert not (run.folder / "external").exists()
    run.evaluate(root / "table.csv", out=tmp_path / "other", verbose=False)
    assert (tmp_path / "other").is_dir()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_invalid_arguments_of_run_raise(run: mmf.Run, root: Path) -> None:
    table = frame_of(root)
    for one in (run, mmf.load([run.folder])):
        for method in (one.predict, one.evaluate):
            with pytest.raises(ValueError, match="missing_images expects one of error, absent, got 'absnt'"):
                method(table, image_root=root, missing_images="absnt")
            with pytest.raises(ValueError, match="table expects a frame or the name of a file, got dict"):
                method({"age": 1})
        for coverage in (0, 1, 90):
            with pytest.raises(ValueError, match="coverage expects float above 0 to below 1, got"):
                one.predict(table, root, coverage=coverage)
        with pytest.raises(ValueError, match="subgroups expects a list of str or none, got 'stage'"):
            one.evaluate(table, image_root=root, subgroups="stage")


@pytest.mark.slow
def test_evaluate_uses_loaded_weights(run: mmf.Run, root: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run.folder, tmp_path / "other")
    weights, about = checkpoints.load(other / checkpoints.BEST)
    zeros = {name: x * (not name.startswith("head.")) for name, x in weights.items()}
    checkpoints.save(other / "zeros.safetensors", zeros, about)
    loaded = mmf.load(other / "zeros.safetensors")
    evaluation = loaded.evaluate(root / "table.csv", verbose=False)
    np.testing.assert_allclose(evaluation.cases["prob_benign"], 1 / 3, atol=1e-6)
    assert (other / "external" / "table" / "evaluation.json").is_file()
    assert (other / "external" / "table" / "evaluation.html").is_file()
    assert evaluation.unreached == ""
    assert evaluation.internal is None, "the test set's predictions there are of other weights"
    alone = RunEnsemble([other / "zeros.safetensors"]).evaluate(frame_of(root), image_root=root, verbose=False)
    pd.testing.assert_frame_equal(alone.cases, evaluation.cases)


@pytest.mark.slow
def test_several_runs_form_an_ensemble(run: mmf.Run, root: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run.folder, tmp_path / "other")
    mean = mmf.load([run.folder, other])
    assert mean.folders == (run.folder, other)
    assert repr(mean) == f"RunEnsemble('{run.folder}', '{other}')"
    assert mean.about.startswith("Threshold and temperature are those of the mean")
    found, alone = mean.predict(root / "table.csv"), run.predict(root / "table.csv")
    np.testing.assert_allclose(found["prob_benign"], alone["prob_benign"], atol=1e-6)
    assert mean.evaluate(root / "table.csv", out=tmp_path / "page", verbose=False).runs == (str(run.folder), str(other))


@pytest.mark.slow
def test_shared_run_has_no_metrics(run: mmf.Run, root: Path, tmp_path: Path) -> None:
    run.share(tmp_path / "shared")
    shared = mmf.load(tmp_path / "shared")
    assert repr(shared) == f"Run('{tmp_path / 'shared'}')"
    assert repr(shared)[4:-1] in shared._repr_html_().replace("&#x27;", "'")
    assert len(shared.predict(root / "table.csv")) == 20
    for result in ("metrics", "history", "predictions"):
        with pytest.raises(FileNotFoundError, match="has no results"):
            getattr(shared, result)


@pytest.mark.slow
def test_fit_custom_module(data: mmf.Data, root: Path, tmp_path: Path) -> None:
    module = Own()
    before = {name: x.clone() for name, x in module.state_dict().items()}
    run = mmf.fit(module, data, epochs=1, out=tmp_path / "run", settings=QUICK, verbose=False)
    assert run.settings.run.model == "Own.module"
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items()), "a copy is trained"
    found = run.predict(root / "table.csv")
    with pytest.raises(ValueError, match=r"give it, as in mmfusion\.load\(folder, model=Module"):
        mmf.load(tmp_path / "run")
    pd.testing.assert_frame_equal(mmf.load(tmp_path / "run", model=Own()).predict(root / "table.csv"), found)
    evaluation = run.evaluate(frame_of(root), image_root=root, verbose=False)
    np.testing.assert_array_equal(evaluation.cases["prob_benign"], found["prob_benign"])
    with pytest.raises(ValueError, match="gives no embeddings"):
        run.embed(root / "table.csv")
    (tmp_path / "run" / folder.METRICS).unlink()
    with pytest.raises(ValueError, match="a module of one's own"):
        mmf.fit(resume=tmp_path / "run", verbose=False)
    assert mmf.fit(Own(), resume=tmp_path / "run", verbose=False).metrics == run.metrics


@pytest.mark.slow
def test_blueprint_model_loads_from_run_folder(data: mmf.Data, root: Path, tmp_path: Path) -> None:
    spec = data.load(verbose=False).spec
    model = mmf.create_model("gmu", spec, encoder="tiny_convnet", dim=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    quick = {**QUICK, "train.lr": 1e-30}
    run = mmf.fit(model, data, epochs=1, out=tmp_path / "run", settings=quick, verbose=False)
    assert run.settings.run.model == "blueprint.toml"
    found = mmf.load(tmp_path / "run").predict(root / "table.csv")
    np.testing.assert_allclose(found["prob_benign"], 1 / 3, atol=1e-6)  # the weights that were given


def test_outputs_of_custom_module() -> None:
    spec = mmf.DataSpec({"photo": mmf.Image(3, (16, 16))}, n_classes=3)
    images = {"photo": torch.rand(2, 3, 16, 16)}
    assert OwnModule(Own(), spec)(images, {}).logits.shape == (2, 3)
    (phase,) = OwnModule(Own(), spec).phases()
    assert len(phase.parameters[0].parameters) == 2
    with pytest.raises(ValueError, match=r"Own.forward must return logits of shape \(b, 3\) .* got shape \(2, 4\)"):
        OwnModule(Own(4), spec)(images)

    class Full(Own):
        names = ("photo",)

        def forward(self, inputs: dict[str, Any], present: Any) -> Any:
            return FusionOutput({"label": super().forward(inputs)}, {"photo": present["photo"][:, None]}, {})

        def phases(self) -> list[str]:
            return ["mine"]

    full = OwnModule(Full(), mmf.DataSpec({**spec.modalities, "other": mmf.Image(3, (8, 8))}, n_classes=3))
    assert full(images, {"photo": torch.ones(2)}).embeddings["photo"].shape == (2, 1)
    assert full.names == ("photo",)
    assert list(full.phases()) == ["mine"]


def test_errors_name_python_arguments(data: mmf.Data, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^epochs expects int from 1 to 100000, got 0$"):
        mmf.fit("concat", data, epochs=0)
    with pytest.raises(ValueError, match=r"^target expects str .* got ''$"):
        mmf.read_table(root / "table.csv", target="")
    with pytest.raises(ValueError, match="no column 'diagnosi'"):
        mmf.read_table(root / "table.csv", target="diagnosi")
    with pytest.raises(ValueError, match="did you mean 'images'"):
        mmf.read_table(root / "table.csv", target="diagnosis", imges="photo")
    with pytest.raises(ValueError, match=r"train\.lr expects"):
        mmf.fit("concat", data, settings={"train.lr": -1})
    with pytest.raises(ValueError, match="fit expects a model and data"):
        mmf.fit("concat")
    with pytest.raises(ValueError, match="root is given with the data"):
        mmf.fit("concat", data, root=tmp_path)
    with pytest.raises(
        ValueError, match=r"^resume='x' goes on with the settings there; leave out epochs, model, data$"
    ):
        mmf.fit("concat", data, epochs=1, resume="x")
    with pytest.raises(ValueError, match="settings expects names"):
        nested({1: 2})
    for settings in ({"train": None}, {"train": 3, "train.lr": 1e-3}):
        with pytest.raises(ValueError, match=r"^train is a section: set one of its keys"):
            mmf.fit("concat", data, settings=settings)
    of_wrong_types: tuple[tuple[dict[str, Any], str], ...] = (
        ({"settings": ["train"]}, r"settings expects a table of options or none, got \['train'\]"),
        ({"plugins": "plugin.py"}, "plugins expects a list of str or none, got 'plugin.py'"),
        ({"callbacks": print}, "callbacks expects a list"),
        ({"verbose": None}, "verbose expects bool or Reporter, got None"),
        ({"data": frame_of(root)}, r"data expects what mmfusion\.read_table or .* got a DataFrame"),
    )
    for given, message in of_wrong_types:
        with pytest.raises(ValueError, match=message):
            mmf.fit("concat", **{"data": data, "out": tmp_path / "run", **given})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_occupied_folder_raises(run: mmf.Run, data: mmf.Data) -> None:
    options = {"out": run.folder, "settings": QUICK, "verbose": False}
    with pytest.raises(FileExistsError, match=r"continue it with resume='.*overwrite=True, or .* \(out=\.\.\.\)"):
        mmf.fit("concat", data, **options)
    before = shutil.copytree(run.folder, run.folder.with_name("copy"))
    assert mmf.fit(resume=before, verbose=False).metrics == run.metrics, "a finished run is only read"
    (before / folder.METRICS).write_text("[]")
    with pytest.raises(ValueError, match=r"metrics\.json expects an object, got \[\]"):
        mmf.fit(resume=before, verbose=False)


def test_flags_are_translated_to_arguments() -> None:
    translate = argument_names.translate
    assert translate("choose another folder (run.out)") == "choose another folder (out=...)"
    assert translate("data.label expects a name, train.lr expects a number") == (
        "target expects a name, train.lr expects a number"
    )
    assert translate("leave them out with unlabelled='drop', or label='y'") == (
        "leave them out with unlabelled='drop', or target='y'"
    )
    assert translate("model.encoder.name=x, data.sizes=3, data.size=3") == "model.encoder.name=x, data.sizes=3, size=3"
    assert translate("continue with: mmfusion run --resume runs/a") == "continue with: mmf.fit(resume='runs/a')"
    with argument_names.by_flags(), pytest.raises(ValueError, match=r"run\.out"):
        argument_names.named(_fail)("see run.out")


def _fail(text: str) -> None:
    raise ValueError(text)
