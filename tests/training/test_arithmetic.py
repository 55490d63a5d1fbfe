"""Float32 means float32, TF32 is a choice, and what the caller had set comes back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import mmfusion as mmf
from mmfusion.experiments import devices, predictor, run
from mmfusion.training import arithmetic as module
from mmfusion.training import seeds
from mmfusion.training.arithmetic import arithmetic, check, in_use

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # the switches can be set without a GPU
NEWER = hasattr(torch.backends.cuda.matmul, "fp32_precision")
needs_newer = pytest.mark.skipif(not NEWER, reason="torch has fp32_precision from 2.9 on")


def older() -> list[Any]:
    """What the older switches say, or that they are refused."""
    found: list[Any] = []
    for read in (
        torch.get_float32_matmul_precision,
        lambda: torch.backends.cuda.matmul.allow_tf32,
        lambda: torch.backends.cudnn.allow_tf32,
    ):
        try:
            found.append(read())
        except RuntimeError:
            found.append("refused")
    return found


def leave() -> None:
    """torch's own setting."""


def allow() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def forbid() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def medium() -> None:
    torch.set_float32_matmul_precision("medium")


def newer() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"


def everywhere() -> None:
    torch.backends.fp32_precision = "tf32"


CALLERS = [
    leave,
    allow,
    forbid,
    medium,
    pytest.param(newer, marks=needs_newer),
    pytest.param(everywhere, marks=needs_newer),
]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = module._read(GPU)
    yield
    if NEWER:
        torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    module._write(before)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
def test_precision_is_set_and_restored(device: torch.device, tf32: bool, caller: Callable[[], None]) -> None:
    def on_gpu() -> dict[str, Any]:
        return {name: value for name, value in module._read(GPU).items() if name.startswith("cuda")}

    caller()
    before, gpu, legacy = module._read(GPU), on_gpu(), older()

    def inside() -> None:
        with arithmetic(device, tf32=tf32):
            assert in_use(CPU) == "float32"
            if device == GPU:
                assert in_use(GPU) == ("tf32" if tf32 else "float32")
            else:
                assert on_gpu() == gpu  # not looked at on the CPU
            with arithmetic(device):
                assert in_use(device) == "float32"
            assert in_use(device) == ("tf32" if tf32 and device == GPU else "float32")
            raise KeyError

    with pytest.raises(KeyError):
        inside()
    assert module._read(GPU) == before
    assert older() == legacy


@needs_newer
def test_old_and_new_precision_settings_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("get_float32_matmul_precision", "set_float32_matmul_precision"):
        monkeypatch.setattr(torch, name, lambda *arguments: pytest.fail("the older switches are used"))
    with arithmetic(GPU):
        operations = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
        assert [one.fp32_precision for one in operations] == ["ieee"] * 3
    monkeypatch.undo()
    assert "refused" not in older()


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("caller", [leave, allow, forbid, medium])
def test_older_torch_uses_old_settings(monkeypatch: pytest.MonkeyPatch, caller: Callable[[], None], tf32: bool) -> None:
    caller()
    before = older()
    with monkeypatch.context() as patch:  # undone before the fixture's end
        patch.setattr(module, "_newer", lambda: False)
        patch.setattr(module, "_operations", lambda: pytest.fail("the newer switches are used"))
        with arithmetic(GPU, tf32=tf32):
            assert older() == ["high" if tf32 else "highest", tf32, tf32]
            assert in_use(GPU) == ("tf32" if tf32 else "float32")
        assert older() == before
        with arithmetic(CPU, tf32=tf32):
            assert older() == ["highest", False, before[2]]
        assert older() == before


def test_default_precision_of_torch_has_a_name() -> None:
    """Convolutions in TF32 and products in float32; an autocast is named by its dtype."""
    assert in_use(CPU) == "float32"
    assert in_use(GPU).startswith("convolution=tf32,product=float32")
    with torch.autocast("cpu", torch.bfloat16):
        assert in_use(CPU) == "bfloat16"


def test_unsupported_precision_of_device_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("tf32", "fp16"):
        with pytest.raises(ValueError, match=f"'{precision}' needs a CUDA device, got cpu: use run.precision=no or"):
            check(precision, CPU)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ValueError, match=r"'tf32' needs a GPU of compute capability 8\.0 .* Tesla T4 has 7\.5"):
        check("tf32", GPU)
    for precision in ("no", "bf16"):
        check(precision, CPU)
        check(precision, GPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    check("tf32", GPU)


@pytest.mark.parametrize(("precision", "mixed"), [("no", "no"), ("tf32", "no"), ("bf16", "bf16")])
def test_accelerator_receives_mixed_precision_only(precision: str, mixed: str) -> None:
    assert devices.accelerator(precision, CPU).mixed_precision == mixed


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "tf32"])
def test_run_trains_in_precision_and_evaluates_in_float32(
    start: Callable[..., Path], fakes: ModuleType, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    inside: list[bool] = []
    forwards: list[bool | None] = []

    @contextmanager
    def noted(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
        inside.append(tf32)
        with arithmetic(device, tf32=tf32):
            yield
        inside.pop()

    for user in (seeds, run, predictor):
        monkeypatch.setattr(user, "arithmetic", noted)
    monkeypatch.setattr(module, "check", lambda precision, device: None)  # as if there were a GPU
    forward = fakes.Tiny.forward

    def counted(self: Any, *arguments: Any) -> Any:
        forwards.append(inside[-1] if inside else None)
        assert in_use(CPU) == "float32"
        return forward(self, *arguments)

    monkeypatch.setattr(fakes.Tiny, "forward", counted)
    medium()
    assert in_use(CPU) != "float32"
    out = start(overrides={"run": {"precision": precision, "references": False}, "train": {"epochs": 1}})
    training = 4 + 1  # steps, and validation at once
    assert len(forwards) > training
    assert forwards[:training] == [precision == "tf32"] * training
    assert set(forwards[training:]) == {False}
    forwards.clear()
    mmf.load(out, device="cpu").predict(fakes.table(4, seed=7))
    assert set(forwards) == {False}
    assert in_use(CPU) != "float32"
