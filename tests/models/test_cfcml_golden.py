"""The coarse stage, part by part and as a whole model, against the published code's numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import golden_numbers as golden
from mmfusion.backbones import Backbone
from mmfusion.fusion.tokens import CrossmodalEnhancement
from mmfusion.fusion.vectors import Concat
from mmfusion.heads import MLPHead
from mmfusion.layers.attention import CrossAttention
from mmfusion.layers.compression import ConvCompression
from mmfusion.losses import CrossmodalAnchorLoss, LossBank, Objective, SampleAnchorLoss, UnimodalAnchorLoss
from mmfusion.models import FusionModel, ImageEncoders
from mmfusion.pooling import GranularityMerge
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokenizers import Pyramid
from mmfusion.tokens import LossInputs, Table, Tokens, TokenShape

PRECISIONS = [pytest.param(torch.float64, 1e-6, id="float64"), pytest.param(torch.float32, 2e-5, id="float32")]
FULL_SIZE = [
    pytest.param(key, marks=pytest.mark.slow if "full" in key else ())
    for key in golden.cases("mg_cie", "multi_granularity")
]


def fill(module: nn.Module, **weights: Tensor) -> None:
    """Set named parameters; none may be left out or be new."""
    own = dict(module.named_parameters())
    assert set(own) == set(weights)
    with torch.no_grad():
        for name, value in weights.items():
            assert own[name].shape == value.shape
            own[name].copy_(value)


def fill_attention(module: nn.Module, arrays: dict[str, Tensor], prefix: str = "") -> None:
    parts = {"query": "q", "key": "k", "value": "v", "out": "o"}
    kinds = {"weight": "w", "bias": "b"}
    names = {f"{part}.{kind}": f"{prefix}{p}_{k}" for part, p in parts.items() for kind, k in kinds.items()}
    fill(module, **{name: arrays[key] for name, key in names.items()})


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("key", golden.cases("mg_cie", "mhca"))
def test_attention_matches_published(key: str, dtype: torch.dtype, tolerance: float) -> None:
    info, arrays = golden.case("mg_cie", key), golden.attention_arrays(key)
    attention = CrossAttention(info["D"], n_heads=info["heads"]).to(dtype)
    fill_attention(attention, arrays)
    out = attention(arrays["x1"].to(dtype), Tokens(arrays["x2"].to(dtype)))
    assert golden.deviation(out, golden.array("mg_cie", f"{key}__out")) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("key", golden.cases("mg_cie", "cie"))
def test_enhancement_matches_published(key: str, dtype: torch.dtype, tolerance: float) -> None:
    info = golden.case("mg_cie", key)
    names = [f"m{i}" for i in range(len(info["tokens"]))]
    block = CrossmodalEnhancement(names, dim=info["D"], n_heads=info["heads"]).to(dtype)
    for i, name in enumerate(names):
        keys = [f"{p}_{k}" for p in "qkvo" for k in "wb"]
        fill_attention(block.attention[name], {k: golden.array("mg_cie", f"{key}__att_{i}_{k}") for k in keys})
    tokens = {name: Tokens(golden.array("mg_cie", f"{key}__p_{i}", dtype)) for i, name in enumerate(names)}
    for i, (name, out) in enumerate(block(tokens).items()):
        assert name == names[i]
        assert golden.deviation(out.x, golden.array("mg_cie", f"{key}__tc_{i}")) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("key", golden.cases("mg_cie", "token_compression"))
def test_token_compression_matches_published(key: str, dtype: torch.dtype, tolerance: float) -> None:
    info = golden.case("mg_cie", key)
    compress = ConvCompression(info["tokens"], n_latents=info["latents"]).to(dtype)
    fill(
        compress,
        weight=golden.array("mg_cie", f"{key}__conv_w"),
        bias=golden.array("mg_cie", f"{key}__conv_b"),
    )
    project = nn.Linear(info["channels"], info["D"]).to(dtype)
    fill(
        project,
        weight=golden.array("mg_cie", f"{key}__up_w"),
        bias=golden.array("mg_cie", f"{key}__up_b"),
    )
    latents = compress(Tokens(golden.array("mg_cie", f"{key}__x", dtype)))
    assert golden.deviation(latents, golden.array("mg_cie", f"{key}__after_conv")) < tolerance
    assert golden.deviation(project(latents), golden.array("mg_cie", f"{key}__out")) < tolerance


class StoredMaps(Backbone):
    """Stands for an encoder: gives the stored maps of the modality whose number the image holds."""

    def __init__(self, maps: list[list[Tensor]]) -> None:
        super().__init__(
            channels=tuple(m.shape[1] for m in maps[0]),
            reductions=((1,) * (maps[0][0].ndim - 2),) * 4,
            mean=(0.0,),
            std=(1.0,),
        )
        self.maps = maps
        self.n_passes = 0

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.device.type == "meta":
            return tuple(torch.empty(m[:2].shape, device="meta") for m in self.maps[0])
        self.n_passes += 1
        n_cases = len(self.maps[0][0])
        numbers = x.flatten(1)[::n_cases, 0].int().tolist()
        return tuple(torch.cat([self.maps[i][s] for i in numbers]) for s in range(4))


class SentenceTokens(nn.Module):
    """The published clinical path from given sentence embeddings on: linear, ReLU, compression."""

    def __init__(self, embeddings: Tensor, dim: int, n_latents: int) -> None:
        super().__init__()
        self.columns = Columns(numerical=("unused",))
        self.embeddings = embeddings
        self.project = nn.Linear(embeddings.shape[2], dim)
        self.compress = ConvCompression(embeddings.shape[1], n_latents=n_latents)

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        rows = self.embeddings[: len(table.numerical)].to(table.numerical)
        return (Tokens(self.compress(Tokens(torch.relu(self.project(rows))))),)


def build(key: str, dtype: torch.dtype) -> tuple[FusionModel, Objective, dict[str, Tensor]]:
    """The published model from its stage features on, assembled from the package's parts."""
    info = golden.case("mg_cie", key)
    arrays = {name: value.to(dtype) for name, value in golden.granularity_arrays(key).items()}
    images = [f"image{i}" for i in range(info["n_img_mod"])]
    names = [*images, "meta"]
    channel_first = info["kind"] == "men"
    maps = [
        [
            stage if channel_first else stage.permute(0, 3, 1, 2)
            for stage in (arrays[f"stage{s}_{i}"] for s in (1, 2, 3, 4))
        ]
        for i in range(len(images))
    ]
    size = (2,) * (maps[0][0].ndim - 2)
    spec = DataSpec(
        {name: Image(1, size) for name in images} | {"meta": Columns(numerical=("unused",))}, n_classes=info["K"]
    )
    dim = info["D"]
    terms = {
        "sample": (1.0, SampleAnchorLoss(reduction="published", eps=1e-8)),
        "unimodal": (1.0, UnimodalAnchorLoss(reduction="published", eps=1e-8)),
        "crossmodal": (1.0, CrossmodalAnchorLoss(reduction="published", eps=1e-8)),
    }
    detach = range(3) if info["kind"] == "derm7pt" else ()
    encoders = ImageEncoders(spec.images, {"stored": StoredMaps(maps)}, dict.fromkeys(images, "stored"))
    counts = dict.fromkeys(images, info["n_img"]) | {"meta": info["n_clin"]}
    stages = [{name: TokenShape(2 * n, dim) for name, n in counts.items()}] * 4
    vectors = Concat(names, dim=dim)
    model = FusionModel(
        encoders=encoders,
        tokenizers={
            name: Pyramid(spec[name], encoders.map_shapes[name], dim=dim, n_latents=info["n_img"], detach=detach)
            for name in images
        }
        | {"meta": SentenceTokens(arrays["clin"], dim, info["n_clin"])},
        per_stage=[CrossmodalEnhancement(names, dim=dim, n_heads=info["heads"]) for _ in range(4)],
        pooling=GranularityMerge(stages, names, n_filters=counts),
        vectors=vectors,
        head=MLPHead(spec.targets, dim=vectors.dim_out, hidden=(dim, info["channels"]), dropout=0.5),
    )
    loss = Objective(spec.targets, LossBank(info["K"], terms))
    model = model.to(dtype)

    def pair(name: str) -> dict[str, Tensor]:
        return {"weight": arrays[f"{name}_w"], "bias": arrays[f"{name}_b"]}

    for i, name in enumerate(names):
        for s in range(4):
            fill_attention(model.per_stage[s].attention[name], arrays, f"att{s + 1}_{i}_")
            if name in images:
                fill(model.tokenizers[name].compress[s], **pair(f"conv{s + 1}_{i}"))
                project = model.tokenizers[name].project[s]
                if isinstance(project, nn.Linear):
                    fill(project, **pair(f"up{s + 1}_{i}"))
        fill(model.pooling.merge[name], **pair(f"merge_{i}"))
    fill(model.tokenizers["meta"].project, **pair("clin_lin"))
    fill(model.tokenizers["meta"].compress, **pair("clin_conv"))
    fill(model.head.shared[0], **pair("cat"))
    fill(model.head.shared[3], **pair("cls1"))
    fill(model.head.outputs["label"], **pair("cls2"))
    n_cases = info["B"]
    inputs: dict[str, Any] = {
        name: torch.full((n_cases, 1, *size), float(i), dtype=dtype) for i, name in enumerate(images)
    }
    return (
        model.eval(),
        loss,
        inputs | {"meta": Table(torch.zeros(n_cases, 1, dtype=dtype), torch.zeros(n_cases, 0).long())},
    )


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("key", FULL_SIZE)
def test_model_matches_published(key: str, dtype: torch.dtype, tolerance: float) -> None:
    info = golden.case("mg_cie", key)
    model, loss, inputs = build(key, dtype)
    # Intermediate tokens, where they are stored.
    seen: dict[str, Tensor] = {}
    for s, block in enumerate(model.per_stage):
        block.register_forward_hook(
            lambda _, args, out, s=s: seen.update(
                {f"p{s + 1}_{i}": one.x for i, one in enumerate(args[0].values())}
                | {f"tc{s + 1}_{i}": one.x for i, one in enumerate(out.values())}
            )
        )
    output = model(inputs)
    seen |= {f"tc_out_{i}": x for i, x in enumerate(output.embeddings.values())} | {"logits": output.logits}
    checked = 0
    for name, actual in seen.items():
        if golden.has("mg_cie", f"{key}__{name}"):
            assert golden.deviation(actual, golden.array("mg_cie", f"{key}__{name}")) < tolerance, name
            checked += 1
        elif name in info["probes"]:
            probe = info["probes"][name]
            norm = float(actual.detach().double().norm())
            assert norm == pytest.approx(probe["norm"], rel=tolerance)
            first = actual.double().flatten()[:8]
            assert golden.deviation(first, torch.tensor(probe["first8"])) < 10 * tolerance
            checked += 1
    assert checked == len(seen)
    targets = {"label": torch.tensor(info["labels"])}
    losses = loss(LossInputs(output.outputs, output.embeddings, targets, {}, {}))
    published = {
        "label": "main_cls_loss",
        "sample": "loss_sam",
        "unimodal": "loss_up",
        "crossmodal": "loss_cp",
    }
    double = dtype == torch.float64
    for name, key_there in published.items():
        expected = info["official"][key_there]
        limits = {"rel": 1e-9, "abs": 1e-9} if double else {"rel": 1e-5, "abs": 1e-6}
        assert losses[name].item() == pytest.approx(expected, **limits), name


@pytest.mark.slow
@pytest.mark.parametrize("key", ["mg_derm_small", "mg_men_small"])
def test_stage_gradients_match_published(key: str) -> None:
    info = golden.case("mg_cie", key)
    model, loss, inputs = build(key, torch.float64)
    model.tokenizers.train()  # stages are detached in training alone
    maps = model.encoders.backbones["stored"].maps
    for modality in maps:
        for stage in modality:
            stage.requires_grad_()
    output = model(inputs)
    targets = {"label": torch.tensor(info["labels"])}
    losses = loss(LossInputs(output.outputs, output.embeddings, targets, {}, {}))
    sum(losses.values()).backward()
    for i, modality in enumerate(maps):
        for s, stage in enumerate(modality):
            expected = info["grad_norm_wrt_inputs"][f"stage{s + 1}_{i}"]
            if expected is None:  # detached
                assert stage.grad is None
            else:
                assert stage.grad.norm().item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_images_on_one_route_are_encoded_in_one_pass() -> None:
    model, _, inputs = build("mg_derm_small", torch.float64)
    model(inputs)
    assert model.encoders.backbones["stored"].n_passes == 1
