"""MBT, MulT, HEALNet and RoVTL's gated queries: how each is put together, and what is peculiar to it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.small import TABLE, make_inputs, make_spec
from mmfusion.fusion.tokens import Directional
from mmfusion.heads import MLPHead
from mmfusion.tokens import Table, Tokens

N = 4
SPEC = make_spec(images=2)
SMALL: dict[str, Any] = {"dim": 16, "n_heads": 2, "hidden": ()}


def made(name: str, **options: Any) -> tuple[mmf.FusionModel, dict[str, Any], dict[str, Tokens]]:
    torch.manual_seed(0)
    model, inputs = mmf.create_model(name, SPEC, **SMALL | options).eval(), make_inputs(SPEC, N, missing_cells=True)
    return model, inputs, model.tokenize(inputs)[-1]


@pytest.mark.slow
def test_mbt_matches_reference() -> None:
    model, inputs, tokens = made("mbt", out_norm=True)
    assert {name: one.x.shape[1] for name, one in tokens.items()} == {"image0": 2, "image1": 2, "table0": 5}
    firsts = [one.x[:, 0] for one in model.layers[0](tokens).values()]
    classify = mbt_classifier(model)
    torch.testing.assert_close(model(inputs).logits, torch.stack([classify(x) for x in firsts]).mean(0))


@pytest.mark.slow
def test_mbt_and_mult_have_no_final_norm_by_default() -> None:
    model, inputs, tokens = made("mbt")
    linear = model.head.outputs["label"]
    firsts = [one.x[:, 0] for one in model.layers[0](tokens).values()]
    expected = torch.stack([x @ linear.weight.T + linear.bias for x in firsts]).mean(0)
    torch.testing.assert_close(model(inputs).logits, expected)
    model, inputs, tokens = made("mult", depth=2, self_depth=2)
    for layer in model.layers:
        tokens = layer(tokens)
    means = torch.cat([one.x.mean(1) for one in tokens.values()], 1)
    assert not [key for key in model.state_dict() if "out_norms" in key]
    torch.testing.assert_close(model(inputs).logits, model.head.outputs["label"](means))


def mbt_classifier(model: mmf.FusionModel) -> Callable[[Tensor], Tensor]:
    """One normalisation and one linear map for all modalities; the scale and shift are set, so that they count."""
    read = model.head
    assert isinstance(read, MLPHead)
    with torch.no_grad():
        read.shared[0].weight.copy_(torch.linspace(-1, 2, 16))
        read.shared[0].bias.copy_(torch.linspace(0.5, -0.5, 16))

    def classify(x: Tensor) -> Tensor:
        linear = read.outputs["label"]
        return normed(x, read.shared[0]) @ linear.weight.T + linear.bias

    return classify


@pytest.mark.slow
def test_mbt_averages_present_modalities() -> None:
    model, inputs, _ = made("mbt", out_norm=True)
    present = {"image1": torch.tensor([True, True, False, True])}
    classify = mbt_classifier(model)
    output = model(inputs, present)
    own = [classify(output.embeddings[name][2]) for name in ("image0", "table0")]
    torch.testing.assert_close(output.logits[2], (own[0] + own[1]) / 2)


@pytest.mark.slow
def test_mult_matches_reference() -> None:
    """Each crossmodal transformer ends in a norm, and so does the last of a modality's own, no other."""
    model, inputs, tokens = made("mult", depth=2, self_depth=2, out_norm=True)
    crossmodal, first, last = model.layers
    norms = [*(norm for one in crossmodal.out_norms.values() for norm in one.values()), *last.out_norms.values()]
    assert [norm.weight.numel() for norm in norms] == 6 * [16] + 3 * [32]
    assert first.out_norms is None
    with torch.no_grad():
        for i, norm in enumerate(norms):
            norm.weight.copy_(torch.linspace(-1, 2 + i, len(norm.weight)))
            norm.bias.copy_(torch.linspace(0.5, -i, len(norm.bias)))
    bare = Directional(SPEC.names, dim=16, depth=2, n_heads=2, expansion=4)
    bare.load_state_dict({key: x for key, x in crossmodal.state_dict().items() if not key.startswith("out_norms")})
    pairs = {name: one.x.unflatten(-1, (2, 16)) for name, one in bare(tokens).items()}
    sides = {
        target: torch.cat([normed(x[:, :, i], norm) for i, norm in enumerate(crossmodal.out_norms[target].values())], 2)
        for target, x in pairs.items()
    }
    embeddings = []
    for name, x in sides.items():
        x = last.blocks[name](first.blocks[name](Tokens(x, tokens[name].mask))).x
        embeddings.append(normed(x, last.out_norms[name]).mean(1))
    assert [x.shape[1] for x in embeddings] == [32] * 3  # two sources each
    torch.testing.assert_close(model(inputs).logits, model.head.outputs["label"](torch.cat(embeddings, 1)))


def normed(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (
        x.var(-1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt() * norm.weight + norm.bias


@pytest.mark.slow
def test_mult_of_one_modality_is_transformer() -> None:
    spec = SPEC.only("table0")
    model = mmf.create_model("mult", spec, **SMALL).eval()
    assert model.layers[0].dim_out == 16
    assert model(make_inputs(spec, N)).logits.shape == (N, 3)


@pytest.mark.slow
def test_healnet_prediction_is_from_mean_latent() -> None:
    model, inputs, tokens = made("healnet", n_latents=5)
    latents = model.layers[0](tokens)["latents"].x
    assert latents.shape == (N, 5, 16)
    output = model(inputs)
    torch.testing.assert_close(output.aux["latents"], latents.mean(1))
    read = torch.nn.functional.layer_norm(latents.mean(1), (16,))
    torch.testing.assert_close(output.logits, model.head.outputs["label"](read))
    torch.testing.assert_close(output.embeddings["image0"], tokens["image0"].x.mean(1))


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["image0", "table0"])
def test_healnet_skips_missing_modality(missing: str) -> None:
    """The same numbers as a model of the other modalities with the same weights."""
    model, inputs, _ = made("healnet", shared_encoder=False)
    rest = SPEC.only(*(name for name in SPEC.names if name != missing))
    other = mmf.create_model("healnet", rest, **SMALL, shared_encoder=False).eval()
    weights = {key: value for key, value in model.state_dict().items() if missing not in key}
    other.load_state_dict(weights)
    output = model(inputs, {missing: torch.zeros(N, dtype=torch.bool)})
    expected = other({name: inputs[name] for name in rest.names})
    torch.testing.assert_close(output.logits, expected.logits)


@pytest.mark.slow
def test_healnet_share_layers() -> None:
    own, shared = (made("healnet", share_layers=share)[0] for share in (False, True))
    assert (len(own.layers[0].layers), len(shared.layers[0].layers)) == (3, 1)


@pytest.mark.slow
def test_gated_query_matches_reference() -> None:
    model, inputs, tokens = made("gated_query")
    assert tokens["table0"].mask.tolist()[0] == [True, False, False, False, False]  # a case without a known cell
    out = model.layers[0](tokens)
    means = torch.cat([out[name].x.mean(1) for name in ("image0", "image1")], 1)
    torch.testing.assert_close(model(inputs).logits, model.head.outputs["label"](means))
    torch.testing.assert_close(model(inputs).embeddings["table0"], tokens["table0"].x[:, 0])


@pytest.mark.slow
def test_gated_query_without_known_cells_uses_images_only() -> None:
    """A missing table and one without a known cell give the same bits: those of a gate of 0."""
    model, inputs, _ = made("gated_query")
    nothing = Table(torch.full((N, 2), torch.nan), torch.full((N, 2), -1))
    empty = model(inputs | {"table0": nothing}).logits
    missing = model(inputs, {"table0": torch.zeros(N, dtype=torch.bool)}).logits
    assert torch.equal(empty, missing)
    assert not torch.equal(empty[1:], model(inputs).logits[1:])
    for layers in model.layers[0].asking.values():
        for layer in layers:
            layer.gate = torch.nn.ModuleDict({"table0": _Shut()})
    torch.testing.assert_close(model(inputs).logits, missing)


class _Shut(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 1, 1)


@pytest.mark.slow
def test_gated_query_masks_missing_cells() -> None:
    """The token of a missing cell has no effect on the other tokens."""
    model, inputs, tokens = made("gated_query")
    cells = model.tokenizers["table0"].cells
    with torch.no_grad():
        cells.bias[0] += 100  # the first column's own vector
    changed = model.tokenizers["table0"](inputs["table0"])[0]
    unknown = inputs["table0"].numerical[:, 0].isnan()
    assert bool(unknown.any())
    assert torch.equal(changed.filled()[unknown], tokens["table0"].filled()[unknown])


@pytest.mark.parametrize(
    ("name", "names", "options", "message"),
    [
        ("gated_query", ("image0",), {}, r"'gated_query': it needs an image modality and a table, the spec has"),
        ("gated_query", ("table0",), {}, r"'gated_query': it needs an image modality and a table, the spec has"),
        ("gated_query", SPEC.names, {"table_depth": 0}, "table_depth expects int from 1 to 128, got 0"),
        ("tip", SPEC.names, {"table_depth": 0}, "table_depth expects int from 1 to 128, got 0"),
        ("tip", ("table0",), {}, "'tip': it needs an image modality and exactly one table"),
        ("tip", ("image0", "image1"), {}, "'tip': it needs an image modality and exactly one table"),
        ("mbt", SPEC.names, {"fusion_layer": 4}, "fusion_layer must be one of the layers 0 to 3, got 4"),
        ("healnet", SPEC.names, {"n_latents": 0}, "n_latents expects int from 1 to 4096, got 0"),
        ("mult", SPEC.names, {"depth": 0}, "depth expects int from 1 to 128, got 0"),
    ],
)
def test_invalid_spec_or_options_raise(
    name: str, names: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mmf.create_model(name, SPEC.only(*names), **SMALL | options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mbt", "mult", "healnet"])
@pytest.mark.parametrize("names", [("image0",), ("table0",), ("image0", "image1"), ("table0", "table1")])
def test_works_with_images_or_tables_only(name: str, names: tuple[str, ...]) -> None:
    spec = make_spec(images=2, tables=2).only(*names)
    model = mmf.create_model(name, spec, **SMALL)
    output = model(make_inputs(spec, N, missing_cells=True))
    assert output.logits.shape == (N, 3)
    output.logits.sum().backward()


@pytest.mark.slow
def test_gated_query_with_two_tables() -> None:
    spec = mmf.DataSpec({"photo": mmf.Image(2, (16, 16)), "a": TABLE, "b": TABLE}, n_classes=3)
    model = mmf.create_model("gated_query", spec, **SMALL)
    photo = torch.rand(N, 2, 16, 16)
    tables = make_inputs(make_spec(images=0, tables=2), N)
    assert model({"photo": photo, "a": tables["table0"], "b": tables["table1"]}).logits.shape == (N, 3)
