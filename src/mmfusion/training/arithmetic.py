"""Arithmetic of float32 convolutions and matrix products: float32 itself, or TF32.

torch computes float32 convolutions on a GPU in TF32 by default: 10 bits of mantissa in place of 23.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_FIRST_TF32 = 8
"""Compute capability of the first NVIDIA GPUs with TF32, the Ampere generation."""


def check(precision: str, device: torch.device) -> None:
    """Raise where a device does not compute in the precision that the settings name.

    Args:
        precision: ``no``, ``tf32``, ``bf16`` or ``fp16``.
        device: Where the run computes.

    Raises:
        ValueError: If ``tf32`` or ``fp16`` meet the CPU, or ``tf32`` a GPU without it.
    """
    if precision in ("tf32", "fp16") and device.type != "cuda":
        raise ValueError(
            f"precision {precision!r} needs a CUDA device, got {device.type}: use run.precision=no or "
            "run.precision=bf16"
        )
    if precision == "tf32" and torch.version.hip is None:
        major, minor = torch.cuda.get_device_capability(device)
        if major < _FIRST_TF32:
            raise ValueError(
                f"precision 'tf32' needs a GPU of compute capability {_FIRST_TF32}.0 or higher, "
                f"{torch.cuda.get_device_name(device)} has {major}.{minor}: use run.precision=no"
            )


@contextmanager
def arithmetic(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Float32 convolutions, recurrences and matrix products in float32, or in TF32; as before afterwards.

    The setting belongs to the process, not to the thread. On the CPU it is always float32. Inside, torch 2.9 and
    later may refuse to read the older switches (``allow_tf32``), which cannot tell what the newer ones say.

    Args:
        device: Where is computed.
        tf32: Whether a GPU may use TF32.
    """
    before = _read(device)
    try:
        _write({name: _value(name, device, tf32=tf32) for name in before})
        yield
    finally:
        _write(before)


def in_use(device: torch.device) -> str:
    """The format that convolutions and matrix products of float32 tensors are computed in at this moment.

    Returns:
        ``float32``, ``tf32``, the dtype of an autocast such as ``bfloat16``; where operations differ, each with its
        own, as in ``convolution=tf32,product=float32``.
    """
    if torch.is_autocast_enabled(device.type):
        return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
    kind = "cuda" if device.type == "cuda" else "mkldnn"
    formats = {
        name.partition(".")[2]: _FORMATS.get(value, str(value))
        for name, value in _read(device).items()
        if name.startswith(kind)
    }
    if len(set(formats.values())) == 1:
        return next(iter(formats.values()))
    return ",".join(f"{name}={value}" for name, value in sorted(formats.items()))


_FORMATS: dict[Any, str] = {
    "ieee": "float32",
    "none": "float32",
    "highest": "float32",
    "high": "tf32",
    "medium": "bfloat16",
    "bf16": "bfloat16",
    False: "float32",
    True: "tf32",
}


def _newer() -> bool:
    """Whether torch has ``fp32_precision``, from 2.9 on; what it says must not be mixed with the older switches."""
    return hasattr(torch.backends.cuda.matmul, "fp32_precision")


def _operations() -> dict[str, Any]:
    """Where torch 2.9 and later keep the precision of each operation, by backend and operation."""
    backends: Any = torch.backends
    return {
        "cuda.convolution": backends.cudnn.conv,
        "cuda.recurrence": backends.cudnn.rnn,
        "cuda.product": backends.cuda.matmul,
        "mkldnn.convolution": backends.mkldnn.conv,
        "mkldnn.recurrence": backends.mkldnn.rnn,
        "mkldnn.product": backends.mkldnn.matmul,
    }


def _read(device: torch.device) -> dict[str, Any]:
    if _newer():
        formats_by_operation = {name: place.fp32_precision for name, place in _operations().items()}
    else:
        products = torch.get_float32_matmul_precision()
        formats_by_operation = {"cuda.convolution": torch.backends.cudnn.allow_tf32, "cuda.product": products}
        formats_by_operation["mkldnn.product"] = products
    # What a run on the CPU does not use stays as it is.
    return {
        name: value
        for name, value in formats_by_operation.items()
        if device.type == "cuda" or name.startswith("mkldnn")
    }


def _value(name: str, device: torch.device, *, tf32: bool) -> Any:
    allowed = tf32 and name.startswith("cuda")
    if _newer():
        return "tf32" if allowed else "ieee"
    if name == "cuda.convolution":
        return allowed
    return "high" if tf32 and device.type == "cuda" else "highest"


def _write(values: dict[str, Any]) -> None:
    if _newer():
        operations = _operations()
        for name, value in values.items():
            operations[name].fp32_precision = value
        return
    # One switch for the products of all backends.
    torch.set_float32_matmul_precision(values["mkldnn.product"])
    if "cuda.convolution" in values:
        torch.backends.cudnn.allow_tf32 = values["cuda.convolution"]
