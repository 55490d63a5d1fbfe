"""Every registered model as a program of ``torch.export`` and as an ONNX file: any number of cases, presence varied."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE
from helpers.small import make_inputs, make_spec
from mmfusion.models import FusionModel
from mmfusion.models.export import ExportError, to_onnx, to_program
from mmfusion.models.pretrained import from_pretrained, save_pretrained
from mmfusion.spec import DataSpec
from mmfusion.tokens import Inputs, Present, Table

LAYOUTS: dict[str, dict[str, Any]] = {
    "two_images": {"images": 2, "size": (16, 16)},
    "volume": {"images": 1, "size": (8, 8, 8)},
}
USUAL = {("concat", "two_images")}


def cases(usual: set[tuple[str, str]]) -> list[Any]:
    return [
        pytest.param(name, layout, marks=pytest.mark.slow if (name, layout) in usual else EXHAUSTIVE)
        for layout in LAYOUTS
        for name in mmf.registry.models.list()
    ]


@cache
def model_of(name: str, layout: str) -> tuple[DataSpec, FusionModel]:
    spec = make_spec(**LAYOUTS[layout])
    torch.manual_seed(0)
    return spec, mmf.create_model(name, spec).eval()


def batch(spec: DataSpec, names: tuple[str, ...], n: int) -> tuple[Inputs, Present]:
    """Cases with missing cells and modalities; each has one modality at least."""
    inputs = make_inputs(spec, n, seed=n, missing_cells=True)
    present = {name: torch.arange(n) % len(names) != i for i, name in enumerate(names)}
    if len(names) == 1:
        present = {names[0]: torch.ones(n, dtype=torch.bool)}
    return {name: inputs[name] for name in names}, present


def flat(inputs: Inputs, present: Present) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, content in inputs.items():
        if isinstance(content, Table):
            tensors |= {f"{name}.numerical": content.numerical, f"{name}.categorical": content.categorical}
        else:
            tensors[name] = content
        tensors[f"{name}.present"] = present[name]
    return tensors


@pytest.mark.parametrize(("name", "layout"), cases(USUAL))
def test_exported_program_matches_model(name: str, layout: str) -> None:
    """One program gives the model's outputs, for 1, 2 and 7 cases."""
    spec, model = model_of(name, layout)
    program = to_program(model, spec).module()
    for n in (1, 2, 7):
        inputs, present = batch(spec, model.names, n)
        with torch.no_grad():
            expected = model(inputs, present).outputs
            found = program(flat(inputs, present))
        assert found.keys() == expected.keys()
        for target in expected:
            torch.testing.assert_close(found[target], expected[target], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "layout"), cases(set()))
def test_onnx_file_matches_model(name: str, layout: str, tmp_path: Path) -> None:
    """One ONNX file, in onnxruntime; the tests of the exported script have one in every run."""
    runtime = pytest.importorskip("onnxruntime")
    spec, model = model_of(name, layout)
    to_onnx(to_program(model, spec), tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    for n in (1, 2, 7):
        inputs, present = batch(spec, model.names, n)
        tensors = {key: value.numpy() for key, value in flat(inputs, present).items()}
        with torch.no_grad():
            expected = model(inputs, present).outputs
        found = session.run(list(expected), {given.name: tensors[given.name] for given in session.get_inputs()})
        for array, (target, value) in zip(found, expected.items(), strict=True):
            np.testing.assert_allclose(array, value.numpy(), rtol=0, atol=1e-5, err_msg=target)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_unsupported_onnx_operator_raises(tmp_path: Path) -> None:
    """The error names the operator and the part of the model; the program itself can be exported."""
    pytest.importorskip("onnxscript")
    spec = make_spec(images=0)
    model = mmf.create_model(mmf.Blueprint(tokenizer={"table": "piecewise_linear"}), spec)
    message = r"aten\.view\.dtype of its part tokenizers\.table0 \(PiecewiseLinearTokenizer\) cannot be converted"
    with pytest.raises(ExportError, match=message) as caught:
        to_onnx(to_program(model, spec), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("cfcml", "tip") else EXHAUSTIVE)
        for name in mmf.registry.models.list()
    ],
)
def test_exported_folder_round_trip(name: str, tmp_path: Path) -> None:
    """The blueprint, the spec and every weight; other weights than the initial ones."""
    spec, model = model_of(name, "two_images")
    save_pretrained(model, tmp_path)
    torch.manual_seed(1)
    again = from_pretrained(tmp_path)
    assert again.blueprint == model.blueprint
    assert again.spec == spec
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())
    inputs, present = batch(spec, model.names, 2)
    with torch.no_grad():
        assert torch.equal(again(inputs, present).logits, model(inputs, present).logits)
