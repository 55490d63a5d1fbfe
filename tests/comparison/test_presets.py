import copy
import math
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import mmfusion as mmf
from helpers import trees
from mmfusion import registry
from mmfusion.cli import main
from mmfusion.comparison import grid, presets
from mmfusion.experiments import folder, recipes
from mmfusion.experiments.assembly import CHOSEN_ON_TEST, build_model
from mmfusion.experiments.settings import Settings
from mmfusion.metrics.classification import EXTRA, NAMES, split_metric
from mmfusion.models import FusionModel
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.training.result_files import read_json

PAPER = [("derm7pt", False), ("derm7pt", True), ("men", False), ("men", True)]
OTHERS = [
    ("quick", "synthetic_derm7pt"),
    ("quick", "men"),
    *((n, d) for n in ("frozen", "finetuned") for d in ("ham10000", "bus_bra")),
]
ALL = [*(("paper", *one) for one in PAPER), *((*one, False) for one in OTHERS)]
SECTIONS = ("data", "train", "model")


def settings_of(dataset: str, parity: bool, model: str = "cfcml") -> Settings:
    preset = presets.load("paper", dataset, parity)
    return preset.plan(methods=grid.methods(model), seeds=[0])[0].settings


def test_available_presets() -> None:
    assert presets.available() == {
        "finetuned": ("bus_bra", "ham10000"),
        "frozen": ("bus_bra", "ham10000"),
        "paper": ("derm7pt", "men"),
        "quick": (),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dataset", "parity"), ALL)
def test_presets_are_valid(name: str, dataset: str, parity: bool) -> None:
    preset = presets.load(name, dataset, parity)
    listed = grid.methods(",".join(preset.models))
    assert [method.label for method in listed] == list(preset.models)
    assert preset.reference in preset.models
    assert set(preset.of_model) <= set(preset.models)
    assert len(set(preset.models)) == len(preset.models)
    classes = {f"accuracy_{grade}" for grade in ("Grade_1", "Grade_2_invasion", "Grade_2_noninvasion")}
    extra = EXTRA if (dataset, parity) == ("derm7pt", True) else ()
    assert set(extra) <= set(preset.metrics) <= {*NAMES, *classes, *extra}
    planned = preset.plan()
    methods = len(preset.models) + len(preset.ablate or ())
    assert len(planned) == methods * len(preset.seeds) * (preset.folds or 1)
    assert {item.settings.run.preset for item in planned} == {preset.title}
    content = tomllib.loads((files(presets) / f"{name}{f'-{dataset}' if name != 'quick' else ''}.toml").read_text())
    tables = {"about", "comparison", "cost", "faults", "models", "data", "train", "model", "datasets", "parity"}
    assert set(content) <= tables
    assert set(content["comparison"]) <= {"models", "ablate", "seeds", "folds", "metrics", "reference"}
    assert parity or preset.shared.get("train", {}).get("select_on") != "test"
    for rows in preset.of_model.values():
        assert all(not recipes.SHARED[section] & set(values) for section, values in rows.items())
    # Equal footing, over all models: the data, and all of the training that a comparison shares.
    assert len({str(item.settings.data | {"fold": 0}) for item in planned}) == 1
    assert len({str(item.settings.train) for item in planned}) == 1


@pytest.mark.parametrize("name", ["frozen", "finetuned"])
def test_cfcml_is_compared_as_published_and_with_defaults(name: str) -> None:
    own, published = [
        item.settings.model
        for item in presets.load(name, "bus_bra").plan(seeds=[0])
        if item.settings.run.model == "cfcml"
    ]
    papers = settings_of("derm7pt", False).model
    for key in ("compression", "hidden", "dropout", "reduction"):
        assert published[key] == papers[key] != {**registry.models.defaults("cfcml"), **own}[key]
    for key in ("image_latents", "table_latents", "sample_weight", "unimodal_weight", "crossmodal_weight"):
        assert {**registry.models.defaults("cfcml"), **published}[key] == papers[key]


@pytest.mark.parametrize("dataset", ["derm7pt", "men"])
def test_sizes_and_schedule_match_paper(dataset: str) -> None:
    train, model = settings_of(dataset, False).train, settings_of(dataset, False).model
    assert (train.epochs, train.batch_size, train.step_epochs, train.gamma, train.warmup_epochs) == (50, 36, 5, 0.8, 5)
    assert (train.optimizer, train.weight_decay, train.sampler) == ("adam", 1e-4, "balanced")
    weights = [model[f"{name}_weight"] for name in ("sample", "unimodal", "crossmodal")]
    latents = (model["image_latents"], model["table_latents"])
    if dataset == "derm7pt":
        assert (weights, latents, train.lr, train.encoder_lr_scale) == ([0.04, 0.06, 0.18], (32, 24), 1e-4, 0.1)
    else:
        assert (weights, latents, train.lr, train.encoder_lr_scale) == ([0.06, 0.04, 0.24], (48, 16), 5e-4, 1.0)
        assert settings_of("men", False, "concat").model["shared_encoder"] is False


def test_models_without_encoder_can_be_chosen_alone() -> None:
    """The preset's encoder applies to models that have one; options that the user gives must exist."""
    preset = presets.load("frozen", "ham10000")
    [first, *_] = preset.plan(methods=grid.methods("tabular"))
    assert "encoder" not in first.settings.model
    assert first.settings.train.freeze == "all"
    with pytest.raises(ValueError, match="model 'tabular' has no option 'encoder'"):
        preset.plan([{"model": {"encoder": "convnet"}}], methods=grid.methods("tabular"))


@pytest.mark.parametrize("dataset", ["derm7pt", "men"])
def test_paper_preset_has_published_norms(dataset: str) -> None:
    assert settings_of(dataset, False, "tabular").model["input_norm"] is False
    assert settings_of(dataset, False, "mbt").model["out_norm"] is True
    assert settings_of(dataset, False, "mult").model["out_norm"] is True


PARITY: dict[str, dict[str, tuple[Any, Any]]] = {
    "derm7pt": {
        "data.columns": ("clean", "parity"),
        "data.colours": (None, "bgr"),
        "train.normalise": (True, False),
        "train.warmup_by": ("step", "epoch"),
        "train.threshold": (None, 0.5),
        "train.metric": (
            "auc",
            "sensitivity+specificity+accuracy+g_mean+balanced_accuracy+average_precision_called+auc",
        ),
        "model.eps": (None, 1e-8),
    },
    "men": {
        "data.validation": (0.125, 0.0),
        "train.select_on": ("validation", "test"),
        "train.normalise": (True, False),
        "train.warmup_by": ("step", "epoch"),
        "train.metric": ("auc", "accuracy+accuracy_0+accuracy_1+accuracy_2+f1_weighted+f1_macro+auc"),
        "model.eps": (None, 1e-8),
    },
}


def flat(settings: Settings) -> dict[str, Any]:
    packed = settings.to_dict()
    return {f"{section}.{key}": value for section in SECTIONS for key, value in packed[section].items()}


@pytest.mark.parametrize("dataset", ["derm7pt", "men"])
def test_parity_differs_only_as_documented(dataset: str) -> None:
    paper, parity = flat(settings_of(dataset, False)), flat(settings_of(dataset, True))
    keys = [key for key in {**paper, **parity} if paper.get(key) != parity.get(key)]
    assert {key: (paper.get(key), parity.get(key)) for key in keys} == PARITY[dataset]
    # No method but CFCML has an eps; all else is everybody's.
    others = [flat(settings_of(dataset, item, "concat")) for item in (False, True)]
    changed = {key for key in {**others[0], **others[1]} if others[0].get(key) != others[1].get(key)}
    assert changed == set(PARITY[dataset]) - {"model.eps"}
    # The list of faults names each setting.
    texts = " ".join(fault.here for fault in presets.load("paper", dataset, True).faults)
    if dataset == "men":
        texts = texts.replace("a mean of the seven", "")
        assert "by the mean of the seven" in texts
        texts += " train.metric"
    assert set(re.findall(r"\b(?:data|train|model)\.\w+", texts)) - {"model.compression", "model.merge"} == set(
        PARITY[dataset]
    )


@pytest.mark.parametrize("dataset", ["derm7pt", "men"])
def test_faults_are_documented_for_both_presets(dataset: str) -> None:
    paper, parity = (presets.load("paper", dataset, item).faults for item in (False, True))
    assert [(item.fault, item.where) for item in paper] == [(item.fault, item.where) for item in parity]
    for fault in (*paper, *parity):
        assert fault.where
        assert fault.fault.endswith(".")
        assert fault.here.endswith(".")
    for fault in parity:
        words = ("reproduced", "the same", "code's seed", "mean of the seven")
        assert any(word in fault.here for word in words), fault
    # Beside each result of each model.
    notes = settings_of(dataset, True, "image").run.notes
    assert notes == [presets.PARITY, *[f"Published: {fault.fault} Here: {fault.here}" for fault in parity]]
    assert presets.PARITY not in settings_of(dataset, False).run.notes


@pytest.mark.parametrize("dataset", ["derm7pt", "men"])
def test_guide_matches_documented_faults(dataset: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "presets.md").read_text(encoding="utf-8")
    page = page.replace("`__getitem__`", "__getitem__")  # as code, or Markdown makes it bold
    paper, parity = (presets.load("paper", dataset, item).faults for item in (False, True))
    for item, other in zip(paper, parity):
        assert f"| {item.fault} | {item.where} | {item.here} | {other.here} |\n" in page


def test_selection_metrics_exist_for_classes() -> None:
    for dataset, n_classes in (("derm7pt", 2), ("men", 3)):
        names = split_metric(settings_of(dataset, True).train.metric)
        assert set(names) <= {*NAMES, *EXTRA, *(f"accuracy_{index}" for index in range(n_classes))}
        assert len(set(names)) == 7


def test_seeds_and_folds() -> None:
    assert presets.load("paper", "derm7pt").seeds == (0, 1, 2, 3, 4)
    assert presets.load("paper", "derm7pt", True).seeds == (666, 667, 668)
    men = presets.load("paper", "men", True)
    runs = men.plan(methods=grid.methods("image"))
    assert [(item.settings.run.seed, item.settings.data["fold"]) for item in runs] == [(666, 1), (666, 2), (666, 3)]
    item = men.plan([{"data": {"fold": 2}}], methods=grid.methods("image"), seeds=[4, 5])
    assert [(run.settings.run.seed, run.settings.data["fold"]) for run in item] == [(4, 2), (5, 2)]
    two = men.plan(methods=grid.methods("image"), folds=2)
    assert [run.settings.data["fold"] for run in two] == [1, 2]


def test_user_options_override_preset() -> None:
    """Both shared options and options of one model."""
    preset = presets.load("paper", "derm7pt", True)
    layers = [
        {"train": {"epochs": 3, "warmup_by": "step"}, "model": {"tabular_tokenizer": "feature"}},
        {"train": {"epochs": 2}, "run": {"device": "cpu"}},
    ]
    first = preset.plan(layers, methods=grid.methods("cfcml,cfcml[eps=0.5],image"), seeds=[0])
    assert [run.label for run in first] == ["cfcml", "cfcml[eps=0.5]", "image"]
    assert all((run.settings.train.epochs, run.settings.train.warmup_by) == (2, "step") for run in first)
    assert [run.settings.model.get("tabular_tokenizer") for run in first] == ["feature", "feature", None]
    assert [run.settings.model.get("eps") for run in first] == [1e-8, 0.5, None]
    texts = (
        "Settings that differ from the preset: train.epochs=2, train.warmup_by=step, model.tabular_tokenizer=feature."
    )
    assert all(run.settings.run.notes[-1] == texts for run in first)
    assert not any("differ from the preset" in note for note in preset.plan(seeds=[0])[0].settings.run.notes)


def test_descriptions_do_not_change_address() -> None:
    settings = settings_of("derm7pt", False)
    bare = copy.deepcopy(settings)
    bare.run.notes, bare.run.preset = [], None
    assert grid.address(bare) == grid.address(settings)
    assert grid.address(settings_of("derm7pt", True)) != grid.address(settings)


def test_estimated_cpu_time() -> None:
    preset = presets.load("paper", "derm7pt")
    planned = preset.plan([{"train": {"epochs": 100}}], methods=grid.methods("cfcml"), seeds=[0, 1])
    days = preset.cost["seconds_a_case"] * 504 * 200 / 86400
    assert f"200 epochs would take about {days:.1f} days" in preset.on_cpu(planned)
    assert presets.load("quick", "men").on_cpu(planned) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("papper", "men"), "paper for derm7pt, men; quick for any dataset"),
        (("paper", "ham10000"), "'paper' is for the datasets derm7pt, men, got dataset='ham10000'"),
        (("quick", "ham1000"), "unknown dataset 'ham1000'; did you mean 'ham10000'"),
        (("quick", "men", True), "'quick' follows no published procedure: leave out parity=True"),
    ],
)
def test_invalid_presets_raise(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        presets.load(*arguments)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--parity --model cfcml", "--parity needs a preset, as in --preset paper"),
        ("--preset paper", "'paper' is for the datasets derm7pt, men, got --dataset synthetic_derm7pt"),
        ("--preset papper --dataset men", "unknown preset 'papper'"),
        ("--preset paper --dataset men --model cfmcl", "unknown model 'cfmcl'; did you mean 'cfcml'"),
        ("--preset paper --dataset men --seed 3 --seeds 2", "--seed is for one run"),
        ("--preset paper --dataset men --set train.epoch=3", "unknown key of [train] 'epoch'"),
    ],
)
def test_invalid_commands_are_one_line_errors(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words.split()]) == 2
    assert message in capsys.readouterr().err


SMALL = (
    "--seeds 1 --epochs 2 --batch-size 6 --encoder convnet --weights none --device cpu --set train.resamples=20 "
    "--set run.cache_gb=0 --set run.robustness=false --set model.dim=16 --set train.warmup_epochs=1"
)


def results(out: Path, dataset: str, model: str) -> dict[str, dict[str, Any]]:
    """The metrics of the runs of one model, by the name of their folder."""
    return {place.name: read_json(place / folder.METRICS) for place in (out / dataset / model).glob("seed*")}


@pytest.mark.slow
def test_both_presets_run_on_derm7pt(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command, at sizes that two cores can pay."""
    root = trees.derm7pt(tmp_path / "derm7pt", others=1)
    words = f"run --preset paper --dataset derm7pt --root {root} --model cfcml --size 16 {SMALL}"
    arguments = [*words.split(), "--set", "model.tabular_tokenizer=feature", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    with pytest.warns(UserWarning, match="management"):
        # In this process, for the warning to be seen.
        registry.datasets.create("derm7pt", root=root, size=8, columns="parity", colours="bgr")
    assert main([*arguments, "--parity"]) == 0
    text = capfd.readouterr().out
    assert "paper on derm7pt: CFCML's comparison on Derm7pt" in text
    assert "paper --parity on derm7pt" in text
    assert "meant for a GPU" not in text  # not at these sizes
    result = results(tmp_path / "out", "derm7pt", "cfcml")
    first, other = (next(m for m in result.values() if m["preset"] == name) for name in ("paper", "paper --parity"))
    assert len(result) == 2
    assert first["threshold_chosen"] is True
    assert (other["threshold"], other["threshold_chosen"]) == (0.5, False)
    assert "average_precision_called" not in first["test"]
    assert other["test"]["average_precision_called"]["value"] > 0
    assert first["chosen"]["metric"] == "auc"
    assert len(split_metric(other["chosen"]["metric"])) == 7
    assert any("management as a feature, which was decided after" in note for note in other["notes"])
    assert not any("management as a feature, which was decided after" in note for note in first["notes"])
    assert any(note.startswith("Published: images are BGR.") for note in first["notes"])
    assert CHOSEN_ON_TEST not in other["notes"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_both_presets_run_on_men(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With parity the whole training folder trains, and the epoch is chosen on the test set, as a note says."""
    root = trees.men(tmp_path / "men", train=4, test=2)
    words = f"run --preset paper --dataset men --root {root} --model cfcml --size 16 12 4 {SMALL} --set data.fold=1"
    arguments = [*words.split(), "--set", "model.tabular_tokenizer=feature", "--set", "data.shape=[16, 12, 4]"]
    arguments += ["--set", "data.validation=0.25", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    arguments[arguments.index("data.validation=0.25")] = "train.epochs=2"
    assert main([*arguments, "--parity"]) == 0
    assert re.search(r"Epoch [12] of 2 chosen by test accuracy\+", capfd.readouterr().out)
    result = results(tmp_path / "out", "men", "cfcml")
    places = {metrics["preset"]: tmp_path / "out" / "men" / "cfcml" / name for name, metrics in result.items()}
    parts = {name: pd.read_csv(place / folder.SPLITS)["part"].value_counts() for name, place in places.items()}
    assert parts["paper"].to_dict() == {"train": 9, "validation": 3, "test": 6}
    assert parts["paper --parity"].to_dict() == {"train": 12, "validation": 6, "test": 6}
    notes = {name: read_json(place / folder.METRICS)["notes"] for name, place in places.items()}
    assert CHOSEN_ON_TEST in notes["paper --parity"]
    assert CHOSEN_ON_TEST not in notes["paper"]
    predicted = pd.read_csv(places["paper --parity"] / folder.PREDICTIONS)
    probabilities = [column for column in predicted if column.startswith("prob_")]
    on_test, chosen = (predicted[predicted["part"] == part].set_index("id") for part in ("test", "validation"))
    pd.testing.assert_frame_equal(on_test[probabilities], chosen[probabilities])
    history = read_json(places["paper --parity"] / folder.HISTORY)
    assert [entry["lr"] for entry in history] == [0.0, 5e-4]
    assert math.isclose(read_json(places["paper"] / folder.HISTORY)[0]["lr"], 5e-4)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_quick_preset_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = trees.men(tmp_path / "men", train=8, test=2)
    words = "run --preset quick --epochs 1 --batch-size 8 --seeds 1 --set train.resamples=20 --set run.cache_gb=0 "
    words += f"--set run.robustness=false --dataset men --root {root} --set data.size=[8,8,4] --device cpu "
    words += "--set data.shape=[16,12,4]"
    assert main([*words.split(), "--model", "concat", "--out", str(tmp_path / "out")]) == 0
    assert "Its numbers are no result." in capfd.readouterr().out
    (metrics,) = results(tmp_path / "out", "men", "concat").values()
    assert metrics["preset"] == "quick"
    assert metrics["notes"][-1].startswith(
        "Settings that differ from the preset: data.size=[8, 8, 4], data.shape=[16, 12, 4], "
    )


def columns_of(dataset: str) -> Columns:
    if dataset == "derm7pt":
        kinds = (("level", 3), ("elevation", 3), ("location", 9), ("sex", 2), ("management", 3))
        return Columns(categorical=kinds)
    return Columns(numerical=("age", "adc", "tumour", "oedema"), categorical=(("location", 3), ("sex", 2)))


def spec_of(dataset: str) -> DataSpec:
    """The published shapes and columns."""
    if dataset == "derm7pt":
        images = dict.fromkeys(("derm", "clinic"), Image(3, (224, 224)))
    else:
        images = dict.fromkeys(("t1", "t2", "adc"), Image(1, (128, 128, 24)))
    return DataSpec({**images, "meta": columns_of(dataset)}, n_classes=2 if dataset == "derm7pt" else 3)


def n_parameters(model: FusionModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "published", "fewer", "more"),
    [
        # The encoder's classifier, two projections of its last stage and its final normalisation; a learned vector for
        # a missing cell of each of five columns.
        ("derm7pt", 30_627_884, 768 * 1000 + 1000 + 2 * (768 * 128 + 128) + 2 * 768, 5 * 128),
        # Three projections of 128 to 128 that are never used; a vector for each of six columns.
        ("men", 35_984_771, 3 * (128 * 128 + 128), 6 * 128),
    ],
)
def test_parameter_count_matches_published(dataset: str, published: int, fewer: int, more: int) -> None:
    """Without the text encoder. Published parameters that are not built here never get a gradient, but for the norm."""
    with torch.device("meta"):
        model = build_model(settings_of(dataset, True), spec_of(dataset), weights=False)
    assert n_parameters(model) == published - fewer + more
    assert dataset != "derm7pt" or fewer - 2 * 768 == 965_864


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["derm7pt", "men"])
def test_training_step_at_published_sizes(dataset: str) -> None:
    """Two cases, forward and backward, the whole model but the encoder's weights and the text's vectors."""
    model = build_model(settings_of(dataset, False), spec_of(dataset), weights=False)
    state = model.state_dict()
    filled = {name: torch.randn_like(value) for name, value in state.items() if name.endswith("sentences")}
    assert filled
    model.load_state_dict(state | filled)
    spec = spec_of(dataset)
    inputs: dict[str, Any] = {name: torch.rand(2, *image.shape) for name, image in spec.images.items()}
    columns = spec["meta"]
    inputs["meta"] = mmf.Table(torch.randn(2, len(columns.numerical)), torch.ones(2, len(columns.categorical)).long())
    output = model(inputs)
    losses = mmf.create_loss(model)(
        mmf.LossInputs(output.outputs, output.embeddings, {"label": torch.tensor([0, 1])}, {}, {})
    )
    sum(losses.values()).backward()
    assert set(losses) == {"label", "sample", "unimodal", "crossmodal"}
    assert all(bool(value.isfinite()) for value in losses.values())
    absent = "tokenizers.meta.tokenizer.absent"
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for n, p in model.named_parameters() if n != absent)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["derm7pt", pytest.param("men", marks=pytest.mark.exhaustive)])
def test_models_of_presets_are_built(dataset: str) -> None:
    """At the paper's sizes, on the meta device, with a small encoder; the paper's is in the tests of CFCML."""
    preset = presets.load("paper", dataset)
    for planned in preset.plan(seeds=[0], folds=2 if dataset == "men" else None)[: len(preset.models)]:
        if "encoder" in planned.settings.model:
            planned.settings.model.update(encoder="convnet", weights="none")
        with torch.device("meta"):
            model = build_model(planned.settings, spec_of(dataset), weights=False)
        assert n_parameters(model) > 0
