"""A training step on the GPU against the same step on the CPU."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.small import loss_inputs, make_inputs, make_labels, make_spec
from mmfusion.models import FusionModel
from mmfusion.tokens import Table
from mmfusion.training.arithmetic import arithmetic

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
N = 12
SPEC = make_spec(images=2, size=(32, 32), channels=3)


def build() -> FusionModel:
    """Without dropout, whose random numbers are the device's own."""
    torch.manual_seed(0)
    return mmf.create_model("cfcml", SPEC, dropout=0.0)


def step(model: FusionModel, device: str, dtype: torch.dtype | None, present: dict[str, Tensor]) -> dict[str, Any]:
    """Forward, losses, backward, in autocast if a dtype is given; everything back on the CPU in float64."""
    model = copy.deepcopy(model).to(device)
    inputs = {
        name: Table(*(part.to(device) for part in value)) if isinstance(value, Table) else value.to(device)
        for name, value in make_inputs(SPEC, N, missing_cells=True).items()
    }
    there = {name: row.to(device) for name, row in present.items()}
    labels = {name: value.to(device) for name, value in make_labels(SPEC, N).items()}
    with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        output = model(inputs, there)
        given = loss_inputs(output, labels, there)
        losses = mmf.create_loss(model)(given)
    model.check(inputs, there)
    mmf.create_loss(model).check(given)
    # float16 gradients would underflow without a scale, as a GradScaler gives.
    scale = 1024.0
    (scale * sum(losses.values())).backward()
    return {
        "logits": output.logits.detach().double().cpu(),
        "losses": {name: value.item() for name, value in losses.items()},
        "gradient": torch.cat([p.grad.flatten().double().cpu() / scale for p in model.parameters()]),
    }


@pytest.fixture(autouse=True)
def _exact_products() -> Any:
    with arithmetic(torch.device("cuda")):
        yield


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance", "gradient"),
    [
        # Logits and losses over their largest entry; gradients by the length of the difference over the length.
        pytest.param(None, 1e-4, 1e-3, id="float32"),
        pytest.param(torch.bfloat16, 5e-2, 0.2, id="bfloat16"),
        pytest.param(torch.float16, 1e-2, 0.05, id="float16"),
    ],
)
def test_training_step_on_gpu_matches_cpu(
    dtype: torch.dtype | None, tolerance: float, gradient: float, missing: bool
) -> None:
    """The same numbers as the CPU in float32, within what the format rounds."""
    present = {"image1": torch.arange(N) % 3 != 0, "table0": torch.arange(N) % 4 != 0} if missing else {}
    model = build()
    here, there = step(model, "cpu", None, present), step(model, "cuda", dtype, present)
    assert (there["logits"] - here["logits"]).abs().max() < tolerance * here["logits"].abs().max()
    for name, value in here["losses"].items():
        assert there["losses"][name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
    assert bool(there["gradient"].isfinite().all())
    assert (there["gradient"] - here["gradient"]).norm() < gradient * here["gradient"].norm()


def test_values_are_checked_only_by_check() -> None:
    """A step does not stop the device for them; ``check`` does."""
    model = build().cuda()
    inputs: dict[str, Any] = {
        name: Table(*(part.cuda() for part in value)) if isinstance(value, Table) else value.cuda()
        for name, value in make_inputs(SPEC, N).items()
    }
    inputs["image0"][3] = float("nan")
    assert bool(model(inputs).logits[3].isnan().any())
    with pytest.raises(ValueError, match="'image0' has a pixel that is NaN or infinite in 1 of 12 cases"):
        model.check(inputs)
