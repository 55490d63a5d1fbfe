"""The device of a run, and Accelerate on it."""

import os
from typing import Any

import torch

from mmfusion.experiments.settings import DEVICES
from mmfusion.training import processes
from mmfusion.utils.process_group import n_processes


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device; each of several processes gets its own GPU.

    Raises:
        ValueError: If CUDA is requested and unavailable, or there are more processes than GPUs.
    """
    if name not in DEVICES:
        raise ValueError(f"device expects one of {', '.join(DEVICES)}, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device 'cuda' was requested, but torch sees no CUDA device: use run.device=cpu or run.device=auto"
        )
    # accelerate launch --cpu counts unless a device is named.
    launched_on_cpu = name == "auto" and os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if name == "cpu" or launched_on_cpu or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda") if n_processes() == 1 else processes.gpu_of_process()


def accelerator(precision: str, device: torch.device) -> Any:
    """Accelerate's handle on the device, mixed precision and its loss scale.

    Args:
        precision: ``no``, ``tf32``, ``bf16`` or ``fp16``.
        device: Where the run computes.

    Raises:
        ValueError: If accelerate is configured for another device, or for models that are spread over processes.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin

    # Accelerate keeps one state per process and refuses another precision in it: a second run here starts clean.
    AcceleratorState._reset_state(reset_partial_state=True)
    chosen = Accelerator(
        # TF32 is a switch of torch's, set for the whole run, see seeds.deterministic.
        mixed_precision="no" if precision == "tf32" else precision,
        cpu=device.type == "cpu",
        # Said here, since an inherited ACCELERATE_DYNAMO_BACKEND would compile the model without a word, and
        # ACCELERATE_GRADIENT_ACCUMULATION_STEPS divide the loss.
        dynamo_backend="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if chosen.device.type != device.type:
        raise ValueError(
            f"the run uses {device.type}, but accelerate is configured for {chosen.device.type}: unset "
            "ACCELERATE_TORCH_DEVICE and ACCELERATE_USE_CPU, and choose by run.device"
        )
    if chosen.distributed_type not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise ValueError(
            f"accelerate is configured for {chosen.distributed_type.value}, but each process needs the whole model: "
            "start with accelerate launch --multi_gpu, or torchrun"
        )
    return chosen
