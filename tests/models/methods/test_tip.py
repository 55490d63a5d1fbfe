from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.training.phases import phases_of

N = 8
SPEC = make_spec(images=2)
SMALL: dict[str, Any] = {
    "dim": 16, "n_heads": 2, "hidden": (), "projection": 6, "table_depth": 2, "joint_depth": 1
}  # fmt: skip


def made(**options: Any) -> mmf.FusionModel:
    torch.manual_seed(0)
    return mmf.create_model("tip", SPEC, **SMALL | options).eval()


@pytest.mark.slow
def test_prediction_is_mean_of_classifiers() -> None:
    """Of each image, of the table's [CLS], and of the [CLS] that attended to the images."""
    model, inputs = made(), make_inputs(SPEC, N, missing_cells=True)
    tokens = model.tokenize(inputs)[-1]
    joint = model.layers[0](tokens)["joint"].x[:, 0]
    read = {"image0": tokens["image0"].x.mean(1), "image1": tokens["image1"].x.mean(1)}
    read |= {"table0": tokens["table0"].x[:, 0], "joint": joint}
    each = [model.head[name].outputs["label"](x) for name, x in read.items()]
    output = model(inputs)
    torch.testing.assert_close(output.logits, torch.stack(each).mean(0))
    torch.testing.assert_close(output.aux["joint"], joint)


@pytest.mark.slow
def test_without_table_prediction_is_mean_of_images() -> None:
    model, inputs = made(), make_inputs(SPEC, N)
    output = model(inputs, {"table0": torch.zeros(N, dtype=torch.bool)})
    each = [model.head[name].outputs["label"](output.embeddings[name]) for name in ("image0", "image1")]
    torch.testing.assert_close(output.logits, (each[0] + each[1]) / 2)
    assert not bool(output.aux["joint"].any())


@pytest.mark.slow
def test_pretraining_adds_a_phase() -> None:
    """Pretraining is optional; the model itself is the same with it."""
    assert [phase.name for phase in phases_of(made())] == ["train"]
    pretrained = made(pretrain=True)
    assert [phase.name for phase in phases_of(pretrained)] == ["pretrain", "finetune"]
    assert pretrained.state_dict().keys() == made().state_dict().keys()
