"""Weights that are numbers."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def require_finite(tensors: Mapping[str, Tensor], path: Path | str, built: Mapping[str, Tensor] | None = None) -> None:
    """Refuse weights that are NaN or infinite: a model with such weights predicts NaN, or nonsense.

    Args:
        tensors: By name.
        path: Where they are from, for the message.
        built: The same tensors as the model was built with. What is not finite there, such as the -inf of a mask, may
            be so here; what is finite has to be so in the model's precision.

    Raises:
        ValueError: Naming the tensors.
    """
    damaged = []
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        start = (built or {}).get(name)
        if start is not None and start.shape == tensor.shape:
            # 1e300 is infinite in float32.
            bad = ~tensor.to(start.dtype).isfinite() & start.detach().to(tensor.device).isfinite()
        else:
            bad = ~tensor.isfinite()
        if n := int(bad.sum()):
            damaged.append(f"{name} ({n} of {tensor.numel()})")
    if damaged:
        more = f" and {len(damaged) - 5} more tensors" if len(damaged) > 5 else ""
        raise ValueError(
            f"{path} holds weights that are not finite, in {', '.join(damaged[:5])}{more}: the file is damaged or the "
            "training diverged; take a sound copy, or train anew, with a smaller learning rate if it diverged"
        )
