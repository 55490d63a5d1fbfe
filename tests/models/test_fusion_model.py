"""FusionModel: presence, refusals, and what a step leaves behind."""

import gc
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmfusion as mmf
from helpers.small import TABLE, loss_inputs, make_inputs, make_labels, make_spec, rows, spoilt
from mmfusion import backbones
from mmfusion.fusion.decisions import MeanDecision
from mmfusion.fusion.tokens import CrossmodalEnhancement, SelfAttention
from mmfusion.fusion.vectors import Concat, Single
from mmfusion.heads import MLPHead
from mmfusion.losses import Objective
from mmfusion.models import FusionModel, ImageEncoders
from mmfusion.pooling import MeanPooling, StagePooling
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokenizers import FeatureTokenizer, Pool, Pyramid
from mmfusion.tokens import Table, Tokens, TokenShape, join

SPEC = make_spec(images=2)
N = 4


class Counting(backbones.ConvNet):
    """Remembers the shapes that it was given outside of dry runs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(widths=(4, 8), **options)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.device.type != "meta":
            self.seen.append(tuple(x.shape))
        return super().forward(x)


def encoders_of(spec: DataSpec, *, shared: bool = True, backbones: dict[str, nn.Module] | None = None) -> ImageEncoders:
    routes = {name: "skin" if shared else name for name in spec.images}
    made = backbones or {
        routes[name]: Counting(in_channels=image.channels, n_axes=len(image.size))
        for name, image in reversed(spec.images.items())
    }
    return ImageEncoders(spec.images, made, routes)


def build(spec: DataSpec = SPEC, *, shared: bool = True, **options: Any) -> FusionModel:
    """A small model of every kind of part, by hand."""
    encoders = options.pop("encoders", None) or encoders_of(spec, shared=shared)
    made = options.pop("tokenizers", None) or {
        name: Pyramid(spec[name], encoders.map_shapes[name], dim=8, n_latents=3)
        if name in spec.images
        else FeatureTokenizer(spec[name], dim=8)
        for name in spec.names
    }
    counts = {name: 3 if name in spec.images else len(spec[name]) for name in spec.names}
    after = [{name: TokenShape(2 * n, 8) for name, n in counts.items()}] * (2 if spec.images else 1)
    vectors = Concat(spec.names, dim=8)
    parts: dict[str, Any] = {
        "encoders": encoders,
        "tokenizers": made,
        "per_stage": [CrossmodalEnhancement(spec.names, dim=8) for _ in after],
        "layers": [SelfAttention(spec.names, dim=8)],
        "pooling": StagePooling(after, spec.names),
        "vectors": vectors,
        "head": MLPHead(spec.targets, dim=vectors.dim_out, hidden=(8,)),
    }
    return FusionModel(**parts | options)


@cache
def evaluated() -> FusionModel:
    """One for all the tests that only call it."""
    return build().eval()


def flat(output: mmf.FusionOutput) -> list[Tensor]:
    return [*output.outputs.values(), *output.embeddings.values()]


def same(one: mmf.FusionOutput, other: mmf.FusionOutput) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flat(one), flat(other), strict=True))


def test_output_shapes() -> None:
    output = evaluated()(make_inputs(SPEC, N))
    assert {name: tuple(x.shape) for name, x in output.outputs.items()} == {"label": (N, 3)}
    assert {name: tuple(x.shape) for name, x in output.embeddings.items()} == dict.fromkeys(SPEC.names, (N, 8))
    assert output.aux == {}
    assert output.logits is output.outputs["label"]


@pytest.mark.slow
def test_images_on_one_route_are_encoded_in_one_pass() -> None:
    model = build()
    model(make_inputs(SPEC, N))
    assert model.encoders.backbones["skin"].seen == [(2 * N, 2, 16, 16)]


def test_images_on_two_routes_are_encoded_in_two_passes() -> None:
    model = build(shared=False)
    model(make_inputs(SPEC, N))
    assert [encoder.seen for encoder in model.encoders.backbones.values()] == [[(N, 2, 16, 16)]] * 2


def test_images_of_two_sizes_share_weights() -> None:
    """One pass per size."""
    spec = DataSpec({"a": Image(2, (16, 16)), "b": Image(2, (8, 8)), "c": Image(2, (16, 16))}, n_classes=2)
    model = build(spec)
    assert model(make_inputs(spec, N)).logits.shape == (N, 2)
    assert model.encoders.backbones["skin"].seen == [(2 * N, 2, 16, 16), (N, 2, 8, 8)]


def test_only_present_images_reach_the_encoder() -> None:
    model = build()
    there = torch.tensor([True, False, True, False])
    model(make_inputs(SPEC, N), {"image1": there})
    assert model.encoders.backbones["skin"].seen == [(N + 2, 2, 16, 16)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEC.names)
@pytest.mark.parametrize("there", [[True, False, True, False], [False] * N, [True] * N])
def test_missing_modality_has_no_effect(name: str, there: list[bool]) -> None:
    """Not on a bit of the output, nor of the gradients; its embedding is zero."""
    row = torch.tensor(there)
    results = []
    for change in (False, True):
        torch.manual_seed(0)
        model, inputs = build(), make_inputs(SPEC, N)
        output = model(spoilt(inputs, name, row) if change else inputs, {name: row})
        losses = Objective(SPEC.targets)(loss_inputs(output, make_labels(SPEC, N), {name: row}))
        sum(losses.values()).backward()
        results.append((output, [p.grad for p in model.parameters()], model))
    (one, one_grads, _), (two, two_grads, model) = results
    assert same(one, two)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(one_grads, two_grads, strict=True))
    assert all(grad is None or bool(grad.isfinite().all()) for grad in two_grads)
    assert torch.equal(two.embeddings[name][~row], torch.zeros(int((~row).sum()), 8))
    assert bool(two.embeddings[name][row].any(1).all())


@pytest.mark.slow
def test_absent_images_do_not_enter_batch_statistics() -> None:
    spec = make_spec(images=1)
    there = torch.tensor([True, False, True, False])
    inputs = make_inputs(spec, N)
    torch.manual_seed(0)
    some = build(spec)
    torch.manual_seed(0)
    only = build(spec)
    some(inputs, {"image0": there})
    only(rows(inputs, there.nonzero().squeeze(1)))
    one, other = some.encoders.state_dict(), only.encoders.state_dict()
    assert any("running_mean" in key for key in one)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEC.names)
def test_omitted_modality_equals_absent_modality(name: str) -> None:
    """As when it is there and nobody has it."""
    model, inputs = build().eval(), make_inputs(SPEC, N)
    nobody = {name: torch.zeros(N, dtype=torch.bool)}
    given = model(inputs, nobody)
    left_out = model({key: value for key, value in inputs.items() if key != name}, nobody)
    assert same(given, left_out)
    assert not bool(left_out.embeddings[name].any())


@pytest.mark.slow
def test_batch_without_any_modality_is_finite() -> None:
    model = build()
    nobody = {name: torch.zeros(N, dtype=torch.bool) for name in SPEC.names}
    output = model(make_inputs(SPEC, N), nobody)
    assert all(bool(x.isfinite().all()) for x in flat(output))
    output.logits.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.slow
def test_batch_of_one_matches_batch() -> None:
    """In evaluation; with each set of modalities."""
    model, inputs = build().eval(), make_inputs(SPEC, 8)
    present = {name: (torch.arange(8) // 2**i) % 2 == 0 for i, name in enumerate(SPEC.names)}
    together = model(inputs, present)
    for i in range(8):
        case = torch.tensor([i])
        alone = model(rows(inputs, case), {name: row[case] for name, row in present.items()})
        for one, whole in zip(flat(alone), flat(together), strict=True):
            torch.testing.assert_close(one[0], whole[i])


@pytest.mark.slow
def test_batch_of_one_in_training() -> None:
    """With the batch's statistics if a map has more than one position, else with the fixed running ones."""
    model = build()
    assert model(make_inputs(SPEC, 1)).logits.isfinite().all()
    spec = make_spec(images=1, size=(4, 4))
    small = build(spec)
    small(make_inputs(spec, 2))
    before = {key: value.clone() for key, value in small.encoders.state_dict().items()}
    small(make_inputs(spec, 1)).logits.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in small.encoders.parameters() if p.grad is not None)
    torch.testing.assert_close(small.encoders.state_dict(), before, rtol=0, atol=0)
    assert small.eval()(make_inputs(spec, 1)).logits.shape == (1, 3)


@pytest.mark.slow
def test_evaluation_is_deterministic_and_training_is_not() -> None:
    model, inputs = build(), make_inputs(SPEC, N)
    assert not same(model(inputs), model(inputs))
    model.eval()
    assert same(model(inputs), model(inputs))


@pytest.mark.slow
def test_state_dict_round_trip() -> None:
    model, inputs = build(), make_inputs(SPEC, N)
    model(inputs)  # so that the batch statistics are not the initial ones
    other = build()
    other.load_state_dict(model.state_dict())
    assert same(model.eval()(inputs), other.eval()(inputs))


@pytest.mark.slow
def test_training_step_leaves_no_hooks_or_tensors() -> None:
    """The published code adds one hook per layer and step."""
    model, inputs, labels = build(), make_inputs(SPEC, N), make_labels(SPEC, N)
    loss = Objective(SPEC.targets)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    there = {"image0": torch.tensor([True, False, True, True])}

    def step() -> None:
        output = model(inputs, there)
        losses = loss(loss_inputs(output, labels, there))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    def census() -> tuple[int, ...]:
        gc.collect()
        parts = list(model.modules())
        kinds = (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
            "_buffers",
            "_parameters",
        )
        registered = sum(len(getattr(part, kind)) for part in parts for kind in kinds)
        tensors = sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())
        return len(parts), registered, len(model.state_dict()), tensors

    step()
    before = census()
    for _ in range(5):
        step()
    after = census()
    assert after[:-1] == before[:-1]
    assert after[-1] <= before[-1]  # fewer, where something older than this test was cleared away meanwhile


def test_additional_token_sets_reach_fusion_and_aux() -> None:
    class Joint(nn.Module):
        def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
            return tokens | {"joint": join(list(tokens.values()))}

    class Head(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"label": x[:, :3]}

    parts = {"layers": [Joint()], "pooling": MeanPooling(), "vectors": Single(["joint"], dim=8), "head": Head()}
    output = build(**parts).eval()(make_inputs(SPEC, N))
    assert tuple(output.embeddings) == SPEC.names
    assert set(output.aux) == {"joint"}
    assert torch.equal(output.logits, output.aux["joint"][:, :3])


def test_presence_of_additional_set_follows_its_mask() -> None:
    """Also in a decision: a set without an unmasked token is left out, as a missing modality is."""

    class Joint(nn.Module):
        def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
            return tokens | {"joint": tokens["table0"]}

    names = ("image0", "image1", "joint")
    heads = nn.ModuleDict({name: MLPHead(SPEC.targets, dim=8, hidden=()) for name in names})
    parts = {"layers": [Joint()], "pooling": MeanPooling(), "vectors": None, "decision": MeanDecision(names)}
    model, inputs = build(**parts, head=heads).eval(), make_inputs(SPEC, N)
    there = torch.tensor([True, False, True, False])
    output = model(inputs, {"table0": there})
    images = [heads[name](output.embeddings[name])["label"] for name in names[:2]]
    joint = heads["joint"](output.aux["joint"])["label"]
    torch.testing.assert_close(output.logits[~there], (sum(images) / 2)[~there])
    torch.testing.assert_close(output.logits[there], ((sum(images) + joint) / 3)[there])


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_decision_with_shared_or_separate_heads(shared: bool) -> None:
    names, heads = SPEC.names, {name: MLPHead(SPEC.targets, dim=8, hidden=()) for name in SPEC.names}
    head = heads["image0"] if shared else nn.ModuleDict(heads)
    model = build(vectors=None, decision=MeanDecision(names), head=head).eval()
    output = model(make_inputs(SPEC, N))
    each = [heads["image0" if shared else name](output.embeddings[name])["label"] for name in names]
    torch.testing.assert_close(output.logits, torch.stack(each).mean(0))


@pytest.mark.slow
def test_presence_is_not_inferred_from_zeros() -> None:
    """A zero embedding counts; a case is absent only where it is marked so."""

    class Zeros(nn.Module):
        def forward(self, stages: list[dict[str, Tokens]]) -> dict[str, Tensor]:
            return {name: tokens.x.mean(1) * float(name != "table0") for name, tokens in stages[-1].items()}

    head = MLPHead(SPEC.targets, dim=8, hidden=())
    model = build(pooling=Zeros(), vectors=None, decision=MeanDecision(SPEC.names), head=head).eval()
    inputs = make_inputs(SPEC, N)
    output = model(inputs)
    each = [head(x)["label"] for x in output.embeddings.values()]
    torch.testing.assert_close(output.logits, torch.stack(each).mean(0))
    gone = model(inputs, {"table0": torch.zeros(N, dtype=torch.bool)})
    rest = [head(gone.embeddings[name])["label"] for name in SPEC.images]
    torch.testing.assert_close(gone.logits, torch.stack(rest).mean(0))


def test_unknown_modalities_are_ignored() -> None:
    spec = make_spec(images=1)
    model = build(spec, ignored=["image1"]).eval()
    inputs = make_inputs(SPEC, N)
    expected = model({name: inputs[name] for name in spec.names})
    there = {"image1": torch.zeros(N, dtype=torch.bool)}
    assert same(model(inputs), expected)
    assert same(model(inputs, there), expected)
    model.check(inputs | {"image1": torch.full((9, 1), float("nan"))}, there)


@pytest.mark.slow
def test_model_of_trained_parts_keeps_weights() -> None:
    model, inputs = build(), make_inputs(SPEC, N)
    model(inputs)
    again = FusionModel(
        tokenizers=dict(model.tokenizers.items()),
        encoders=model.encoders,
        per_stage=list(model.per_stage),
        layers=list(model.layers),
        pooling=model.pooling,
        vectors=model.vectors,
        head=model.head,
    )
    assert same(again.eval()(inputs), model.eval()(inputs))


IMAGE, ROW = torch.rand(N, 2, 16, 16), torch.ones(N, dtype=torch.bool)
CELLS = Table(torch.zeros(N, 2), torch.zeros(N, 2).long())


@pytest.mark.parametrize(
    ("change", "present", "message"),
    [
        ({"image1": None}, {}, r"inputs lacks the modalities \['image1'\].*give present="),
        (
            dict.fromkeys(SPEC.names),
            {"image0": ROW},
            r"inputs lacks the modalities \['image1', 'table0'\], it has \[\]",
        ),
        (
            dict.fromkeys(SPEC.names),
            dict.fromkeys(SPEC.names, ROW),
            "present says that 4 cases have 'image0', which inputs lacks",
        ),
        (dict.fromkeys(SPEC.names), {}, "inputs lacks the modalities"),
        ({"x": IMAGE}, {}, r"inputs has modalities \['x'\] that the model does not have; it has \['image0'"),
        ({}, {"x": ROW}, r"present has modalities \['x'\] that the model does not have"),
        ({"image0": IMAGE[:3]}, {}, r"same number of cases, got .*'image0': 3"),
        ({}, {"image0": ROW[:3]}, r"same number of cases, got .*present\['image0'\]\": 3"),
        ({}, {"image0": ROW.float()}, r"present\['image0'\] must be bool of shape \(b,\), got torch.float32 \(4,\)"),
        ({}, {"image0": ROW.view(2, 2)}, r"present\['image0'\] must be bool of shape \(b,\), got torch.bool \(2, 2\)"),
        ({}, {"image0": [True] * N}, r"present\['image0'\] must be bool .*got list"),
        (
            {"image0": IMAGE[:, :1]},
            {},
            r"'image0' must be floating point of shape \(b, 2, 16, 16\), got .*\(4, 1, 16, 16\)",
        ),
        ({"image0": IMAGE[..., :8]}, {}, r"'image0' must be .*got torch.float32 \(4, 2, 16, 8\)"),
        ({"image0": IMAGE[0]}, {}, r"'image0' must be .*got torch.float32 \(2, 16, 16\)"),
        ({"image0": IMAGE.byte()}, {}, r"'image0' must be floating point .*got torch.uint8"),
        ({"image0": CELLS}, {}, "'image0' must be floating point .*got Table"),
        ({"table0": IMAGE}, {}, r"'table0' must be a Table\(numerical, categorical\), got Tensor"),
        (
            {"table0": CELLS._replace(numerical=torch.zeros(N, 3))},
            {},
            r"'table0': numerical cells .*\(b, 2\), got",
        ),
        (
            {"table0": CELLS._replace(categorical=torch.zeros(N, 2))},
            {},
            r"'table0': .*got torch.float32 \(4, 2\), for",
        ),
    ],
)
def test_invalid_shapes_raise(change: dict[str, Any], present: Any, message: str) -> None:
    inputs = {name: value for name, value in (make_inputs(SPEC, N) | change).items() if value is not None}
    model = evaluated()
    for call in (model, model.check):
        with pytest.raises(ValueError, match=message):
            call(inputs, present)


def put(name: str, index: tuple[int, ...], value: float, part: int = 0) -> dict[str, Any]:
    """A batch with one number changed."""
    inputs = make_inputs(SPEC, N)
    content = inputs[name]
    (content[part] if isinstance(content, Table) else content)[index] = value
    return inputs


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            put("image1", (2, 0, 3, 3), float("nan")),
            "'image1' has a pixel that is NaN or infinite in 1 of 4 cases, .*case 2",
        ),
        (put("image0", (0, 1, 0, 0), float("-inf")), "'image0' has a pixel that is NaN or infinite .*case 0"),
        (put("table0", (3, 1), float("inf")), "'table0' has an infinite number in 1 of 4 cases, the first is case 3"),
        (put("table0", (1, 0), 2, part=1), r"'table0' has a category outside -1 \(missing\) to \(2, 4\), .*case 1"),
        (put("table0", (1, 1), -2, part=1), "'table0' has a category outside"),
    ],
)
def test_invalid_values_raise(inputs: Any, message: str) -> None:
    """On the CPU in each step, elsewhere by ``check``; a case without the modality may have any content."""
    model = evaluated()
    for call in (model, model.check):
        with pytest.raises(ValueError, match=message):
            call(inputs)
    name = message.split("'")[1]
    bad = int(message[-1]) if message[-1].isdigit() else 1
    present = {name: torch.arange(N) != bad}
    model.check(inputs, present)
    assert model(inputs, present).logits.isfinite().all()


def test_missing_cells_are_valid() -> None:
    inputs = make_inputs(SPEC, N, missing_cells=True)
    model = build()
    model.check(inputs)
    assert model(inputs).logits.isfinite().all()


@pytest.mark.slow
def test_present_modality_without_input_raises() -> None:
    inputs = make_inputs(SPEC, N)
    del inputs["image0"]
    model = build()
    for call in (model, model.check):
        with pytest.raises(ValueError, match="present says that 1 cases have 'image0', which inputs lacks"):
            call(inputs, {"image0": torch.tensor([False, True, False, False])})


class Whole(nn.Module):
    """No tokenizer: says neither what image nor what columns it is for."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda: {"tokenizers": {"x": Whole()}}, r"needs the .image or the .columns .*\['x'\] has neither"),
        (
            lambda: {"encoders": encoders_of(make_spec(images=1)), "tokenizers": build().tokenizers},
            r"encoders are for the images \['image0'\], tokenizers for the images \['image0', 'image1'\]",
        ),
        (
            lambda: {"tokenizers": {"table0": FeatureTokenizer(TABLE, dim=8)}},
            r"encoders are for the images \['image0', 'image1'\], tokenizers for the images \[\]",
        ),
        (
            lambda: {"per_stage": [CrossmodalEnhancement(SPEC.names, dim=8) for _ in range(3)]},
            "3 token fusions for 2 stages: one per stage at most",
        ),
        (lambda: {"vectors": None}, "either vectors=, a fusion of embeddings, or decision=, a fusion of outputs"),
        (lambda: {"decision": MeanDecision(SPEC.names)}, "either vectors=, a fusion of embeddings, or decision="),
        (lambda: {"encoders": deep()}, r"one number of stages, or a single one, got {'image0': 2, 'image1': 4, 'table"),
        (
            lambda: {"tokenizers": {**build().tokenizers, "image1": Pool(SPEC["image1"], [(5, 2, 2)], dim=8)}},
            r"the tokenizer Pool of 'image1': maps of \(\(5, 2, 2\),\) are expected, got \(\(4, 8, 8\), \(8, 4, 4\)\)",
        ),
    ],
)
def test_mismatched_parts_raise(options: Callable[[], dict[str, Any]], message: str) -> None:
    build()
    with pytest.raises(ValueError, match=message):
        build(**options())


def deep() -> ImageEncoders:
    """Two encoders, one of them deeper."""
    return encoders_of(
        SPEC, shared=False, backbones={"image0": Counting(in_channels=2), "image1": backbones.ConvNet(in_channels=2)}
    )


# Which of the two depends on the version of torch: some shrink such a map to nothing, others refuse to.
TOO_SMALL = r"the encoder convnext_atto( cannot take 'image0', 2 channels of \(8, 8\)|: nothing is left of 'image0')"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("convnext_atto", TOO_SMALL),
        ("vit_tiny_patch16_224", "of an image of 8x8 would be cut off: height and width must be multiples of 16"),
    ],
)
def test_image_size_too_small_for_encoder_raises(encoder: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mmf.create_model("concat", make_spec(images=1, size=(8, 8)), encoder=encoder)


def test_guide_example_of_assembly_runs() -> None:
    spec = DataSpec({"derm": Image(3, (32, 32)), "clinic": Image(3, (32, 32)), "meta": TABLE}, n_classes=2)
    encoders = ImageEncoders(spec.images, {"skin": backbones.Timm("test_resnet")}, {"derm": "skin", "clinic": "skin"})
    vectors = Concat(spec.names, dim=16)
    model = FusionModel(
        encoders=encoders,
        tokenizers={
            "derm": Pyramid(spec["derm"], encoders.map_shapes["derm"], dim=16),
            "clinic": Pyramid(spec["clinic"], encoders.map_shapes["clinic"], dim=16),
            "meta": FeatureTokenizer(spec["meta"], dim=16),
        },
        layers=[CrossmodalEnhancement(spec.names, dim=16)],
        pooling=MeanPooling(),
        vectors=vectors,
        head=MLPHead(spec.targets, dim=vectors.dim_out),
    )
    assert model(make_inputs(spec, 2)).logits.shape == (2, 2)
    assert model.blueprint is model.spec is None


def test_double_precision() -> None:
    spec = DataSpec({"x": Image(3, (16, 16)), "meta": TABLE}, n_classes=2)
    encoders = ImageEncoders(spec.images, {"x": backbones.ConvNet(widths=(4, 8)).double()})
    model = FusionModel(
        encoders=encoders,
        tokenizers={
            "x": Pool(spec["x"], encoders.map_shapes["x"], dim=8).double(),
            "meta": FeatureTokenizer(spec["meta"], dim=8).double(),
        },
        pooling=MeanPooling(),
        vectors=Concat(spec.names, dim=8),
        head=MLPHead(spec.targets, dim=16).double(),
    ).double()
    inputs = make_inputs(spec, 2)
    table = inputs["meta"]
    assert isinstance(table, Table)
    double = {"x": inputs["x"].double(), "meta": Table(table.numerical.double(), table.categorical)}
    assert model(double).logits.dtype == torch.float64


def test_one_kind_of_columns() -> None:
    spec = DataSpec({"a": Columns(("x",)), "b": Columns(categorical=(("y", 3),))}, n_classes=2)
    assert build(spec)(make_inputs(spec, N, missing_cells=True)).logits.isfinite().all()


def test_forward_equals_fusion_of_tokens() -> None:
    model = evaluated()
    inputs, present = make_inputs(SPEC, N), {"image1": torch.arange(N) != 1}
    with torch.no_grad():
        output = model(inputs, present)
        stages = model.tokenize(inputs, present)
        before = [{name: tokens.x.clone() for name, tokens in stage.items()} for stage in stages]
        embeddings = model.pooling(model.fuse(stages))
        assert all(torch.equal(output.embeddings[name], x) for name, x in embeddings.items())
        assert torch.equal(output.logits, model.head(model.vectors(embeddings, present))["label"])
    for stage, one in zip(stages, before, strict=True):
        assert all(torch.equal(stage[name].x, x) for name, x in one.items())
    assert model.tokens_apart
    assert model.reads_maps


@pytest.mark.slow
def test_encode_skips_absent_images() -> None:
    model = build().eval()
    inputs, there = make_inputs(SPEC, N), torch.tensor([True, False, True, False])
    spoilt_image = inputs["image1"].clone()
    spoilt_image[~there] = torch.nan
    nobody = {"image1": torch.zeros(N, dtype=torch.bool)}
    with torch.no_grad():
        maps = model.encode({**inputs, "image1": spoilt_image}, {"image1": there})
        assert model.encoders.backbones["skin"].seen == [(N + 2, 2, 16, 16)]
        whole = model.encode(inputs)
        assert same(model({**inputs, **maps}, {"image1": there}), model(inputs, {"image1": there}))
        none = model.encode(inputs, nobody)
    for stage, full, empty in zip(maps["image1"].stages, whole["image1"].stages, none["image1"].stages, strict=True):
        torch.testing.assert_close(stage[there], full[there])
        assert not stage[~there].any()
        assert empty.shape == full.shape
        assert not empty.any()
