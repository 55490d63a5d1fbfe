import pytest
import torch

import mmfusion as mmf
from helpers.small import make_inputs, make_labels, make_spec
from mmfusion.models import create_loss
from mmfusion.tokens import LossInputs

SPEC = make_spec()


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (-1.0, "confidence expects float from 0 to 1000000, got -1.0"),
        (float("inf"), "confidence expects float from 0 to 1000000, got inf"),
        (0.0, r"leave a modality without a feature: {'image0': 0, 'table0': 8}"),
        (20.0, r"without a feature: {'image0': 8, 'table0': 0}.*larger dim"),
    ],
)
def test_invalid_confidence_raises(confidence: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mmf.create_model("amf", SPEC, dim=8, confidence=confidence)


@pytest.mark.slow
def test_model_matches_diagram() -> None:
    """Embedding, ReLU, linear, each modality's own part, head."""
    model, inputs = mmf.create_model("amf", SPEC, dim=8, confidence=3.0).eval(), make_inputs(SPEC, 4)
    output = model(inputs)
    last = model.encoders.backbones["image0"](inputs["image0"])[-1]
    image = model.tokenizers["image0"].project(last.mean((2, 3)))
    table = model.tokenizers["table0"](inputs["table0"])[0].x[:, 0]
    projected = {name: model.layers[0].project[name][1](x.relu()) for name, x in (("image0", image), ("table0", table))}
    for name, x in projected.items():
        torch.testing.assert_close(output.embeddings[name], x)
    fused = torch.cat([projected["image0"][:, :6], projected["table0"][:, 6:]], 1)
    head = model.head
    torch.testing.assert_close(output.logits, head.outputs["label"](head.shared(fused)))


@pytest.mark.slow
def test_losses_and_weights() -> None:
    model, inputs, labels = mmf.create_model("amf", SPEC, dim=8), make_inputs(SPEC, 4), make_labels(SPEC, 4)
    output = model(inputs)
    losses = create_loss(model)(LossInputs(output.outputs, output.embeddings, labels, {}, {}))
    assert list(losses) == ["label", "density", "leakage"]
    image, table = output.embeddings["image0"].abs(), output.embeddings["table0"].abs()
    density = (image[:, :4].mean(1) - table[:, 4:].mean(1)).abs().mean()
    leakage = (image[:, 4:].mean(1) + table[:, :4].mean(1)).mean() / 2
    torch.testing.assert_close(losses["density"], 5 * density)
    torch.testing.assert_close(losses["leakage"], 5 * leakage)
    off = mmf.create_model("amf", SPEC, dim=8, density_weight=0, leakage_weight=0)
    assert create_loss(off).bank is None


@pytest.mark.slow
def test_training_reduces_leakage() -> None:
    model, inputs, labels = mmf.create_model("amf", SPEC, dim=8), make_inputs(SPEC, 6), make_labels(SPEC, 6)
    loss = create_loss(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    leaked = []
    for _ in range(25):
        output = model(inputs)
        losses = loss(LossInputs(output.outputs, output.embeddings, labels, {}, {}))
        leaked.append(losses["leakage"].item())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert leaked[-1] < 0.5 * leaked[0]
