import json
from types import ModuleType
from typing import Any

import pytest

from mmfusion.experiments import recipes
from mmfusion.experiments.settings import Settings, merge, parse_override, resolve


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("train.lr=1e-4", {"train": {"lr": 1e-4}}),
        ("train.epochs=3", {"train": {"epochs": 3}}),
        ("model.encoder=resnet18", {"model": {"encoder": "resnet18"}}),
        ("model.encoder=tf_efficientnet_lite0.in1k", {"model": {"encoder": "tf_efficientnet_lite0.in1k"}}),
        ('model.encoder="3"', {"model": {"encoder": "3"}}),
        ("model.detach_stages=true", {"model": {"detach_stages": True}}),
        ("model.hidden=[128, 16]", {"model": {"hidden": [128, 16]}}),
        ("train.augment.flip=0.5", {"train": {"augment": {"flip": 0.5}}}),
        ("data.classes=[nevus, 2, basal cell]", {"data": {"classes": ["nevus", 2, "basal cell"]}}),
        ("data.classes=[nevus", {"data": {"classes": "[nevus"}}),
        ('data.classes=["a,b", c]', {"data": {"classes": '["a,b", c]'}}),
        ("run.out=a=b", {"run": {"out": "a=b"}}),
        ("run.out=", {"run": {"out": ""}}),
    ],
)
def test_override_values_are_toml_or_text(text: str, wanted: dict[str, Any]) -> None:
    assert parse_override(text) == wanted


@pytest.mark.parametrize("text", ["lr=1", "train.lr", "train.=1", ".lr=1", "", "="])
def test_invalid_override_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r"a setting is section\.key=value"):
        parse_override(text)


def test_merge_is_deep_and_pure() -> None:
    base = {"train": {"lr": 1, "augment": {"flip": 1}}}
    update = {"train": {"augment": {"shift": 2}}, "data": {}}
    assert merge(base, update) == {"train": {"lr": 1, "augment": {"flip": 1, "shift": 2}}, "data": {}}
    assert base == {"train": {"lr": 1, "augment": {"flip": 1}}}


def test_later_layers_override(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {"train": {"epochs": 7, "lr": 0.5}, "model": {"width": 4, "encoder": "small", "foreign": 1}}
    recipe["models"] = {"tiny": {"train": {"lr": 0.25}, "model": {"width": 5}}}
    monkeypatch.setattr(recipes, "load", lambda dataset, *arguments: recipes.pick(recipe, *arguments))
    settings = resolve("tiny", "tiny", [{"model": {"width": 6}}, {"run": {"seed": 3}}])
    assert (settings.train.epochs, settings.train.lr, settings.train.batch_size) == (7, 0.25, 32)
    # What a shared table says to all models does not reach one that does not know it.
    assert settings.model == {"width": 6, "encoder": "small"}
    assert (settings.run.model, settings.run.dataset, settings.run.seed) == ("tiny", "tiny", 3)


def test_json_round_trip(fakes: ModuleType) -> None:
    settings = resolve("tiny", "tiny", [{"train": {"clip_norm": "none", "augment": {"flips": True}}, "data": {"n": 9}}])
    assert settings.train.clip_norm is None
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_integer_is_accepted_as_float(fakes: ModuleType) -> None:
    lr = resolve("tiny", "tiny", [{"train": {"lr": 1}}]).train.lr
    assert lr == 1.0
    assert isinstance(lr, float)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"trian": {"lr": 1.0}}, "unknown section 'trian'; did you mean 'train'"),
        ({"train": {"epoch": 1}}, r"unknown key of \[train\] 'epoch'; did you mean 'epochs'"),
        ({"train": {"epochs": "many"}}, r"train\.epochs expects int from 1 to 100000, got 'many'"),
        ({"train": {"epochs": 1.5}}, r"train\.epochs expects int .*, got 1\.5"),
        ({"train": {"epochs": True}}, r"train\.epochs expects int .*, got True"),
        ({"train": {"epochs": 0}}, r"train\.epochs expects int from 1 to 100000, got 0"),
        ({"train": {"lr": -1.0}}, r"train\.lr expects float above 0 to 1000, got -1\.0"),
        ({"train": {"lr": float("nan")}}, r"train\.lr expects float .*, got nan"),
        ({"train": {"lr": float("inf")}}, r"train\.lr expects float .*, got inf"),
        ({"train": {"lr": "none"}}, r"train\.lr expects float"),
        ({"train": {"batch_size": 1}}, r"train\.batch_size expects int from 2 to 65536, got 1"),
        ({"train": {"modality_dropout": 1.0}}, r"train\.modality_dropout expects float from 0 to below 1, got 1\.0"),
        ({"train": {"modality_dropout": -0.1}}, r"train\.modality_dropout expects float from 0 to below 1, got -0\.1"),
        ({"train": {"phase_epochs": {"train": 0}}}, r"train\.phase_epochs\.train expects int from 1 to 100000, got 0"),
        ({"train": {"sampler": "random"}}, "expects one of shuffled, balanced, weighted, grouped, got 'random'"),
        ({"train": {"sampler_options": {"power": 1}}}, r"names \['power'\]; the sampler 'shuffled' takes: no options"),
        ({"train": {"sampler": "weighted", "sampler_options": {"p": 1}}}, "'weighted' takes: power, weights"),
        ({"train": {"augment": {"flip": True}}}, r"train\.augment: .* unknown keys \['flip'\]"),
        ({"train": {"augment": {"table": {"mask": 2}}}}, r"train\.augment: .*mask expects float from 0 to 1, got 2"),
        ({"train": {"metric": "loss"}}, r"train\.metric expects one of auc"),
        (
            {"train": {"metric": "auc+brier"}},
            r"train\.metric is the mean of several only of those where more is better",
        ),
        ({"train": {"threshold": 1.5}}, r"train\.threshold expects float from 0 to 1 or none, got 1\.5"),
        ({"train": {"warmup_by": "day"}}, "expects one of step, epoch, got 'day'"),
        ({"train": {"select_on": "train"}}, "expects one of validation, test, got 'train'"),
        ({"train": {"select_on": "test"}, "run": {"test": False}}, r"run\.test=false leaves the test set alone"),
        ({"train": 3}, "train is a section"),
        ({"run": {"device": "tpu"}}, "expects one of auto, cpu, cuda"),
        ({"run": {"precision": "fp8"}}, "expects one of no, tf32, bf16, fp16"),
        ({"run": {"seed": -1}}, r"run\.seed expects int from 0 to 4294967295, got -1"),
        ({"model": {"widht": 3}}, "model 'tiny' has no option 'widht'; did you mean 'width'"),
        ({"data": {"m": 3}}, "dataset 'tiny' has no option 'm'"),
        ({"data": {"root": "here"}}, r"data\.root is set as run\.root"),
        ({"data": {"progress": 1}}, r"data\.progress is set by the run"),
        ({"data": {"cache": "here"}}, r"data\.cache is set by the run: see run\.cache and run\.cache_gb"),
        ({"run": {"seed": 2**70}}, r"run\.seed expects int from 0 to 4294967295, got 1180591620717411303424"),
        ({"run": {"device": "tpu", "seed": -1}}, r"run\.device expects one of auto, cpu, cuda, got 'tpu'; run\.seed"),
        ({"run": {"out": ""}}, r"run\.out expects str that is not empty or none, got ''"),
        (
            {"train": {"sampler": "weighted", "sampler_options": {"power": 1000}}},
            r"options\.power expects float",
        ),
        (
            {"train": {"sampler": "weighted", "sampler_options": {"weights": [1, -1]}}},
            r"options\.weights expects",
        ),
        (
            {"train": {"sampler": "balanced", "sampler_options": {"epoch": "day"}}},
            r"options\.epoch expects one of",
        ),
        ({"run": {"cache_gb": -1}}, r"run\.cache_gb expects float from 0 to 1000000, got -1"),
    ],
)
def test_invalid_settings_raise(fakes: ModuleType, override: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve("tiny", "tiny", [override])


def test_unknown_names_raise(fakes: ModuleType) -> None:
    with pytest.raises(ValueError, match="unknown model 'tinny'; did you mean 'tiny'"):
        resolve("tinny", "tiny")
    with pytest.raises(ValueError, match="unknown dataset 'tinny'; did you mean 'tiny'"):
        resolve("tiny", "tinny")


def test_hyphens_in_names_are_read_as_underscores() -> None:
    """On the command line and in the file of a run made when names had hyphens."""
    assert resolve("gated-query", "synthetic-men") == resolve("gated_query", "synthetic_men")
    old = resolve("gated_query").to_dict()
    old["run"] |= {"model": "gated-query", "dataset": "synthetic-derm7pt"}
    assert Settings.from_dict(old) == resolve("gated_query")
