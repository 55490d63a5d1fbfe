"""Image encoders: routes, freezing, and map fusion between stages: where it is called, with what, and what stays."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.map_fusion_cases import EVERY, Make
from helpers.marks import every_compiler
from helpers.small import loss_inputs, make_inputs, make_labels, make_spec, rows, spoilt
from mmfusion import backbones
from mmfusion.backbones import Backbone
from mmfusion.fusion.maps import MMTM, Film, MapFusion, MapSites, MetaBlock
from mmfusion.fusion.vectors import Concat
from mmfusion.heads import MLPHead
from mmfusion.losses import Objective
from mmfusion.models import Context, FusionModel, ImageEncoders
from mmfusion.models.lanes import lanes
from mmfusion.pooling import MeanPooling
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokenizers import FeatureTokenizer, Pool, TableCells
from mmfusion.tokens import Maps, Present, Table, Tokens
from mmfusion.training.phases import groups

SPEC = make_spec(images=2)
N = 4
SOME = torch.tensor([True, False, True, False])


class Keep(Pool):
    """Remembers the maps that it was given outside of dry runs."""

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tokens, ...]:
        if maps[0].device.type != "meta":
            self.kept = tuple(maps)
        return super().forward(maps)


class Counting(backbones.ConvNet):
    """Remembers the shapes that its stem and stages were given outside of dry runs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(widths=(4, 8), **options)
        self.seen: list[tuple[int, ...]] = []

    def stem(self, x: Tensor) -> Tensor:
        if x.device.type != "meta":
            self.seen.append((-1, *x.shape))
        return super().stem(x)

    def stage(self, i: int, x: Tensor) -> Tensor:
        if x.device.type != "meta":
            self.seen.append((i, *x.shape))
        return super().stage(i, x)


class Adding(MapFusion):
    """Adds a number to each map, and remembers what it was given outside of dry runs."""

    def __init__(self, sites: MapSites, number: float = 0.5, **options: Any) -> None:
        super().__init__(sites, **options)
        self.number = number
        self.seen: list[tuple[int, dict[str, Tensor], Tokens | None, Present | None]] = []

    def forward(
        self, maps: dict[str, Tensor], context: Tokens | None, stage: int, present: Present | None = None
    ) -> dict[str, Tensor]:
        if next(iter(maps.values())).device.type != "meta":
            self.seen.append((stage, maps, context, present))
        return {name: x + self.number * (1 + list(self.routes).index(name)) for name, x in maps.items()}


def encoders_of(
    spec: DataSpec = SPEC,
    *,
    encoder: Callable[[Image], nn.Module] | None = None,
    shared: bool = True,
) -> ImageEncoders:
    routes = {name: "skin" if shared else name for name in spec.images}
    make = encoder or (lambda image: Counting(in_channels=image.channels, n_axes=len(image.size)))
    return ImageEncoders(spec.images, {routes[name]: make(spec[name]) for name in reversed(list(spec.images))}, routes)


def sites_for(encoders: ImageEncoders, spec: DataSpec = SPEC) -> MapSites:
    """With the cells of the tables as context."""
    return encoders.sites(d_context=Context({name: TableCells(one) for name, one in spec.tables.items()}).dim)


def build(
    spec: DataSpec = SPEC,
    make: Callable[[MapSites], MapFusion] | None = Adding,
    *,
    encoder: Callable[[Image], nn.Module] | None = None,
    shared: bool = True,
    **options: Any,
) -> FusionModel:
    encoders = options.pop("encoders", None)
    if encoders is None:
        encoders = encoders_of(spec, encoder=encoder, shared=shared)
        if make is not None:
            encoders.add_fusion(make(sites_for(encoders, spec)))
    fused = bool(len(encoders.fusions))
    parts: dict[str, Any] = {
        "encoders": encoders,
        "context": Context({name: TableCells(one) for name, one in spec.tables.items()}) if fused else None,
        "tokenizers": {name: Keep(image, encoders.map_shapes[name], dim=8) for name, image in spec.images.items()},
        "pooling": MeanPooling(),
        "vectors": Concat(tuple(spec.images), dim=8),
        "head": MLPHead(spec.targets, dim=8 * len(spec.images), hidden=(8,), dropout=0.0),
        "ignored": () if fused else tuple(spec.tables),
    }
    return FusionModel(**parts | options)


def kept(model: FusionModel) -> dict[str, tuple[Tensor, ...]]:
    return {name: tokenizer.kept for name, tokenizer in model.tokenizers.items() if hasattr(tokenizer, "kept")}


def fusion_of(model: FusionModel) -> Any:
    return model.encoders.fusions[0]


BACKBONES: dict[str, tuple[tuple[int, ...], Callable[[Image], Backbone]]] = {
    "convnet, 2D": ((16, 16), lambda image: backbones.ConvNet(in_channels=2, widths=(4, 8, 16))),
    "convnet, 3D": ((8, 8, 8), lambda image: backbones.ConvNet(in_channels=2, widths=(4, 8), n_axes=3)),
    "resnet3d10": ((8, 8, 4), lambda image: backbones.ResNet3d(10, in_channels=2, size=image.size, n_stages=2)),
    "timm, channels first": ((32, 32), lambda image: backbones.Timm("test_resnet", in_channels=2)),
    "timm, channels last": ((32, 32), lambda image: backbones.Timm("test_mambaout", in_channels=2, n_stages=2)),
    "timm, one stage": ((32, 32), lambda image: backbones.Timm("test_efficientnet", in_channels=2, n_stages=1)),
}


def _zero(*layers: Any) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def to_identity(name: str, block: Any) -> None:
    """The parameters under which a map fusion changes nothing."""
    linear = [part for part in block.modules() if isinstance(part, nn.Linear)]
    if name == "mul":
        for first, onward in zip(block.first.values(), block.onward.values(), strict=True):
            for layer in (first[2], *onward.values()):
                nn.init.zeros_(layer.weight)
                nn.init.ones_(layer.bias)
    elif name == "metanet":
        for layer in linear:
            _zero(layer)
        for of_route in block.gate.values():
            for layers in of_route.values():
                nn.init.constant_(layers[2].bias, 100.0)
    else:
        _zero(*linear)


WITH_IDENTITY = ["mul", "film", "daft, tanh", "hyperfusion", "metanet", "mmtm"]


@cache
def encoder_of(backbone: str) -> Backbone:
    """In evaluation mode; tests leave it as they find it."""
    size, encoder = BACKBONES[backbone]
    return encoder(Image(2, size)).eval()


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        pytest.param(name, backbone, marks=() if name == "film" or backbone == "convnet, 2D" else pytest.mark.slow)
        for name in WITH_IDENTITY
        for backbone in BACKBONES
    ],
)
def test_identity_fusion_leaves_maps_unchanged(name: str, backbone: str) -> None:
    spec = make_spec(images=2, size=BACKBONES[backbone][0])
    model = build(spec, EVERY[name], encoder=lambda _: encoder_of(backbone)).eval()
    inputs = make_inputs(spec, 2)
    model(inputs)
    changed = kept(model)
    to_identity(name, fusion_of(model))
    model(inputs)
    for image, maps in kept(model).items():
        bare = model.encoders.backbones["skin"](inputs[image])
        assert len(maps) == len(bare) == len(changed[image])
        for one, other in zip(maps, bare, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(changed[image][-1], maps[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if name != "mmtm"])
@pytest.mark.parametrize("backbone", ["convnet, 2D", "convnet, 3D"])
def test_case_without_table_has_unfused_maps(name: str, backbone: str) -> None:
    """In evaluation mode, whatever the table contains; and the whole table may be left out."""
    spec = make_spec(images=1, size=BACKBONES[backbone][0])
    model = build(spec, EVERY[name], encoder=lambda _: encoder_of(backbone)).eval()
    inputs = make_inputs(spec, 3)
    bare = model.encoders.backbones["skin"](inputs["image0"])
    for there in ([True, False, True], [False] * 3):
        row = torch.tensor(there)
        expected = model(inputs, {"table0": row}).logits
        for maps, of_encoder in zip(kept(model)["image0"], bare, strict=True):
            torch.testing.assert_close(maps[~row], of_encoder[~row], rtol=1e-5, atol=1e-6)
        assert torch.equal(model(spoilt(inputs, "table0", row), {"table0": row}).logits, expected)
        if not row.any():
            assert torch.equal(model({"image0": inputs["image0"]}, {"table0": row}).logits, expected)


def by_hand(encoder: Any, x: Tensor, added: Mapping[int, float]) -> list[Tensor]:
    """Stage after stage with a number added at some points."""
    x = encoder.stem(x) + added.get(0, 0.0)
    maps = []
    for i in range(encoder.n_stages):
        x = encoder.stage(i, x) + added.get(i + 1, 0.0)
        maps.append(x)
    return maps


@pytest.mark.slow
@pytest.mark.parametrize("at", [(0,), (1,), (2,), (0, 2), None])
@pytest.mark.parametrize("shared", [True, False])
def test_map_fusion_is_called_once_per_point(at: tuple[int, ...] | None, shared: bool) -> None:
    """With all the images and all the cases, however many encoders there are."""
    model = build(make=lambda sites: Adding(sites, at=at), shared=shared).eval()
    inputs = make_inputs(SPEC, N)
    model(inputs)
    points = (0, 1, 2) if at is None else at
    seen = fusion_of(model).seen
    assert [stage for stage, *_ in seen] == list(points)
    assert all({name: len(x) for name, x in maps.items()} == {"image0": N, "image1": N} for _, maps, *_ in seen)
    for k, name in enumerate(SPEC.images, 1):
        encoder = model.encoders.backbones[model.encoders.routes[name]]
        expected = by_hand(encoder, inputs[name], dict.fromkeys(points, 0.5 * k))
        for maps, one in zip(kept(model)[name], expected, strict=True):
            torch.testing.assert_close(maps, one)


def test_images_on_one_route_are_encoded_in_one_pass() -> None:
    model = build()
    model(make_inputs(SPEC, N))
    assert [(stage, b) for stage, b, *_ in model.encoders.backbones["skin"].seen] == [
        (-1, 2 * N),
        (0, 2 * N),
        (1, 2 * N),
    ]


def test_images_of_two_sizes_on_one_route() -> None:
    spec = DataSpec({"a": Image(2, (16, 16)), "b": Image(2, (8, 8)), "c": Image(2, (16, 16))}, n_classes=2)
    model = build(spec)
    assert model(make_inputs(spec, N)).logits.shape == (N, 2)
    assert [(b, x) for stage, b, _, x, _ in model.encoders.backbones["skin"].seen if stage < 0] == [(2 * N, 16), (N, 8)]
    assert [len(maps) for _, maps, *_ in fusion_of(model).seen] == [3, 3, 3]


def test_only_present_images_reach_the_encoder() -> None:
    """The map fusion receives every case, with zeros for an absent map."""
    model = build().eval()
    inputs = make_inputs(SPEC, N)
    model(spoilt(inputs, "image1", SOME), {"image1": SOME})
    assert {b for _, b, *_ in model.encoders.backbones["skin"].seen} == {N + 2}
    for _, maps, *_ in fusion_of(model).seen:
        assert len(maps["image1"]) == N
        assert not bool(maps["image1"][~SOME].any())
        assert bool(maps["image1"][SOME].flatten(1).any(1).all())
    model.encoders.backbones["skin"].seen.clear()
    model(rows(inputs, SOME.nonzero().squeeze(1)))
    alone = kept(model)["image1"]
    model(inputs, {"image1": SOME})
    for one, other in zip(kept(model)["image1"], alone, strict=True):
        torch.testing.assert_close(one, other)


def test_image_absent_in_batch_is_skipped() -> None:
    model = build()
    output = model(make_inputs(SPEC, N), {"image1": torch.zeros(N, dtype=torch.bool)})
    assert [list(maps) for _, maps, *_ in fusion_of(model).seen] == [["image0"]] * 3
    assert output.logits.isfinite().all()
    nothing = {name: torch.zeros(N, dtype=torch.bool) for name in SPEC.names}
    fusion_of(model).seen.clear()
    assert model(make_inputs(SPEC, N), nothing).logits.isfinite().all()
    assert fusion_of(model).seen == []


def test_several_map_fusions_are_chained() -> None:
    encoders = encoders_of()
    sites = sites_for(encoders)
    first, second = Adding(sites, 1.0, at=(1, 2)), Adding(sites, 10.0, at=(1,))
    encoders.add_fusion(first)
    encoders.add_fusion(second)
    model = build(encoders=encoders).eval()
    model(make_inputs(SPEC, N))
    (_, before, *_), _ = first.seen
    ((stage, between, *_),) = second.seen
    assert stage == 1
    torch.testing.assert_close(between["image0"], before["image0"] + 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("at", [(1,), (-1,), None])
def test_map_fusion_of_some_images(at: tuple[int, ...] | None, shared: bool) -> None:
    """The maps of the others equal those without a map fusion, bit for bit."""
    route = "skin" if shared else "image0"
    model = build(make=lambda sites: Adding(sites.only("image0"), at=at), shared=shared).eval()
    encoders = ImageEncoders(SPEC.images, dict(model.encoders.backbones), model.encoders.routes)
    bare = build(encoders=encoders).eval()
    inputs = make_inputs(SPEC, N)
    model(inputs)
    bare(inputs)
    assert all(list(maps) == ["image0"] for _, maps, *_ in fusion_of(model).seen)
    found, without = kept(model), kept(bare)
    assert all(torch.equal(x, y) for x, y in zip(found["image1"], without["image1"], strict=True))
    points = (0, 1, 2) if at is None else [point % 3 for point in at]
    expected = by_hand(model.encoders.backbones[route], inputs["image0"], dict.fromkeys(points, 0.5))
    for maps, one in zip(found["image0"], expected, strict=True):
        torch.testing.assert_close(maps, one)
    # Nobody has its image: it has nothing to act on, and is not called.
    fusion_of(model).seen.clear()
    model(inputs, {"image0": torch.zeros(N, dtype=torch.bool)})
    assert fusion_of(model).seen == []
    torch.testing.assert_close(kept(model)["image1"][-1], without["image1"][-1])


def test_table_conditions_one_of_two_images() -> None:
    model = build(make=lambda sites: Film(sites.only("image0"), at=(1,))).eval()
    for parameter in model.encoders.fusions.parameters():
        nn.init.normal_(parameter)
    inputs = make_inputs(SPEC, N)
    model(inputs)
    before = kept(model)
    table = inputs["table0"]
    model(inputs | {"table0": Table(table.numerical + 1, table.categorical)})
    assert torch.equal(kept(model)["image1"][-1], before["image1"][-1])
    assert not torch.allclose(kept(model)["image0"][-1], before["image0"][-1])


def test_one_map_fusion_per_image() -> None:
    encoders = encoders_of()
    sites = sites_for(encoders)
    first, second = Adding(sites.only("image0"), 1.0, at=(1,)), Adding(sites.only("image1"), 10.0, at=(1, 2))
    encoders.add_fusion(first)
    encoders.add_fusion(second)
    model = build(encoders=encoders).eval()
    inputs = make_inputs(SPEC, N)
    model(inputs)
    assert [(stage, list(maps)) for stage, maps, *_ in first.seen] == [(1, ["image0"])]
    assert [(stage, list(maps)) for stage, maps, *_ in second.seen] == [(1, ["image1"]), (2, ["image1"])]
    for name, added in (("image0", {1: 1.0}), ("image1", {1: 10.0, 2: 10.0})):
        expected = by_hand(model.encoders.backbones["skin"], inputs[name], added)
        for maps, one in zip(kept(model)[name], expected, strict=True):
            torch.testing.assert_close(maps, one)


def test_context_concatenates_tables() -> None:
    """Zeros for a table that a case lacks; masked if it lacks all."""
    spec = make_spec(images=1, tables=2)
    model = build(spec, lambda sites: Adding(sites, at=(1,))).eval()
    inputs = make_inputs(spec, N, missing_cells=True)
    cells = {name: TableCells(spec[name])(inputs[name])[0].x for name in spec.tables}
    present = {"table0": SOME, "table1": torch.tensor([True, True, False, False])}
    told: list[Tokens] = []
    for there in ({}, {"table0": SOME}, present, dict.fromkeys(spec.tables, torch.ones(N, dtype=torch.bool))):
        model(inputs, there)
        told.append(fusion_of(model).seen[-1][2])
    together = torch.cat(list(cells.values()), 2)
    assert torch.equal(told[0].x, together)
    assert torch.equal(told[3].x, together)
    assert [tokens.mask is None for tokens in told] == [True, True, False, True]
    width = cells["table0"].shape[2]
    assert torch.equal(told[1].x[..., :width], torch.where(SOME.view(-1, 1, 1), cells["table0"], 0.0))
    assert told[2].mask.tolist() == [[True], [True], [True], [False]]
    assert not bool(told[2].x[3].any())


def test_table_in_context_and_tokens() -> None:
    spec = make_spec(images=1)
    encoders = encoders_of(spec)
    encoders.add_fusion(Adding(sites_for(encoders, spec)))
    model = build(
        spec,
        encoders=encoders,
        tokenizers={
            "table0": FeatureTokenizer(spec["table0"], dim=8),
            "image0": Keep(spec["image0"], encoders.map_shapes["image0"], dim=8),
        },
        vectors=Concat(spec.names, dim=8),
        head=MLPHead(spec.targets, dim=16),
    )
    assert model.names == ("table0", "image0")
    output = model(make_inputs(spec, N))
    assert set(output.embeddings) == {"table0", "image0"}
    assert fusion_of(model).seen[0][2] is not None
    alone = build(spec, lambda sites: Adding(sites))
    assert alone.names == ("image0", "table0")
    assert set(alone(make_inputs(spec, N)).embeddings) == {"image0"}


def test_map_fusion_receives_presence() -> None:
    model = build(make=lambda sites: Adding(sites, at=(1, -1))).eval()
    model(make_inputs(SPEC, N), {"image1": SOME})
    for *_, present in fusion_of(model).seen:
        assert list(present) == ["image1"]
        assert torch.equal(present["image1"], SOME)


def test_mmtm_links_streams_at_one_stage() -> None:
    """The gates of one image depend on the other's map, and on nothing that is missing."""
    model = build(make_spec(images=2, tables=0), lambda sites: MMTM(sites, at=None), shared=False).eval()
    inputs = make_inputs(make_spec(images=2, tables=0), N)
    before = model(inputs).embeddings["image0"]
    other = inputs | {"image1": inputs["image1"].flip(0)}
    assert not torch.allclose(model(other).embeddings["image0"], before)
    there = {"image1": SOME}
    given = model(inputs, there).embeddings["image0"]
    assert torch.equal(model(spoilt(inputs, "image1", SOME), there).embeddings["image0"], given)
    torch.testing.assert_close(given[SOME], before[SOME])
    assert not torch.allclose(given[~SOME], before[~SOME])


@every_compiler
@pytest.mark.parametrize("missing", ["image1", "table0"])
def test_compiled_matches_eager(backend: str, missing: str) -> None:
    model = build(make=lambda sites: MMTM(sites, at=None), shared=False).eval()
    inputs, present = make_inputs(SPEC, N), {missing: SOME}
    torch.compiler.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    expected = model(inputs, present).logits
    found = compiled(inputs, present).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(compiled(spoilt(inputs, missing, SOME), present).logits, found)


def trained(model: FusionModel, inputs: Any) -> dict[str, Tensor | None]:
    """Gradients of one step."""
    output = model(inputs)
    sum(Objective(SPEC.targets)(loss_inputs(output, make_labels(SPEC, N))).values()).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("stages", [0, 1, "all"])
def test_frozen_stages_get_no_gradient(stages: Any) -> None:
    """Frozen stages keep their statistics; map fusions inside them are trained."""
    model = build(make=lambda sites: Film(sites)).train()
    model.encoders.freeze(stages)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    before = {name: value.clone() for name, value in model.encoders.state_dict().items()}
    grads = trained(model, make_inputs(SPEC, N))
    assert {name for name, grad in grads.items() if grad is None} == frozen
    assert all(bool(grad.any()) for name, grad in grads.items() if name.startswith("encoders.fusions"))
    moved = {name for name, value in model.encoders.state_dict().items() if not torch.equal(value, before[name])}
    assert any("stages.1" in name for name in moved) == (stages != "all")
    assert not any("entry" in name for name in moved)
    if stages != 0:
        assert not any("stages.0" in name for name in moved)


def test_parameter_groups() -> None:
    """Map fusions are trained at the rate of the fusion; together the groups have every parameter once."""
    model = build(make=lambda sites: Film(sites))
    encoder, fusion = groups(model)
    assert (encoder.name, fusion.name) == ("encoder", "fusion")
    encoder_ids, fusion_ids = ({id(p) for p in group.parameters} for group in (encoder, fusion))
    assert encoder_ids == {id(p) for p in model.encoders.backbones.parameters()}
    assert {id(p) for p in model.encoders.fusions.parameters()} <= fusion_ids
    assert encoder_ids | fusion_ids == {id(p) for p in model.parameters()}
    assert not encoder_ids & fusion_ids


def test_parameter_groups_without_some_parts() -> None:
    model = build(make=lambda sites: Film(sites))
    (fusion,) = groups(model, without=[model.encoders, model.head])
    assert fusion.name == "fusion"
    assert {id(p) for p in fusion.parameters} == {id(p) for p in model.tokenizers.parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnet", "test_resnet", "test_convnext", "test_efficientnet_ln"])
def test_checkpointing_matches_and_saves_memory(name: str) -> None:
    """The same gradients and statistics from fewer stored tensors."""
    spec, results = make_spec(images=1, size=(32, 32), channels=3), []
    for enable in (False, True):
        torch.manual_seed(0)
        encoder = backbones.ConvNet(n_blocks=3, widths=(4, 8)) if name == "convnet" else backbones.Timm(name)
        model = build(spec, lambda sites: Film(sites), encoder=lambda _, encoder=encoder: encoder).train()
        model.encoders.set_grad_checkpointing(enable)
        sizes: list[int] = []

        def pack(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = model(make_inputs(spec, N)).logits.square().sum()
        loss.backward()
        results.append((sum(sizes), [p.grad for p in model.parameters()], model.state_dict()))
    (kept_without, grads, state), (kept_with, again, state_again) = results
    assert kept_with < kept_without
    for one, other in zip(again, grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(state_again[key], value) for key, value in state.items())


def test_precomputed_maps_replace_images() -> None:
    """If fusion acts after the last stage only, also next to images; inside, the error says why."""
    last = build(make=lambda sites: MetaBlock(sites)).eval()
    inputs = make_inputs(SPEC, N)
    encoded = last.encode(inputs)
    bare = last.encoders.backbones["skin"](inputs["image0"])
    assert all(torch.equal(a, b) for a, b in zip(encoded["image0"].stages, bare, strict=True))
    expected = last(inputs).logits
    torch.testing.assert_close(last(inputs | encoded).logits, expected)
    torch.testing.assert_close(last(inputs | {"image1": encoded["image1"]}).logits, expected)
    there = {"image1": SOME}
    torch.testing.assert_close(last(inputs | encoded, there).logits, last(inputs, there).logits)
    inside = build(make=lambda sites: Film(sites, at=(1, -1))).eval()
    maps = inputs | encoded
    for call in (lambda: inside(maps), lambda: inside.check(maps), lambda: inside.encode(inputs)):
        with pytest.raises(
            ValueError, match=r"maps cannot take the place of the images \['image0', 'image1'\].* before stage 1"
        ):
            call()
    assert inside.encode({"table0": inputs["table0"]}) == {}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["test_vit", "slices/test_resnet", "whole"])
def test_encoder_without_stages_raises(encoder: str) -> None:
    """An error names it for map fusions inside; it accepts them after its last stage."""
    size = (32, 32, 4) if encoder.startswith("slices") else (32, 32)
    spec = make_spec(images=1, size=size, channels=3)
    if encoder == "test_vit":
        spec = make_spec(images=1, size=(160, 160), channels=3)

    def make(image: Image) -> nn.Module:
        return Whole() if encoder == "whole" else backbones.create_backbone(encoder, image, n_stages=2)

    with pytest.raises(ValueError, match=rf"(?i:{encoder}).* Film cannot act inside it"):
        build(spec, lambda sites: Film(sites, at=(1,)), encoder=make)
    model = build(spec, lambda sites: Film(sites, at=(-1,)), encoder=make)
    assert model(make_inputs(spec, 2)).logits.shape == (2, 3)


class Whole(backbones.Backbone):
    """All maps at once."""

    def __init__(self) -> None:
        super().__init__(channels=(3, 3), reductions=((1, 1), (2, 2)), mean=(0.0,) * 3, std=(1.0,) * 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x, x[..., ::2, ::2]


class Halving(Adding):
    def forward(self, maps: dict[str, Tensor], *others: Any) -> dict[str, Tensor]:
        return {name: x[..., ::2] for name, x in maps.items()}


class Forgetting(Adding):
    def forward(self, maps: dict[str, Tensor], *others: Any) -> dict[str, Tensor]:
        return dict(list(maps.items())[:1])


class Clumsy(Adding):
    def forward(self, maps: dict[str, Tensor], *others: Any) -> dict[str, Tensor]:
        return {name: x @ torch.ones(7, 7, device=x.device) for name, x in maps.items()}


class Reading(Adding):
    """Looks at numbers, which a dry run does not have."""

    def forward(self, maps: dict[str, Tensor], *others: Any) -> dict[str, Tensor]:
        return {name: x if bool(x.isfinite().all()) else x.nan_to_num() for name, x in maps.items()}


def with_sites_of(other: ImageEncoders, **options: Any) -> None:
    encoders_of().add_fusion(Film(sites_for(other), **options))


def two_depths() -> ImageEncoders:
    made = {"image0": Counting(in_channels=2), "image1": backbones.ConvNet(in_channels=2)}
    return ImageEncoders(SPEC.images, made)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ImageEncoders(SPEC.images, {"skin": Counting(in_channels=2)}, {"image0": "skin"}), "needs a route"),
        (
            lambda: ImageEncoders(SPEC.images, {"skin": Counting(in_channels=2)}, {"image0": "skin", "image1": "x"}),
            r"needs a route to an encoder, and each encoder an image: images \['image0', 'image1'\]",
        ),
        (
            lambda: ImageEncoders(
                SPEC.images,
                {"skin": Counting(in_channels=2), "idle": Counting()},
                dict.fromkeys(SPEC.images, "skin"),
            ),
            "each encoder an image",
        ),
        (
            lambda: encoders_of(encoder=lambda image: Counting(in_channels=3)),
            r"Counting cannot take 'image0', 2 channels of \(16, 16\): .*Choose another",
        ),
        (
            lambda: encoders_of(encoder=lambda image: Counting(in_channels=2, n_axes=3)),
            r"Counting encodes images of 3 axes, 'image0' is \(16, 16\)",
        ),
        (lambda: build(make=lambda sites: Film(sites, at=(3,))), r"Film is to act at \[3\]; 2 stages have the points"),
        (
            lambda: build(context=None, make=lambda sites: Film(sites)),
            "Film is conditioned on 10 features of tables, the model's context has 0",
        ),
        (
            lambda: build(context=Context({"table0": TableCells(Columns(("age",)))}), make=lambda sites: Film(sites)),
            "Film is conditioned on 10 features of tables, the model's context has 2",
        ),
        (
            lambda: build(make=None, context=Context({"table0": TableCells(SPEC["table0"])}), ignored=()),
            r"context is the input of map fusions, got \['table0'\], and the encoders have none",
        ),
        (
            lambda: build(context=Context({"image0": Keep(SPEC["image0"], [(8, 8, 8)], dim=10)})),
            r"context for \['image0'\], which must be tables",
        ),
        (lambda: build(context=Context({"table0": Nothing()})), r"\['table0'\] has neither"),
        (
            lambda: Context({"table0": FeatureTokenizer(SPEC["table0"], dim=8)}),
            "a single token per table, the tokenizer of 'table0' gives 4: take TableCells",
        ),
        (
            lambda: with_sites_of(encoders_of(make_spec(images=3))),
            r"Film acts on the images \['image2'\], which are not here: there are \['image0', 'image1'\]",
        ),
        (
            lambda: with_sites_of(encoders_of(encoder=lambda image: backbones.ConvNet(in_channels=2, widths=(4, 6)))),
            r"Film was built for other encoders: before stage 1 for maps of|behind the last stage for maps of",
        ),
        (
            lambda: with_sites_of(encoders_of(encoder=lambda image: backbones.ConvNet(in_channels=2)), at=(-1,)),
            "Film was built for other encoders",
        ),
        (lambda: with_sites_of(encoders_of(shared=False)), "Film was built for other encoders"),
        (
            lambda: build(make=lambda sites: Halving(sites)),
            r"Halving must keep the shapes of maps, before stage 0 it gives {'image0': \(4, 8, 4\)",
        ),
        (lambda: build(make=lambda sites: Forgetting(sites, at=(-1,))), "Forgetting must keep .*, behind the last"),
        (lambda: build(make=lambda sites: Clumsy(sites)), "Clumsy does not fit the maps before stage 0"),
        (lambda: ImageEncoders({}, {}).sites(), "map fusion needs an image, there is none"),
        (lambda: two_depths().sites(), r"one number of stages, got {'image0': 2, 'image1': 4}"),
        (lambda: encoders_of().freeze(3), "2 stages"),
    ],
)
def test_invalid_parts_and_inputs_raise(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_value_dependent_fusion_is_checked_at_first_batch() -> None:
    assert build(make=lambda sites: Reading(sites))(make_inputs(SPEC, N)).logits.shape == (N, 3)


class Nothing(nn.Module):
    """Says neither which image nor which columns it is for."""

    dim = 10


class Vanishing(backbones.Backbone):
    def __init__(self) -> None:
        super().__init__(channels=(2,), reductions=((32, 32),), mean=(0.0,), std=(1.0,))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x[..., ::32, ::32][..., 1:, 1:],)


def test_image_too_small_for_encoder_raises() -> None:
    with pytest.raises(
        ValueError, match=r"images of \(16, 16\) are too small for the encoder Vanishing: .*after stage 0"
    ):
        encoders_of(encoder=lambda image: Vanishing())


def test_context_of_other_columns_raises() -> None:
    """As many features of other columns."""
    columns = Columns(("age", "size"), (("sex", 6),))
    model = build(context=Context({"table0": TableCells(columns)}), make=lambda sites: Film(sites))
    with pytest.raises(ValueError, match=r"'table0': categorical cells must be int64 of shape \(4, 1\)"):
        model(make_inputs(SPEC, N))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["film", "hyperfusion", "metablock", "mmtm"])
def test_model_of_trained_parts_keeps_weights(name: str) -> None:
    make: Make = EVERY[name]
    model, inputs = build(make=make), make_inputs(SPEC, N)
    model(inputs)
    again = build(
        encoders=model.encoders,
        context=model.context,
        tokenizers=dict(model.tokenizers.items()),
        head=model.head,
    )
    assert torch.equal(again.eval()(inputs).logits, model.eval()(inputs).logits)


def test_double_precision() -> None:
    spec = make_spec(images=1)
    encoders = encoders_of(spec, encoder=lambda image: Counting(in_channels=2).double())
    encoders.add_fusion(Film(sites_for(encoders, spec)).double())
    model = build(spec, encoders=encoders, head=MLPHead(spec.targets, dim=8).double()).double()
    inputs = make_inputs(spec, N)
    table = inputs["table0"]
    assert isinstance(table, Table)
    double = {"image0": inputs["image0"].double(), "table0": Table(table.numerical.double(), table.categorical)}
    assert model(double).logits.dtype == torch.float64
    assert model(double | {"table0": table}).logits.dtype == torch.float64


def test_training_step_leaves_no_hooks_or_tensors() -> None:
    model, inputs = build(make=lambda sites: Film(sites)), make_inputs(SPEC, N)

    def hooks() -> int:
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return sum(len(getattr(part, kind)) for part in model.modules() for kind in kinds)

    before = (hooks(), len(list(model.modules())), set(model.state_dict()))
    trained(model, inputs)
    assert (hooks(), len(list(model.modules())), set(model.state_dict())) == before
    assert before[0] == 0


def test_lanes_batch_images_by_shape_and_route() -> None:
    """One batch for each shape on each route."""
    images = {"a": torch.ones(2, 3, 4, 4), "b": torch.zeros(1, 3, 4, 4), "c": torch.ones(2, 3, 2, 2)}
    images["d"] = images["a"] * 2
    one, other, third = lanes(images, {"a": "x", "b": "x", "c": "x", "d": "y"})
    assert (one.route, one.names, one.sizes, len(one.x)) == ("x", ("a", "b"), (2, 1), 3)
    assert (other.names, third.names, third.route) == (("c",), ("d",), "y")
    assert third.x is images["d"]
    assert torch.equal(one.split(one.x)["b"], images["b"])
    assert [len(x) for x in one.split(one.x).values()] == [2, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("shared", "n_encoders"), [(True, 2), (False, 3)])
def test_created_with_shared_or_separate_encoders(shared: bool, n_encoders: int) -> None:
    """Images of one shape share an encoder, whatever their spacing."""
    images = {"a": Image(2, (16, 16), (1.0, 1.0)), "b": Image(2, (16, 16), (0.5, 0.5)), "c": Image(1, (16, 16))}
    encoders = ImageEncoders.create(images, name="convnet", shared=shared, n_stages=3)
    assert len(encoders.backbones) == n_encoders
    assert encoders.routes == ({"a": "a", "b": "a", "c": "c"} if shared else {"a": "a", "b": "b", "c": "c"})
    assert (encoders.n_stages, [len(shapes) for shapes in encoders.map_shapes.values()]) == (3, [3, 3, 3])
    with pytest.raises(ValueError, match="unknown encoder 'convnt'; did you mean"):
        ImageEncoders.create(images, name="convnt")


def test_encode_without_context() -> None:
    """Maps of one image, with the other left out."""
    model = build(make=lambda sites: MetaBlock(sites)).eval()
    inputs = make_inputs(SPEC, N)
    made = model.encode({"image1": inputs["image1"]})
    assert list(made) == ["image1"]
    assert isinstance(made["image1"], Maps)
