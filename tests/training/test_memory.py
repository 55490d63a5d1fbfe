from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmfusion.experiments import console
from mmfusion.training import memory
from mmfusion.training.loop import Training
from mmfusion.training.settings import Train

SHORT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
    RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
        "are out of shared memory. Please try to raise your shared memory limit."
    ),
    OSError(12, "Cannot allocate memory"),
]
OTHER = [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(28, "No space left on device")]


def advice(**train: Any) -> str:
    return memory.advice(Train(**train), "no", 224)


@pytest.mark.parametrize("error", SHORT)
def test_out_of_memory_error_names_settings(error: Exception) -> None:
    with pytest.raises(memory.OutOfMemory) as caught, memory.guard("training", "cuda", advice()):
        raise error
    text = str(caught.value)
    assert text.startswith("out of memory on cuda while training")
    for setting in (
        "train.batch_size (it is 32;",
        "data.size; it is 224",
        "train.checkpointing=true",
        "run.precision=bf16",
    ):
        assert setting in text


@pytest.mark.parametrize("error", OTHER)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory.guard("training", "cpu", advice()):
        raise error
    assert caught.value is error


def test_advice_skips_settings_in_use() -> None:
    assert "checkpointing" not in advice(checkpointing=True)
    assert "fewer train.workers (they are 3)" in advice(workers=3)


def test_requested_size_is_parsed() -> None:
    assert [memory.size_wanted(error) for error in SHORT[:3]] == ["", "20.00 GiB", "4.29 GB"]


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**60, dtype=torch.uint8), lambda: np.empty(2**60, np.uint8)])
def test_torch_and_numpy_errors_are_recognized(allocate: Callable[[], object]) -> None:
    wanted = r"while testing \(1(.15 EB|.00 EiB) more were requested\)"
    with pytest.raises(memory.OutOfMemory, match=wanted), memory.guard("testing", "cpu", advice()):
        allocate()


@pytest.mark.slow
def test_run_out_of_memory_raises(start: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: Training, *_: Any, **__: Any) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(Training, "_step", step)
    with pytest.raises(memory.OutOfMemory, match=r"on cpu while training \(1.15 EB.*train.batch_size \(it is 16"):
        start()


@pytest.mark.parametrize("error", SHORT[:4])
def test_command_out_of_memory_is_one_line_error(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise error

    assert console.guarded(command) == 2
    assert capsys.readouterr().err.startswith("mmfusion: error: out of memory")


def test_internal_error_keeps_traceback() -> None:
    def command() -> None:
        raise OTHER[0]

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        console.guarded(command)
