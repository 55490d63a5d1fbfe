import math
import tomllib
from importlib.resources import files

import pytest

from mmfusion import registry
from mmfusion.experiments import recipes
from mmfusion.experiments.settings import Settings, resolve
from mmfusion.training.settings import Train


def test_unknown_dataset_has_empty_recipe() -> None:
    assert recipes.load("none-such", "cfcml") == {"data": {}, "train": {}, "model": {}}


@pytest.mark.parametrize("dataset", recipes.available())
def test_recipes_have_known_settings(dataset: str) -> None:
    recipe = tomllib.loads((files(recipes) / f"{dataset}.toml").read_text(encoding="utf-8"))
    for model in (*recipe.get("models", {}), "concat"):
        found = recipes.load(dataset, model)
        Settings.from_dict({"run": {"model": model, "dataset": dataset}, **found})
    # Equal footing: a method's own table sets nothing that all methods share, and nothing chooses on the test set.
    assert set(recipe) <= {"data", "train", "model", "models"}
    for own in recipe.get("models", {}).values():
        assert set(own) <= set(recipes.SHARED)
        assert all(not recipes.SHARED[section] & set(values) for section, values in own.items())
    assert "select_on" not in recipe.get("train", {})
    # A shared key that no model knows would be silently without effect.
    known = {key for model in registry.models.list() for key in registry.models.options(model)}
    assert set(recipe.get("model", {})) <= known
    for model, own in recipe.get("models", {}).items():
        assert set(own.get("model", {})) <= set(registry.models.options(model))


@pytest.mark.parametrize("dataset", sorted(set(recipes.available()) & set(registry.datasets.list())))
@pytest.mark.parametrize("model", ["cfcml", "concat", "image", "tabular"])
def test_recipes_of_registered_datasets_resolve(dataset: str, model: str) -> None:
    settings = resolve(model, dataset)
    reference = resolve("concat", dataset)
    for key in recipes.SHARED["train"]:
        assert getattr(settings.train, key) == getattr(reference.train, key)
    assert settings.data == reference.data


@pytest.mark.parametrize("model", registry.models.list())
def test_own_table_recipe_has_modality_dropout(model: str) -> None:
    settings, defaults = resolve(model, "table"), registry.models.defaults(model)
    assert settings.train.modality_dropout == 0.4
    assert settings.train.augment["rotate"] > 0
    assert (
        settings.model.get("dropout", defaults["dropout"])
        == defaults["dropout"]
        == (0.1 if model == "tabular" else 0.5)
    )
    assert tuple(settings.model.get("hidden", defaults["hidden"])) == (() if model == "tabular" else (128,))
    assert settings.model.get("image_latents") == (8 if model == "cfcml" else None)
    # Chosen for the methods that it was measured with, and those whose embeddings meet in the same way.
    normalized = {"cfcml", "concat", "late", "max", "gmu", "lmf", "amf", "film", "mbt"}
    assert settings.model.get("token_norm") == (True if model in normalized else None)


def test_settings_match_published() -> None:
    found = recipes.load("derm7pt", "cfcml")
    model, train = found["model"], found["train"]
    assert [model[f"{name}_weight"] for name in ("sample", "unimodal", "crossmodal")] == [0.04, 0.06, 0.18]
    assert math.isclose(train["lr"] * train["encoder_lr_scale"], 1e-5)
    assert (model["encoder"], train["batch_size"], train["epochs"]) == ("swin_tiny_patch4_window7_224", 36, 50)
    assert "sample_weight" not in recipes.load("derm7pt", "concat")["model"]


def test_default_recipe_matches_study() -> None:
    """What benchmarks/studies/recipe.py measured, written out."""
    for model, latents in (("cfcml", {"image_latents": 8, "table_latents": 6}), ("concat", {})):
        chosen = resolve(model)
        assert chosen.train == Train(
            **{"epochs": 10, "batch_size": 32, "sampler": "balanced", "lr": 2e-3, "optimizer": "adamw"},
            **{"weight_decay": 0.01, "schedule": "cosine", "warmup_epochs": 1.0, "clip_norm": 1.0},
            **{"channels_last": True, "augment": {"flips": True}},
        )
        assert chosen.model["encoder"] == "tiny_convnet"
        assert {
            name: chosen.model[name] for name in ("image_latents", "table_latents") if name in chosen.model
        } == latents


def test_precomputed_maps_disable_augmentation() -> None:
    from mmfusion.experiments.settings import resolve

    frozen = {"train": {"freeze": "all", "precompute": True}}
    assert recipes.load("ham10000", "concat")["train"]["augment"]
    assert resolve("concat", "ham10000", [frozen]).train.augment == {}
    # What the user asks for is not dropped.
    with pytest.raises(ValueError, match=r"train.precompute needs .* no train.augment of images"):
        resolve("concat", "ham10000", [frozen, {"train": {"augment": {"flips": True}}}])
