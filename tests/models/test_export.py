"""The names of an exported model's tensors, and the error of a part that cannot be exported."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE
from helpers.small import TABLE, make_inputs, make_spec
from mmfusion.models.export import ExportError, tensor_names, to_onnx, to_program
from mmfusion.tokens import Bag, Content, Table

SPEC = make_spec(images=1, size=(8, 8))


def test_tensor_names_follow_spec() -> None:
    """Modalities in the order of the spec, only those that the model reads."""
    model = mmf.create_model("concat", SPEC)
    assert tensor_names(model, SPEC) == (
        "image0", "image0.present", "table0.numerical", "table0.categorical", "table0.present",
    )  # fmt: skip
    assert tensor_names(mmf.create_model("image", SPEC), SPEC) == ("image0", "image0.present")


class Reading(nn.Module):
    """A head that reads a value back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(256, 3)

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"label": self.linear(x) if x.sum() > 0 else -self.linear(x)}


@pytest.mark.slow
def test_unexportable_part_raises_with_its_name() -> None:
    """The innermost part and the reason, in one line; the model stays in its mode."""
    model = mmf.create_model("concat", SPEC)
    model.head = Reading()
    model.train()
    with pytest.raises(ExportError, match=r"its part head \(Reading\) raises GuardOnDataDependentSymNode") as caught:
        to_program(model, SPEC)
    assert "\n" not in str(caught.value)
    assert model.training
    assert model.head.training


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "mmtm" else EXHAUSTIVE) for n in mmf.list_models()]
)
def test_bags_of_any_size(name: str, tmp_path: Path) -> None:
    """One program and one ONNX file for any number of cases and of images up to the limit."""
    runtime = pytest.importorskip("onnxruntime")
    images = {"image0": mmf.Image(2, (16, 16), bag=4), "image1": mmf.Image(2, (16, 16))}
    spec = mmf.DataSpec({**images, "table0": TABLE}, n_classes=3)
    torch.manual_seed(0)
    model = mmf.create_model(name, spec).eval()
    program = to_program(model, spec)
    to_onnx(program, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    for n, k in ((1, 1), (2, 4), (5, 3)):
        x, generator = torch.rand(n, k, 2, 16, 16), torch.Generator().manual_seed(n)
        mask = torch.rand(n, k, generator=generator) < 0.6
        x[~mask] = torch.nan
        bag: dict[str, Content] = {"image0": Bag(x, mask)}
        inputs = {**make_inputs(spec.only("image1", "table0"), n), **bag}
        inputs = {other: content for other, content in inputs.items() if other in model.names}
        present = {other: torch.rand(n, generator=generator) < 0.7 for other in model.names}
        with torch.no_grad():
            expected = model(inputs, present).logits
        table = inputs.get("table0")
        tensors = {"image0": x, "image0.mask": mask, "image1": inputs.get("image1")}
        tensors |= {f"{other}.present": row for other, row in present.items()}
        if isinstance(table, Table):
            tensors |= {"table0.numerical": table.numerical, "table0.categorical": table.categorical}
        given = {other: tensors[other] for other in tensor_names(model, spec)}
        with torch.no_grad():
            torch.testing.assert_close(program.module()(given)["label"], expected, rtol=0, atol=1e-5)
        arrays = {entry.name: given[entry.name].numpy() for entry in session.get_inputs()}
        np.testing.assert_allclose(session.run(None, arrays)[0], expected.numpy(), rtol=0, atol=1e-5)
