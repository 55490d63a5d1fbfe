"""Training in two phases, the first of which calls something else in the model's place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from helpers.marks import EXHAUSTIVE
from mmfusion.experiments import assembly, devices, folder, run
from mmfusion.training import checkpoints
from mmfusion.training.reporter import Silent
from mmfusion.training.result_files import read_json

Start = Callable[..., Path]
TWO = {"model": {"pretrain": True}, "train": {"epochs": 2}}
STEPS = 4  # an epoch: 64 cases, 16 at a time


class Stop(Silent):
    """Presses Ctrl-C after so many steps, counted over all epochs; nothing is a step before the first epoch."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def bar(self, text: str, total: int | None) -> Iterator[Any]:
        yield self if text.startswith("epoch") else type("Bar", (), {"at": lambda self, done, total: None})()

    def advance(self, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def tensors(out: Path) -> dict[str, torch.Tensor]:
    files = (checkpoints.BEST, checkpoints.LAST)
    return {f"{file}:{name}": x for file in files for name, x in checkpoints.load(out / file)[0].items()}


@pytest.mark.slow
def test_phases_use_their_model_and_objective(start: Start, fakes: ModuleType, monkeypatch: Any) -> None:
    """The first phase hides cells of the model in training mode, the second does not, and validation never."""
    called: list[tuple[str, bool]] = []
    for kind in (fakes.Hiding, fakes.Tiny):

        def noted(self: Any, *arguments: Any, forward: Any = kind.forward) -> Any:
            called.append((type(self).__name__, self.training))
            return forward(self, *arguments)

        monkeypatch.setattr(kind, "forward", noted)
    history = read_json(start(overrides=TWO) / folder.HISTORY)
    assert [(entry["phase"], set(entry["losses"]), bool(entry["validation"])) for entry in history] == [
        ("pretrain", {"guess"}, False),
        ("pretrain", {"guess"}, False),
        ("train", {"ce", "penalty"}, True),
        ("train", {"ce", "penalty"}, True),
    ]
    assert called[: 4 * STEPS] == [("Hiding", True), ("Tiny", True)] * (2 * STEPS)
    assert ("Hiding", True) not in called[4 * STEPS :]
    assert ("Hiding", False) not in called
    assert called[4 * STEPS : 5 * STEPS] == [("Tiny", True)] * STEPS


@pytest.mark.slow
def test_first_phase_changes_outcome(start: Start) -> None:
    """Its weights enter the second phase: the loss of masked cells falls, and the outcome differs."""
    two = start("two", TWO)
    one = start("one", {"train": {"epochs": 2}})
    losses = [entry["losses"].get("guess") for entry in read_json(two / folder.HISTORY)]
    assert losses[1] < losses[0]
    assert (two / folder.PREDICTIONS).read_bytes() != (one / folder.PREDICTIONS).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "precision"),
    [
        pytest.param(STEPS - 1, "no", id="before anything is kept", marks=EXHAUSTIVE),
        pytest.param(STEPS + 2, "no", id="within the first phase", marks=EXHAUSTIVE),
        pytest.param(2 * STEPS, "no", id="after the last step of the first phase"),
        pytest.param(2 * STEPS + 1, "no", id="in the first epoch of the second phase"),
        pytest.param(2 * STEPS + 1, "bf16", id="there, with mixed precision", marks=EXHAUSTIVE),
        pytest.param(3 * STEPS + 2, "no", id="within the second phase", marks=EXHAUSTIVE),
    ],
)
def test_resumed_run_in_either_phase_matches_uninterrupted(
    start: Start, tmp_path: Path, after: int, precision: str
) -> None:
    """Every tensor of both checkpoints, bit for bit: weights, objective state, optimizer."""
    overrides = TWO | {"run": {"precision": precision}}
    whole = start("whole", overrides)
    with pytest.raises(run.Interrupted):
        start("cut", overrides, reporter=Stop(after))
    run.resume(tmp_path / "cut")
    assert (tmp_path / "cut" / folder.PREDICTIONS).read_bytes() == (whole / folder.PREDICTIONS).read_bytes()
    found, expected = tensors(tmp_path / "cut"), tensors(whole)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_scaled_loss_gradients_match_float32_in_both_phases(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """With clipping, as fp16 has it: the gradients are divided by the scale once in each phase."""
    norms: list[float] = []
    optimizers: list[int] = []
    clip, build = torch.nn.utils.clip_grad_norm_, assembly.accelerator
    scaler: torch.amp.GradScaler | None = None

    def accelerator(*arguments: Any) -> Any:
        made = build(*arguments)
        made.scaler = scaler
        made_accelerators.append(made)
        return made

    def noted(*arguments: Any, **options: Any) -> torch.Tensor:
        total = clip(*arguments, **options)
        norms.append(total.item())
        optimizers.append(len(made_accelerators[-1]._optimizers))
        return total

    made_accelerators: list[Any] = []
    monkeypatch.setattr(assembly, "accelerator", accelerator)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    overrides = TWO | {
        "run": {"robustness": False, "references": False},
        "train": {"epochs": 2, "clip_norm": 0.05, "resamples": 2},
    }
    plain = tensors(start("plain", overrides))
    expected = norms.copy()
    norms.clear()
    scaler = torch.amp.GradScaler("cpu")
    scaled = tensors(start("scaled", overrides))
    assert len(expected) == 4 * STEPS
    assert min(expected) > 0.05  # every step is clipped
    assert norms == pytest.approx(expected, rel=1e-4)
    assert set(optimizers) == {1}  # the first phase's is released
    for name, x in plain.items():
        torch.testing.assert_close(scaled[name], x, rtol=1e-3, atol=1e-5)


def test_accelerate_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is compiled and no loss divided unasked; another device is an error."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    cpu = torch.device("cpu")
    accelerator = devices.accelerator("no", cpu)
    assert accelerator.mixed_precision == "no"
    model = torch.nn.Linear(2, 2)
    assert accelerator.prepare_model(model, evaluation_mode=True) is model
    accelerator.backward(model.weight.sum())
    assert torch.equal(model.weight.grad, torch.ones(2, 2))
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")
    with pytest.raises(
        ValueError, match=r"the run uses cpu, but accelerate is configured for meta: unset ACCELERATE_TORCH_DEVICE"
    ):
        devices.accelerator("no", cpu)
