from typing import Any

import pytest
import torch
from torch import nn

import mmfusion as mmf
from helpers import attention_reference as ref
from helpers.small import make_inputs, make_spec
from mmfusion.tokens import Table

SPEC = make_spec(images=2)
N = 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("image", ("image0", "image1")),
        ("tabular", ("table0",)),
        ("tabular_mlp", ("table0",)),
        ("concat", ("image0", "image1", "table0")),
    ],
)
def test_unused_modalities_have_no_effect(name: str, used: tuple[str, ...]) -> None:
    """A model accepts all inputs; unused ones change nothing, and may be left out."""
    model, inputs = mmf.create_model(name, SPEC, dim=8).eval(), make_inputs(SPEC, N)
    assert model.names == used
    output = model(inputs)
    assert set(output.embeddings) == set(used)
    assert torch.equal(model({key: inputs[key] for key in used}).logits, output.logits)
    for key, other in make_inputs(SPEC, N, seed=1).items():
        changed = model(inputs | {key: other}).logits
        assert torch.equal(changed, output.logits) == (key not in used)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("image", {"images": 0}, r"'image': it reads images, of which the spec has none: it has \('table0',\)"),
        ("tabular", {"tables": 0}, r"'tabular': it reads tables, of which the spec has none: it has \('image0',\)"),
        (
            "tabular_mlp",
            {"tables": 0},
            r"'tabular_mlp': it reads tables, of which the spec has none",
        ),
    ],
)
def test_missing_required_modality_raises(name: str, options: dict[str, int], message: str) -> None:
    mmf.create_model(name, make_spec())
    with pytest.raises(ValueError, match=message):
        mmf.create_model(name, make_spec(**options))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image", "concat"])
@pytest.mark.parametrize(("shared", "n_encoders"), [(True, 1), (False, 2)])
def test_number_of_encoders(name: str, shared: bool, n_encoders: int) -> None:
    model = mmf.create_model(name, SPEC, dim=8, shared_encoder=shared)
    assert len(model.encoders.backbones) == n_encoders


def test_image_matches_diagram() -> None:
    """Mean over the last map's positions, a projection, the head."""
    spec = make_spec()
    model, inputs = mmf.create_model("image", spec, dim=8, hidden=(5,)).eval(), make_inputs(spec, N)
    last = model.encoders.backbones["image0"](inputs["image0"])[-1]
    embedding = model.tokenizers["image0"].project(last.mean((2, 3)))
    torch.testing.assert_close(model(inputs).logits, model.head(embedding)["label"])


@pytest.mark.slow
@pytest.mark.parametrize("input_norm", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_tabular_matches_ft_transformer(depth: int, input_norm: bool) -> None:
    """A [CLS] and the columns' tokens; blocks, the first without a norm as in the paper; linear(relu(norm([CLS])))."""
    spec = make_spec(images=0)
    model = mmf.create_model("tabular", spec, dim=8, depth=depth, n_heads=2, input_norm=input_norm).double().eval()
    g = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    inputs = make_inputs(spec, N, missing_cells=True)
    (tokens,) = model.tokenizers["table0"](inputs["table0"])
    assert tokens.x.shape == (N, 5, 8)
    output, state = model(inputs), ref.plain(model.state_dict())
    for i in range(N):
        x = tokens.x[i].tolist()
        for layer in range(depth):
            x = ref.transformer(ref.under(state, f"layers.{layer}.blocks.table0"), x, 2, [True] * 5)
        embedding = ref.norm(ref.under(state, f"layers.{depth - 1}.out_norms.table0"), x[0])
        logits = ref.linear(ref.under(state, "head.outputs.label"), [max(v, 0.0) for v in embedding])
        assert output.embeddings["table0"][i].tolist() == pytest.approx(embedding, rel=1e-9, abs=1e-9)
        assert output.logits[i].tolist() == pytest.approx(logits, rel=1e-9, abs=1e-9)
    norms = [key for key in state if "norm" in key and key.endswith("weight")]
    assert ("layers.0.blocks.table0.norm1.weight" in norms) is input_norm
    assert len(norms) == 2 * depth + input_norm  # two a block and one behind the last


@pytest.mark.slow
def test_tabular_parameter_count() -> None:
    """Tokens, blocks, norms and the linear map, counted by hand."""
    d, depth = 8, 3
    spec = make_spec(images=0)
    model = mmf.create_model("tabular", spec, dim=d, depth=depth, expansion=2)
    tokens = sum(p.numel() for p in model.tokenizers.parameters())
    block = 4 * (d * d + d) + (d * 2 * d + 2 * d) + (2 * d * d + d) + 2 * d
    expected = depth * block + depth * 2 * d + 2 * d + 3 * d + 3
    assert sum(p.numel() for p in model.parameters()) - tokens == expected


@pytest.mark.slow
def test_tabular_without_table_gives_bias_of_head() -> None:
    spec = make_spec(images=0)
    model, inputs = mmf.create_model("tabular", spec, dim=8).eval(), make_inputs(spec, N)
    there = torch.tensor([True, False, True, False])
    output = model(inputs, {"table0": there})
    assert torch.equal(output.logits[~there], model.head.outputs["label"].bias.expand(2, -1))
    assert not bool(output.embeddings["table0"][~there].any())


@pytest.mark.parametrize(("depth", "right"), [(1, True), (0, False), (-1, False)])
def test_tabular_depth_zero_raises(depth: int, right: bool) -> None:
    """Without a block the [CLS] would not depend on any column, and the prediction would be constant."""
    spec = make_spec(images=0)
    if right:
        mmf.create_model("tabular", spec, dim=8, depth=depth)
        return
    with pytest.raises(ValueError, match=f"depth expects int from 1 to 128, got {depth}"):
        mmf.create_model("tabular", spec, dim=8, depth=depth)


def test_tabular_mlp_matches_reference() -> None:
    """Cells and indicators through linear layers with a ReLU between any two, in double precision, by hand."""
    spec = make_spec(images=0)
    model = mmf.create_model("tabular_mlp", spec, dim=5, hidden=(6,)).double().eval()
    nan = float("nan")
    table = Table(torch.tensor([[0.5, nan], [-2.0, 1.0]], dtype=torch.float64), torch.tensor([[1, 3], [0, -1]]))
    # age, size, which of them are missing; sex in two cells, place in four.
    cells = torch.tensor([[0.5, 0, 0, 1, 0, 1, 0, 0, 0, 1], [-2.0, 1, 0, 0, 1, 0, 0, 0, 0, 0]], dtype=torch.float64)
    linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
    assert [tuple(one.weight.shape) for one in linears] == [(5, 10), (5, 5), (6, 5), (3, 6)]
    x = cells
    for index, one in enumerate(linears):
        x = (x if index == 0 else x.clamp(min=0)) @ one.weight.T + one.bias
    torch.testing.assert_close(model({"table0": table}).logits, x, rtol=1e-12, atol=1e-12)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for one in linears for p in one.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tabular", "tabular_mlp"])
def test_table_model_distinguishes_columns(name: str) -> None:
    spec = make_spec(images=0)
    model = mmf.create_model(name, spec, dim=8).eval()
    none = torch.zeros(1, 2).long()
    one = model({"table0": Table(torch.tensor([[1.0, 0.0]]), none)}).logits
    other = model({"table0": Table(torch.tensor([[0.0, 1.0]]), none)}).logits
    assert not torch.allclose(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image", "concat"])
def test_image_uses_last_stage_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last map is asked for."""
    asked: list[Any] = []
    from mmfusion.models import image_encoders

    made = image_encoders.create_backbone

    def create(encoder: str, image: Any, **options: Any) -> Any:
        asked.append(options["n_stages"])
        return made(encoder, image, **options)

    monkeypatch.setattr(image_encoders, "create_backbone", create)
    mmf.create_model(name, SPEC)
    assert asked == [1]


@pytest.mark.slow
def test_label_smoothing_reaches_loss() -> None:
    for name in ("image", "tabular", "tabular_mlp", "concat"):
        assert mmf.create_loss(mmf.create_model(name, SPEC, label_smoothing=0.1)).label_smoothing == 0.1
