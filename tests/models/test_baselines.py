from typing import Any

import pytest
import torch
from torch import nn

import mmfusion as mmf
from mmfusion.tokens import Table
from small import make_inputs, make_spec

SPEC = make_spec(images=2)
N = 4


@pytest.mark.parametrize(
    ("name", "used"),
    [("image", ("image0", "image1")), ("tabular", ("table0",)), ("concat", ("image0", "image1", "table0"))],
)
def test_which_modalities_count(name: str, used: tuple[str, ...]) -> None:
    """A model takes the whole inputs; what it is not about changes nothing, and may be left out."""
    model, inputs = mmf.create_model(name, SPEC, dim=8).eval(), make_inputs(SPEC, N)
    assert model.names == used
    output = model(inputs)
    assert set(output.embeddings) == set(used)
    assert torch.equal(model({key: inputs[key] for key in used}).logits, output.logits)
    for key, other in make_inputs(SPEC, N, seed=1).items():
        changed = model(inputs | {key: other}).logits
        assert torch.equal(changed, output.logits) == (key not in used)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("image", {"images": 0}, r"'image' needs an image modality, the spec has \('table0',\)"),
        ("tabular", {"tables": 0}, r"'tabular' needs a table modality, the spec has \('image0',\)"),
    ],
)
def test_needs_its_modality(name: str, options: dict[str, int], message: str) -> None:
    mmf.create_model(name, make_spec())
    with pytest.raises(ValueError, match=message):
        mmf.create_model(name, make_spec(**options))


@pytest.mark.parametrize("name", ["image", "concat"])
@pytest.mark.parametrize(("shared", "n_encoders"), [(True, 1), (False, 2)])
def test_encoders(name: str, shared: bool, n_encoders: int) -> None:
    model = mmf.create_model(name, SPEC, dim=8, shared_encoder=shared)
    assert len(model.encoders) == n_encoders


def test_image_is_pool_and_mlp() -> None:
    """Mean over the last map's positions, a projection, the head."""
    spec = make_spec()
    model, inputs = mmf.create_model("image", spec, dim=8, hidden=(5,)).eval(), make_inputs(spec, N)
    last = model.encoders["image0"](inputs["image0"])[-1]
    embedding = model.tokenizers["image0"].project(last.mean((2, 3)))
    torch.testing.assert_close(model(inputs).logits, model.head({"image0": embedding})["label"])


def test_tabular_is_ft_transformer() -> None:
    """A [CLS] token before the columns', blocks, and the [CLS] read out."""
    spec = make_spec(images=0)
    model, inputs = mmf.create_model("tabular", spec, dim=8, depth=2).eval(), make_inputs(spec, N, missing_cells=True)
    (tokens,) = model.tokenizers["table0"](inputs["table0"])
    assert tokens.x.shape == (N, 5, 8)
    for layer in model.layers:
        tokens = layer.blocks["table0"](tokens)
    torch.testing.assert_close(model(inputs).logits, model.head({"table0": tokens.x[:, 0]})["label"])
    assert isinstance(model.head.shared, nn.Sequential)
    assert len(model.head.shared) == 0


def test_tabular_tells_its_columns_apart() -> None:
    spec = make_spec(images=0)
    model = mmf.create_model("tabular", spec, dim=8).eval()
    none = torch.zeros(1, 2).long()
    one = model({"table0": Table(torch.tensor([[1.0, 0.0]]), none)}).logits
    other = model({"table0": Table(torch.tensor([[0.0, 1.0]]), none)}).logits
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("name", ["image", "concat"])
def test_an_encoder_of_fewer_stages_will_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last map is asked for."""
    asked: list[Any] = []
    from mmfusion.models import parts

    made = parts.create_backbone

    def create(encoder: str, image: Any, **options: Any) -> Any:
        asked.append(options["n_stages"])
        return made(encoder, image, **options)

    monkeypatch.setattr(parts, "create_backbone", create)
    mmf.create_model(name, SPEC)
    assert asked == [1]


def test_label_smoothing_reaches_the_loss() -> None:
    for name in ("image", "tabular", "concat"):
        assert mmf.create_model(name, SPEC, label_smoothing=0.1).phases()[0].objective.label_smoothing == 0.1
