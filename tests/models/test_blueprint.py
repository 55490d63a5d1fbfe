"""Blueprints as values: to a file and back, changed, and what is refused."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE
from helpers.small import make_inputs, make_spec
from mmfusion.models import Blueprint, blueprint_of, create_model
from mmfusion.models.blueprint import part, read
from mmfusion.registry import models

SPEC = make_spec()
N = 3
# One method of each kind of slot; every blueprint goes there and back without being built, too.
BUILT = ("cfcml", "healnet", "late", "mbt", "metablock", "mmcl", "tformer", "tip")
SMALL: dict[str, dict[str, Any]] = {
    "cfcml": {"image_latents": 4, "table_latents": 2, "prototypes": {"name": "memory", "size": 5}},
    "tip": {"pretrain": True},
    "film": {"tabular_tokenizer": {"name": "feature", "missing": "mask"}},
}


def made(blueprint: Blueprint) -> mmf.FusionModel:
    torch.manual_seed(0)
    return create_model(blueprint, SPEC).eval()


def same(one: mmf.FusionModel, other: mmf.FusionModel) -> None:
    """Bit for bit the same outputs and weights."""
    assert one.state_dict().keys() == other.state_dict().keys()
    inputs = make_inputs(SPEC, N, missing_cells=True)
    found, expected = one(inputs), other(inputs)
    assert all(torch.equal(found.outputs[name], x) for name, x in expected.outputs.items())
    assert all(torch.equal(found.embeddings[name], x) for name, x in expected.embeddings.items())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("gmu", "film") else pytest.mark.slow if name in BUILT else EXHAUSTIVE)
        for name in models.list()
    ],
)
def test_method_round_trip_through_file(name: str, tmp_path: Path) -> None:
    """As a dictionary, as a file, and built by the method: one model, one loss."""
    options = {"dim": 8} | SMALL.get(name, {})
    blueprint = blueprint_of(name, SPEC, **options)
    packed = blueprint.to_dict()
    (tmp_path / "one.toml").write_text(blueprint.to_toml(), encoding="utf-8")
    again, from_file = Blueprint.from_dict(packed), read(tmp_path / "one.toml")
    assert again.to_dict() == packed
    assert from_file.to_dict() == packed | ({} if blueprint.decision is None else {"vectors": "concat"})
    assert again.to_toml() == from_file.to_toml() == blueprint.to_toml()
    torch.manual_seed(0)
    by_name = mmf.create_model(name, SPEC, **options).eval()
    for one in (again, from_file):
        same(made(one), by_name)
        loss, expected = mmf.create_loss(made(one)), mmf.create_loss(by_name)
        assert loss.state_dict().keys() == expected.state_dict().keys()
        assert (loss.bank is None) == (expected.bank is None)
        if loss.bank is not None and expected.bank is not None:
            assert loss.bank.weights == expected.bank.weights


@pytest.mark.slow
def test_model_from_file_with_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(blueprint_of("gmu", SPEC, dim=8).to_toml(), encoding="utf-8")
    torch.manual_seed(0)
    model = create_model(path, SPEC).eval()
    same(model, made(blueprint_of("gmu", SPEC, dim=8)))
    torch.manual_seed(0)
    same(create_model(str(path), SPEC).eval(), model)
    assert (model.blueprint, model.spec) == (read(path), SPEC)
    changed = create_model(path, SPEC, dim=12, hidden=(5,), tabular_tokenizer="feature", label_smoothing=0.1)
    assert changed.embedding_widths == {"image0": 12, "table0": 12}
    assert changed.head.shared[0].out_features == 5
    assert type(changed.tokenizers["table0"]).__name__ == "FeatureTokenizer"
    assert mmf.create_loss(changed).label_smoothing == 0.1
    with pytest.raises(ValueError, match=r"a blueprint has no option 'depth'"):
        create_model(path, SPEC, depth=2)
    with pytest.raises(ValueError, match=r"dim expects int from 1 to 16384, got 0; dropout expects"):
        create_model(path, SPEC, dim=0, dropout=2.0)
    with pytest.raises(FileNotFoundError, match=r"no blueprint nowhere\.toml: give a file, or a registered name"):
        create_model("nowhere.toml", SPEC)


@pytest.mark.slow
def test_omitted_slots_have_defaults() -> None:
    assert Blueprint.from_dict({}) == Blueprint()
    same(made(Blueprint.from_dict({"dim": 8, "vectors": "gated"})), made(blueprint_of("gmu", SPEC, dim=8)))


def test_changes_do_not_modify_the_original() -> None:
    blueprint = Blueprint(loss={"terms": {"own": {"term": "info_nce", "weight": 1.0}}})
    before = blueprint.to_dict()
    changed = blueprint.changed(dim=8, terms={"more": {"term": "info_nce", "weight": 0.5}}, weights="bundled")
    assert blueprint.to_dict() == before
    assert set(changed.loss["terms"]) == {"own", "more"}
    assert changed.encoder == {"name": "convnet", "weights": "bundled"}
    assert blueprint.changed() == blueprint
    with pytest.raises(dataclasses.FrozenInstanceError):
        blueprint.dim = 4


@pytest.mark.slow
def test_tabular_tokenizer_option_keeps_table_encoder() -> None:
    """With the same [CLS]; it also is the context of map fusions, if any."""
    inside = blueprint_of("cfcml", SPEC, tabular_tokenizer="periodic").tokenizer["table"]
    assert (inside["name"], inside["of"]) == ("compressed", "periodic")
    assert blueprint_of("mbt", SPEC, tabular_tokenizer="mlp").tokenizer["table"] == {"name": "mlp", "cls": True}
    assert blueprint_of("film", SPEC, tabular_tokenizer="mlp").context == "mlp"
    assert blueprint_of("gmu", SPEC, tabular_tokenizer="feature").context is None


@pytest.mark.slow
def test_none_round_trip_through_file() -> None:
    """The word is None where a slot or an option accepts it, and a plain word elsewhere."""
    text = """
        decision = "none"
        context = "none"
        encoder = {name = "convnet", weights = "none"}
        pooling = {name = "first", of = "none"}
        vectors = {name = "gated", dim_out = "none"}
        loss.classification = "none"
    """
    blueprint = Blueprint.from_dict(tomllib.loads(text))
    assert blueprint.decision is blueprint.context is None
    assert blueprint.encoder["weights"] == "none"
    assert blueprint.pooling["of"] is None
    assert blueprint.vectors["dim_out"] is None
    assert blueprint.loss["classification"] is None
    assert "label" not in mmf.create_loss(made(blueprint)).classification


def test_quoted_names_round_trip_through_file() -> None:
    terms = {key: {"term": "info_nce", "weight": 1.0} for key in ("a b", 'quo"te', "näme", "a.b")}
    for one in (terms, {"name": {"term": "info_nce", "weight": 1.0}}):
        blueprint = Blueprint(loss={"terms": one})
        assert Blueprint.from_dict(tomllib.loads(blueprint.to_toml())).loss["terms"] == one


def test_function_options_cannot_be_written(tmp_path: Path) -> None:
    """A path is written as text; a function cannot be."""
    assert Blueprint(encoder=part("convnet", weights=tmp_path)).to_dict()["encoder"]["weights"] == str(tmp_path)
    blueprint = blueprint_of("concat", SPEC, tabular_tokenizer={"name": "text", "encoder": len})
    with pytest.raises(ValueError, match="is for Python only: a file cannot hold it"):
        blueprint.to_toml()


def test_file_errors_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        """
        dim = 0
        widht = 3
        reads = 3
        token_norm = 1
        encoder = {name = "convnet", sharde = true, n_stages = 0}
        tokenizer = {image = "pol", table = {name = "feature", missing = "nothing", cls = 1}}
        context = {missing = "mask"}
        maps = ["flim", {name = "film", offset = "one", hiden = [3]}]
        tokens = {layers = [{name = "query", queries = 3, depth = 0}], per_stages = []}
        pooling = {name = "first", off = ["a"]}
        vectors = {name = "gated", of = 3}
        decision = "vote"
        head = {name = "mlp", dropout = 1.5, shared = "yes"}
        pretraining = {name = "tip", mask_rate = 2.0}
        [loss]
        label_smothing = 0.1
        label_smoothing = 2
        [loss.terms]
        a = {term = "info_nc", weight = 1}
        b = {term = "info_nce", weight = -1, temprature = 1}
        c = {term = "info_nce"}
        """,
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=r"^the blueprint .*bad\.toml: ") as caught:
        create_model(path, SPEC)
    text = str(caught.value)
    for fault in (
        "dim expects int from 1 to 16384, got 0",
        "no option 'widht'",
        "reads expects a list of str of modalities, got 3",
        "token_norm expects bool, got 1",
        "encoder: 'convnet' has no option 'sharde'",
        "encoder: 'convnet': n_stages expects int from 1 to 64, got 0",
        "tokenizer.image: unknown image tokenizer 'pol'; did you mean 'pool'?",
        "tokenizer.table: tabular tokenizer 'feature': missing expects one of",
        "tokenizer.table: tabular tokenizer 'feature': cls expects bool, got 1",
        "context: a tabular tokenizer is a name, or a mapping with name and options",
        "maps[0]: unknown map fusion 'flim'; did you mean 'film'?",
        "maps[1]: map fusion 'film' has no option 'hiden'; did you mean 'hidden'?",
        "maps[1]: map fusion 'film': offset expects float from -1000000 to 1000000, got 'one'",
        "tokens has no option 'per_stages'; did you mean 'per_stage'?",
        "pooling: pooling 'first' has no option 'off'; did you mean 'of'?",
        "vectors: vector fusion 'gated': of expects a list of str of modalities, got 3",
        "decision: unknown decision fusion 'vote'",
        "head: head 'mlp': dropout expects float from 0 to below 1, got 1.5",
        "head: head 'mlp': shared expects bool, got 'yes'",
        "pretraining: pretraining 'tip': mask_rate expects float above 0 to 1, got 2.0",
        "loss has no option 'label_smothing'; did you mean 'label_smoothing'?",
        "loss: label_smoothing expects float from 0 to 1, got 2",
        "loss.terms.a: unknown loss 'info_nc'; did you mean 'info_nce'",
        "loss.terms.b: loss 'info_nce': weight expects float from 0 to 1000000 or a table of options, got -1",
        "loss.terms.b: loss 'info_nce' has no option 'temprature'; did you mean 'temperature'?",
        "loss.terms.c needs weight",
    ):
        assert fault in text


def test_python_errors_are_reported_together() -> None:
    """With the ranges of the parts of a loss, and of nested parts."""
    compressed = part("compressed", of=part("periodic", scale=-1.0), compression=part("resampler", depth=0))
    with pytest.raises(ValueError, match=r"^a blueprint: dim expects int from 1 to 16384, got 0; ") as caught:
        Blueprint(
            dim=0,
            vectors="gaetd",
            tokenizer={"image": part("pyramid", compression="pol"), "table": compressed},
            loss={
                "prototypes": part("moving", momentum=1.5),
                "weighting": part("gradnorm", lr=7.0, alhpa=1.0),
                "classification": part("focal", gamma=-1.0),
                "terms": {"a": {"term": "info_nce", "weight": {"start": -1.0, "end": 1.0}}},
            },
        )
    text = str(caught.value)
    for fault in (
        "vectors: unknown vector fusion 'gaetd'; did you mean 'gated'",
        "tokenizer.image: image tokenizer 'pyramid': compression: unknown token compression 'pol'; did you mean 'pool'",
        "encoder 'compressed': of: tabular tokenizer 'periodic': scale expects float above 0 to 1000000, got -1.0",
        "encoder 'compressed': compression: token compression 'resampler': depth expects int from 1 to 128, got 0",
        "loss.prototypes: source of prototypes 'moving': momentum expects float from 0 to below 1, got 1.5",
        "loss.weighting: weighting 'gradnorm': lr expects float from 0 to 1, got 7.0",
        "loss.weighting: weighting 'gradnorm' has no option 'alhpa'; did you mean 'alpha'?",
        "loss.classification: loss 'focal': gamma expects float from 0 to 1000000, got -1.0",
        "loss.terms.a.weight: start expects float from 0 to 1000000, got -1.0",
        "loss.terms.a.weight needs steps",
    ):
        assert fault in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dim = ", r"^the blueprint .*one\.toml: Invalid value"),
        (b"\xff\xfe", r"^the blueprint .*one\.toml: .*utf-8"),
        (
            b"tokens.layers = [{name = 'query', queries = 3, depth = 0}]",
            r"queries expects a list.*; .*depth expects int",
        ),
        (b"maps = 'film'", "maps expects a list of str or a table of options, got 'film'"),
    ],
)
def test_invalid_file_raises(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "one.toml")


@pytest.mark.parametrize("name", models.list())
def test_blueprint_round_trip(name: str) -> None:
    """Equal as values: of the same parts, whatever form they were written in."""
    blueprint = blueprint_of(name)
    assert Blueprint.from_dict(blueprint.to_dict()) == blueprint
    assert Blueprint.from_dict(tomllib.loads(blueprint.to_toml())).to_toml() == blueprint.to_toml()


def test_backbone_options() -> None:
    model = create_model(Blueprint(encoder={"name": "convnet", "widths": [4, 8], "n_stages": 2}), SPEC)
    assert [shape[0] for shape in model.encoders.map_shapes["image0"]] == [4, 8]
    with pytest.raises(ValueError, match="'convnet' has no option 'width'"):
        Blueprint.from_dict({"encoder": {"name": "convnet", "width": [4]}})
    with pytest.raises(ValueError, match="head 'mlp': dim follows from the blueprint: leave it out"):
        Blueprint.from_dict({"head": {"name": "mlp", "dim": 3}})
