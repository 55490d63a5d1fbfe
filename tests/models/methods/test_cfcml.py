"""CFCML's builder: every ablation, any number of images and tables, the published sizes."""

from typing import Any

import pytest
import torch
from torch import nn

import mmfusion as mmf
from helpers.small import loss_inputs, make_inputs, make_labels, make_spec
from mmfusion.models import FusionModel, create_loss
from mmfusion.spec import Classes, Columns, DataSpec, Image, Regression

SMALL: dict[str, Any] = {"dim": 8, "image_latents": 3, "table_latents": 2, "hidden": (8,)}
N = 6


def step(model: FusionModel, spec: DataSpec) -> dict[str, torch.Tensor]:
    """One forward and backward pass; the losses by name."""
    output = model(make_inputs(spec, N, missing_cells=True))
    losses: dict[str, torch.Tensor] = create_loss(model)(loss_inputs(output, make_labels(spec, N)))
    sum(losses.values()).backward()
    return losses


def count(module: nn.Module, keep: str = "") -> int:
    return sum(p.numel() for name, p in module.named_parameters() if keep in name)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16, 16), (8, 8, 8)])
@pytest.mark.parametrize(("images", "tables"), [(0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 2), (3, 1)])
def test_trains_with_any_number_of_images_and_tables(images: int, tables: int, size: tuple[int, ...]) -> None:
    spec = make_spec(images=images, tables=tables, size=size)
    model = mmf.create_model("cfcml", spec, **SMALL)
    losses = step(model, spec)
    assert list(losses) == ["label", "sample", "unimodal", "crossmodal"]
    assert all(bool(value.isfinite()) for value in losses.values())
    assert len(model.per_stage) == (4 if images else 1)
    assert len(model.encoders.backbones) == min(images, 1)


@pytest.mark.slow
def test_separate_encoders() -> None:
    spec = make_spec(images=2)
    model = mmf.create_model("cfcml", spec, shared_encoder=False, **SMALL)
    assert model.encoders.routes == {"image0": "image0", "image1": "image1"}
    assert len(model.encoders.backbones) == 2


@pytest.mark.slow
def test_images_of_one_shape_share_encoder_despite_spacing() -> None:
    images = {"a": Image(2, (16, 16), (1.0, 1.0)), "b": Image(2, (16, 16), (0.5, 0.5)), "c": Image(1, (16, 16))}
    model = mmf.create_model("cfcml", DataSpec(images, n_classes=2), **SMALL)
    assert model.encoders.routes == {"a": "a", "b": "a", "c": "c"}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["convnet", "test_resnet"])
@pytest.mark.parametrize(("options", "n_stages"), [({}, 4), ({"n_stages": 2}, 2), ({"multigranularity": False}, 1)])
def test_without_granularity_uses_last_stage_only(options: dict[str, Any], n_stages: int, encoder: str) -> None:
    """The last stage alone is tokenized, enhanced and merged; the encoder keeps its depth."""
    spec = make_spec(size=(32, 32))
    model = mmf.create_model("cfcml", spec, encoder=encoder, **SMALL | options)
    full = mmf.create_model("cfcml", spec, encoder=encoder, **SMALL)
    assert len(model.per_stage) == len(model.tokenizers["image0"].compress) == n_stages
    assert model.tokenizers["image0"].map_shapes == full.tokenizers["image0"].map_shapes[-n_stages:]
    assert model.pooling.merge["image0"].weight.shape[1] == 2 * 3 * n_stages
    assert count(model.encoders.backbones) == count(full.encoders.backbones)
    step(model, spec)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.slow
def test_without_enhancement_modalities_are_independent() -> None:
    """The modalities do not see each other: one's content does not touch the other's embedding."""
    spec = make_spec()
    model = mmf.create_model("cfcml", spec, enhancement=False, **SMALL).eval()
    assert len(model.per_stage) == 0
    assert model.pooling.merge["image0"].weight.shape[1] == 3 * 4
    step(model, spec)
    one, other = make_inputs(spec, N), make_inputs(spec, N, seed=1)
    mixed = model({"image0": one["image0"], "table0": other["table0"]})
    assert torch.equal(mixed.embeddings["image0"], model(one).embeddings["image0"])
    enhanced = mmf.create_model("cfcml", spec, **SMALL).eval()
    mixed = enhanced({"image0": one["image0"], "table0": other["table0"]})
    assert not torch.equal(mixed.embeddings["image0"], enhanced(one).embeddings["image0"])


@pytest.mark.slow
@pytest.mark.parametrize("off", ["sample", "unimodal", "crossmodal"])
def test_anchor_losses_can_be_disabled(off: str) -> None:
    spec = make_spec()
    losses = step(mmf.create_model("cfcml", spec, **SMALL, **{f"{off}_weight": 0.0}), spec)
    assert list(losses) == [name for name in ("label", "sample", "unimodal", "crossmodal") if name != off]


@pytest.mark.slow
def test_without_anchor_losses_any_target_works() -> None:
    """Then any targets will do."""
    off = {"sample_weight": 0.0, "unimodal_weight": 0.0, "crossmodal_weight": 0.0}
    spec = make_spec()
    assert list(step(mmf.create_model("cfcml", spec, **SMALL, **off), spec)) == ["label"]
    other = DataSpec(spec.modalities, targets={"a": Regression(2), "b": Classes(3)})
    assert set(mmf.create_model("cfcml", other, **SMALL, **off)(make_inputs(other, 2)).outputs) == {"a", "b"}
    with pytest.raises(ValueError, match=r"need a single target of classes, .*set sample_weight"):
        mmf.create_model("cfcml", other, **SMALL)


@pytest.mark.slow
def test_options_reach_losses() -> None:
    spec = make_spec()
    options = {"sample_weight": 0.5, "temperature": 0.3, "reduction": "published", "eps": 1e-8}
    bank = create_loss(mmf.create_model("cfcml", spec, **SMALL, **options)).bank
    assert bank.weights == {"sample": 0.5, "unimodal": 0.06, "crossmodal": 0.18}
    for term in bank.terms.values():
        assert (term.n_classes, term.temperature(), term.reduction, term.eps) == (3, 0.3, "published", 1e-8)


@pytest.mark.slow
def test_memory_learned_temperature_and_schedules_train() -> None:
    spec = make_spec()
    options = {"prototypes": {"name": "moving", "momentum": 0.7}, "weighting": "gradnorm", "learn_temperature": True}
    model = mmf.create_model("cfcml", spec, **SMALL, **options)
    loss = create_loss(model)
    sum(loss(loss_inputs(model(make_inputs(spec, N)), make_labels(spec, N))).values()).backward()
    bank = loss.bank
    assert bank is not None
    assert bool(bank.prototypes.seen.any())
    assert [round(w.item(), 6) for w in bank.weighting.weights().values()] != [0.04, 0.06, 0.18]
    assert all(term.temperature.theta.grad.item() != 0 for term in bank.terms.values())
    other = mmf.create_model("cfcml", spec, **SMALL, **options)
    other.load_state_dict(model.state_dict())
    create_loss(other).load_state_dict(loss.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("detach", [False, True])
def test_detached_stages_do_not_train_encoder(detach: bool) -> None:
    """Only the last stage's tokens train the encoder; every other parameter is still trained."""
    spec = make_spec()
    model = mmf.create_model("cfcml", spec, detach_stages=detach, **SMALL)
    maps = []
    encoder = model.encoders.backbones["image0"]
    for stage in encoder.stages:
        stage.register_forward_hook(lambda module, args, out: maps.append(out))
    stages = model.tokenizers["image0"](encoder(make_inputs(spec, 2)["image0"]))
    for s, tokens in enumerate(stages):
        (grad,) = torch.autograd.grad(tokens.x.sum(), maps[s], retain_graph=True, allow_unused=True)
        assert (grad is None) == (detach and s < 3)
    step(model, spec)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.slow
def test_single_filter_equals_mean_of_published_filters() -> None:
    """The same function with fewer parameters (24 n^2 + n act as 24 n + 1)."""
    spec = make_spec()
    published = mmf.create_model("cfcml", spec, **SMALL).eval()
    single = mmf.create_model("cfcml", spec, merge="single", **SMALL).eval()
    state = published.state_dict()
    state |= {key: value.mean(0, keepdim=True) for key, value in state.items() if key.startswith("pooling.merge.")}
    single.load_state_dict(state)
    inputs = make_inputs(spec, N)
    torch.testing.assert_close(single(inputs).logits, published(inputs).logits)
    assert count(published.pooling.merge["image0"]) == 24 * 3**2 + 3
    assert count(single.pooling.merge["image0"]) == 24 * 3 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"merge": "none"}, "merge expects one of published, single, got 'none'"),
        ({"n_heads": 3}, "n_heads must divide dim, got dim=8 and n_heads=3"),
        ({"temperature": 0.0}, "temperature expects float from 0.0001 to 10000, got 0.0"),
        ({"reduction": "sum"}, "reduction expects one of normalized, published"),
        ({"sample_weight": -0.1}, "sample_weight expects float from 0 to 1000000, got -0.1"),
        ({"compression": "cnov"}, "unknown token compression 'cnov'; did you mean 'conv'"),
        ({"encoder": "convnt"}, "unknown encoder 'convnt'; did you mean"),
        ({"encoder": "resnet18", "weights": "nowhere.pth"}, "no weights file nowhere.pth"),
        ({"n_stages": 5}, "1 to 4 stages"),
        ({"dims": 8}, "model 'cfcml' has no option 'dims'; did you mean 'dim'?"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        mmf.create_model("cfcml", make_spec(size=(32, 32)), **SMALL | options)


PUBLISHED: dict[str, Any] = {"compression": "conv", "hidden": (128, 16)}


def published_counts(model: FusionModel) -> dict[str, int]:
    """Parameters by the parts that the published counts tell apart."""
    tables = [model.tokenizers[name] for name in model.columns]
    images = [model.tokenizers[name] for name in model.images]
    return {
        "encoder": count(model.encoders.backbones),
        "convolutions": sum(count(t, "compress") for t in [*images, *tables]) + count(model.pooling),
        "up": sum(count(t, "project") for t in images),
        "attention": count(model.per_stage),
        "head": count(model.head),
    }


@pytest.mark.slow
def test_parameter_count_on_derm7pt_matches_published() -> None:
    """Swin-T at 224, two images on one encoder, 32 and 24 latents.

    Five columns give as many table tokens as the published five sentences, so that every convolution is of the same
    size. The encoder is without its unused classifier (768 * 1000 + 1000) and final normalisation (2 * 768).
    """
    image = Image(3, (224, 224))
    columns = Columns(numerical=("a", "b", "c"), categorical=(("d", 2), ("e", 2)))
    spec = DataSpec({"derm": image, "clinic": image, "meta": columns}, n_classes=2)
    with torch.device("meta"):
        model = mmf.create_model("cfcml", spec, encoder="swin_tiny_patch4_window7_224", detach_stages=True, **PUBLISHED)
    assert published_counts(model) == {
        "encoder": 28_288_354 - 769_000 - 1_536,
        "convolutions": 863_384,
        "up": 369_664,
        "attention": 792_576,
        "head": 49_280 + 2_098,
    }


@pytest.mark.slow
def test_parameter_count_on_men_matches_published() -> None:
    """Three volumes with one encoder each, 48 and 16 latents; the small network has maps of the published size."""
    image = Image(1, (128, 128, 24))
    columns = Columns(numerical=("a", "b", "c"), categorical=(("d", 2), ("e", 2), ("f", 3)))
    spec = DataSpec({"t1": image, "t2": image, "flair": image, "meta": columns}, n_classes=3)
    with torch.device("meta"):
        model = mmf.create_model("cfcml", spec, shared_encoder=False, image_latents=48, table_latents=16, **PUBLISHED)
    found = published_counts(model)
    assert found.pop("encoder") > 0
    assert found == {
        "convolutions": 24_448_016,
        "up": 93_696 - 49_536,
        "attention": 1_056_768,
        "head": 65_664 + 2_115,
    }
