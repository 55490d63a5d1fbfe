"""What the methods have in common whose table acts on the encoders' maps."""

from functools import cache
from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.small import TABLE, loss_inputs, make_inputs, make_labels, make_spec
from mmfusion.models import Context, FusionModel, create_loss
from mmfusion.spec import Columns
from mmfusion.tokenizers import TableCells
from mmfusion.tokens import Table

CONDITIONED = ["mul", "film", "daft", "hyperfusion", "metablock", "metanet"]
INSIDE = ["mul", "film", "daft", "hyperfusion", "mmtm"]
EVERY = [*CONDITIONED, "mmtm"]
SPEC = make_spec(images=2)
N = 4
every = pytest.mark.parametrize("name", EVERY)


@cache
def made(name: str) -> FusionModel:
    """In evaluation mode, for the tests that only call it."""
    return mmf.create_model(name, SPEC, dim=8).eval()


@pytest.mark.slow
@every
def test_embeddings_and_used_modalities(name: str) -> None:
    """The images have embeddings, and MMTM's table; each modality changes the prediction."""
    model, inputs = made(name), make_inputs(SPEC, N)
    assert model.names == SPEC.names
    output = model(inputs)
    assert tuple(output.embeddings) == (SPEC.names if name == "mmtm" else ("image0", "image1"))
    for key, other in make_inputs(SPEC, N, seed=1).items():
        assert not torch.allclose(model(inputs | {key: other}).logits, output.logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONDITIONED)
def test_missing_table_leaves_maps_unchanged(name: str) -> None:
    """In evaluation mode a case without a table is encoded by the bare encoder."""
    model, inputs = made(name), make_inputs(SPEC, N)
    output = model(inputs, {"table0": torch.zeros(N, dtype=torch.bool)})
    for key in SPEC.images:
        encoder = model.encoders.backbones[model.encoders.routes[key]]
        (tokens,) = model.tokenizers[key](encoder(inputs[key]))
        torch.testing.assert_close(output.embeddings[key], tokens.x[:, 0])


@pytest.mark.slow
@every
def test_context_of_map_fusion(name: str) -> None:
    """The cells, or the mean of another tokenizer's unmasked tokens; absent without any."""
    assert isinstance(made(name).context.tokenizers["table0"], TableCells)
    choice = {"name": "feature", "missing": "mask"}
    model, inputs = mmf.create_model(name, SPEC, dim=8, tabular_tokenizer=choice).eval(), make_inputs(SPEC, N)
    own = model.context.tokenizers["table0"].tokenizer
    assert own is not model.tokenizers["table0" if name == "mmtm" else "image0"]
    seen = []
    model.encoders.fusions[0].register_forward_hook(lambda module, given, made: seen.append(given[1]))
    rows = Table(torch.tensor([[0.5, 1.0], [2.0, float("nan")], [float("nan")] * 2, [1.0, 1.0]]), inputs["table0"][1])
    rows.categorical[1:3] = -1
    model(inputs | {"table0": rows}, {"table0": torch.tensor([True, True, True, False])})
    (tokens,) = own(rows)
    expected = torch.stack([tokens.x[0].mean(0), tokens.x[1, 0], torch.zeros(8), torch.zeros(8)])
    torch.testing.assert_close(seen[0].filled()[:, 0], expected)
    assert seen[0].mask[:, 0].tolist() == [True, True, False, False]


@pytest.mark.slow
@every
@pytest.mark.parametrize(("shared", "n_encoders"), [(True, 1), (False, 2)])
def test_number_of_encoders(name: str, shared: bool, n_encoders: int) -> None:
    """Map fusions share their weights as the encoders do; MMTM's gates are separate per image."""
    model = mmf.create_model(name, SPEC, dim=8, shared_encoder=shared)
    assert len(model.encoders.backbones) == n_encoders
    if name != "mmtm":
        routes = set(model.encoders.routes.values())
        of_route = {route: [key for key in model.state_dict() if f".{route}." in key] for route in routes}
        modulated = [key for key in model.state_dict() if key.startswith("encoders.fusions.")]
        assert all(any(key in modulated for key in keys) for keys in of_route.values())
        assert len({len([key for key in keys if key in modulated]) for keys in of_route.values()}) == 1
        assert sum(key in modulated for keys in of_route.values() for key in keys) == len(modulated)


@pytest.mark.slow
@every
def test_missing_required_modalities_raise(name: str) -> None:
    alone = "streams gate each other, there is a single one" if name == "mmtm" else "is conditioned on a table"
    with pytest.raises(ValueError, match=f"model '{name}': .*{alone}"):
        mmf.create_model(name, make_spec(images=1, tables=0))
    with pytest.raises(ValueError, match=rf"model '{name}': .* it (has|reads) [\[(]'table0'"):
        mmf.create_model(name, make_spec(images=0))


@pytest.mark.slow
@every
def test_encoder_without_stages_raises(name: str) -> None:
    """An error names it where the method acts inside; after the last stage any encoder works."""
    spec = make_spec(images=1, size=(160, 160), channels=3)
    if name in INSIDE:
        with pytest.raises(ValueError, match=r"'test_vit' cannot be taken apart .*, so \w+ cannot act inside"):
            mmf.create_model(name, spec, encoder="test_vit", n_stages=2)
    else:
        model = mmf.create_model(name, spec, encoder="test_vit", dim=8).eval()
        assert model(make_inputs(spec, 1)).logits.shape == (1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSIDE)
def test_encoder_of_fewer_stages(name: str) -> None:
    spec = make_spec(images=1)
    given = {"at": (-2,)} if name == "mmtm" else {}
    model = mmf.create_model(name, spec, n_stages=1, dim=8, **given).eval()
    assert model.encoders.backbones["image0"].n_stages == 1
    assert model(make_inputs(spec, 2)).logits.isfinite().all()
    with pytest.raises(ValueError, match="1 to 4 stages"):
        mmf.create_model(name, spec, n_stages=5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["film", "daft", "hyperfusion", "mmtm"])
def test_points_are_configurable(name: str) -> None:
    model = mmf.create_model(name, SPEC, dim=8, at=(1, -1))
    assert model.encoders.fusions[0].points == {1, 4}
    with pytest.raises(ValueError, match=r"is to act at \[9\]; 4 stages have the points"):
        mmf.create_model(name, SPEC, at=(9,))


@pytest.mark.slow
@every
def test_options_reach_loss(name: str) -> None:
    model = mmf.create_model(
        name, SPEC, dim=8, label_smoothing=0.1, terms={"nce": {"term": "sample_anchor", "weight": 0.5}}
    )
    loss = create_loss(model)
    assert loss.label_smoothing == 0.1
    losses = loss(loss_inputs(model(make_inputs(SPEC, N)), make_labels(SPEC, N)))
    assert set(losses) == {"label", "nce"}


@pytest.mark.slow
@every
def test_table_of_missing_cells_has_finite_gradients(name: str) -> None:
    model = mmf.create_model(name, SPEC, dim=8).train()
    nothing = Table(torch.full((N, 2), float("nan")), torch.full((N, 2), -1))
    output = model(make_inputs(SPEC, N) | {"table0": nothing})
    sum(create_loss(model)(loss_inputs(output, make_labels(SPEC, N))).values()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.slow
@every
def test_half_precision_step_is_finite(name: str) -> None:
    """Under autocast, with missing cells and a missing table: finite, and close to full precision."""
    model, inputs = mmf.create_model(name, SPEC, dim=8, dropout=0.0).train(), make_inputs(SPEC, 8, missing_cells=True)
    present = {"table0": torch.arange(8) % 3 > 0}
    with torch.autocast("cpu", torch.bfloat16):
        half = model(inputs, present).logits
    half.float().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    torch.testing.assert_close(half.float(), model(inputs, present).logits, rtol=0.1, atol=0.1)


PLANE: dict[str, Any] = {"size": (32, 32), "channels": 3}
VOLUME: dict[str, Any] = {"size": (16, 16, 8), "channels": 1}
ENCODERS = {
    **dict.fromkeys(("test_resnet", "test_convnext", "tf_efficientnet_lite0"), PLANE),
    **dict.fromkeys(("resnet3d10", "res_mamba"), VOLUME),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        pytest.param(name, encoder, marks=() if name == "film" or (i + j) % 4 == 0 else pytest.mark.exhaustive)
        for i, name in enumerate(EVERY)
        for j, encoder in enumerate(ENCODERS)
    ],
)
def test_trains_with_other_encoders(name: str, encoder: str) -> None:
    spec = make_spec(images=2, **ENCODERS[encoder])
    model = mmf.create_model(name, spec, encoder=encoder, dim=8).train()
    inputs = make_inputs(spec, 3, missing_cells=True)
    output = model(inputs, {"image1": torch.tensor([True, False, True])})
    sum(create_loss(model)(loss_inputs(output, make_labels(spec, 3))).values()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("columns", [TABLE, Columns(("x",)), Columns(categorical=(("y", 7), ("z", 2)))])
def test_mean_square_of_context(columns: Columns) -> None:
    """Of standardized numbers and one-hot categories, nearly all of them present."""
    n = 20_000
    categorical = [torch.randint(0, k, (n,)) for k in columns.cardinalities]
    table = Table(
        torch.randn(n, len(columns.numerical)),
        torch.stack(categorical, 1) if categorical else torch.zeros(n, 0, dtype=torch.int64),
    )
    (cells,) = TableCells(columns)(table)
    assert float(cells.x.square().mean()) == pytest.approx(Context({"t": TableCells(columns)}).mean_square, rel=0.03)
