from typing import Any

import pytest
import torch
import torch.nn.functional as F

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.spec import Columns, Image

N = 3
SPEC = make_spec(images=2, size=(32, 24))
SMALL: dict[str, Any] = {"dim": 8, "n_heads": 2, "hidden": (), "window": 3}


def made(spec: mmf.DataSpec = SPEC, **options: Any) -> mmf.FusionModel:
    torch.manual_seed(0)
    return mmf.create_model("tformer", spec, **SMALL | options).eval()


def halved(x: torch.Tensor, stage: int) -> torch.Tensor:
    """Means of 2 by 2 positions of maps of 16 by 12, 8 by 6, 4 by 3 (rows of 1 and 2 overlap); the last stays."""
    grid = [(16, 12), (8, 6), (4, 3), (2, 2)]
    if stage == 3:
        return x
    maps = x.transpose(1, 2).unflatten(2, grid[stage])
    return F.adaptive_avg_pool2d(maps, grid[stage + 1]).flatten(2).transpose(1, 2)


@pytest.mark.slow
def test_prediction_matches_reference() -> None:
    """Stage by stage: its tokens and the fused tokens of the previous stage; then means, and the table's query."""
    model, inputs = made(), make_inputs(SPEC, N)
    stages, part = model.tokenize(inputs), model.pooling
    fused: dict[str, torch.Tensor] = {}
    for s in range(4):
        x = {name: halved(stages[s][name].x, s) for name in ("image0", "image1")}
        if s:
            x = {name: one + part.merges[s - 1][name](fused[name]) for name, one in x.items()}
        for layer in part.stages[s]:
            both = (None, None)
            x = {
                "image0": layer["image0"](x["image0"], [x["image1"]], both),
                "image1": layer["image1"](x["image1"], [x["image0"]], both),
            }
        fused = x
    embeddings = [part.project[name](one.mean(1)) for name, one in fused.items()]
    context = mmf.Tokens(torch.cat(list(fused.values()), 1))
    embeddings.append(part.query["table0"](stages[-1]["table0"].x, context)[:, 0])
    output = model(inputs)
    for found, expected in zip(output.embeddings.values(), embeddings, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(output.logits, model.head.outputs["label"](torch.cat(embeddings, 1)))


@pytest.mark.slow
def test_layers_and_shifted_windows_match_paper() -> None:
    """As many layers a stage as the paper has, every second one of a stage with shifted windows."""
    model = made()
    grids = [(8, 6), (4, 3), (2, 2), (2, 2)]  # each stage at the size of the next one's map
    assert [shape[1:] for shape in model.encoders.map_shapes["image0"]] == [(16, 12), *grids[:3]]
    assert [len(layers) for layers in model.pooling.stages] == [1, 1, 2, 1]
    for layers, grid in zip(model.pooling.stages, grids, strict=True):
        for index, layer in enumerate(layers):
            windows = layer["image0"].windows
            assert torch.equal(windows.place, layer["image1"].windows.place)
            assert len(windows.place) == grid[0] * grid[1]
            assert bool((windows.region > 0).any()) == (index == 1 and max(grid) > 3)


@pytest.mark.slow
def test_invariant_to_image_order() -> None:
    """With the weights permuted alike."""
    turned = mmf.DataSpec({name: SPEC[name] for name in ("image1", "image0", "table0")}, n_classes=3)
    model, other, inputs = made(shared_encoder=False), made(turned, shared_encoder=False), make_inputs(SPEC, N)
    weights = model.state_dict()
    head = weights["head.outputs.label.weight"]
    other.load_state_dict(
        weights | {"head.outputs.label.weight": torch.cat([head[:, 8:16], head[:, :8], head[:, 16:]], 1)}
    )
    torch.testing.assert_close(other(inputs).logits, model(inputs).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_missing_image_has_no_effect() -> None:
    """The other image's embedding is that of the image alone."""
    model, inputs = made(), make_inputs(SPEC, N)
    alone = made(SPEC.only("image0", "table0"))
    alone.load_state_dict(
        {name: x for name, x in model.state_dict().items() if "image1" not in name and "head" not in name}
        | {name: x for name, x in alone.state_dict().items() if "head" in name}
    )
    output = model(inputs, {"image1": torch.zeros(N, dtype=torch.bool)})
    expected = alone({name: inputs[name] for name in ("image0", "table0")})
    for name in ("image0", "table0"):
        torch.testing.assert_close(output.embeddings[name], expected.embeddings[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_works_with_images_only() -> None:
    spec = make_spec(images=3, tables=0, size=(32, 24))
    assert made(spec)(make_inputs(spec, N)).logits.shape == (N, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (make_spec(images=0), {}, r"'tformer': .*it needs an image modality, there are \('table0',\)"),
        (
            mmf.DataSpec({"a": Image(1, (16, 16)), "b": Image(1, (16, 32)), "t": Columns(("x",))}, n_classes=2),
            {},
            "positions of maps of one size for all images; .*resize the images",
        ),
        (SPEC, {"depths": (1, 0, 1, 1)}, r"depths expects .* int from 1 to 128, got \(1, 0, 1, 1\)"),
        (SPEC, {"window": 0}, "window expects int from 1 to 1024, got 0"),
        (SPEC, {"depths": (1, 1, 1, 1, 1)}, "stages"),
        (make_spec(size=(1, 1)), {"encoder": "convnet"}, None),
    ],
)
def test_invalid_spec_or_options_raise(spec: mmf.DataSpec, options: dict[str, Any], message: str | None) -> None:
    if message is None:
        made(spec, **options)
        return
    with pytest.raises(ValueError, match=message):
        made(spec, **options)
