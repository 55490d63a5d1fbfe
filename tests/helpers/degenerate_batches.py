"""Embeddings of batches in which something is absent, equal, zero or of an extreme size."""

import torch
from torch import Tensor


def degenerate_embeddings(kind: str, n: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Embeddings of three modalities, in float64 with values that float32 holds too, and presence.

    Args:
        kind: What is special about the batch; other kinds are drawn without change.
        n: Number of cases.
        width: Width of the embeddings.
        generator: Draws the embeddings, then the presence.

    Returns:
        Shapes ``(3, n, width)`` and ``(3, n)`` bool.
    """
    x = torch.randn(3, n, width, generator=generator)
    present = torch.ones(3, n, dtype=torch.bool)
    match kind:
        case "some_missing":
            present = torch.rand(3, n, generator=generator) < 0.6
        case "modality_missing":
            present[1] = False
        case "one_case_of_a_modality":
            present[1, 1:] = False
        case "nothing_present":
            present[:] = False
        case "duplicates":  # in direction; a multiple by a power of 2 is exact
            x[:, 1], x[:, 3] = x[:, 0], 4 * x[:, 2]
        case "mostly_duplicates":
            x[0, 1:] = x[0, :1] * torch.tensor([[1.0], [2.0], [0.5], [16.0]])
            x[0, 4] = -x[0, 0]
        case "identical":
            x = x[:1, :1].expand_as(x).clone()
        case "a_constant_modality":  # in direction
            x[1] = x[1, 0] * torch.tensor([1.0, 2.0, 0.5, 16.0, 2.0**-10]).unsqueeze(-1)
        case "opposites":
            x[1] = -x[0]
        case "a_zero_vector":
            x[0, 1] = 0
        case "a_zero_modality":
            x[1] = 0
        case "all_zero":
            x[:] = 0
        case "tiny":
            x = x * 1e-20
        case "huge":
            x = x * 1e20
        case "each_its_scale":
            x = x * torch.logspace(-20, 20, 3 * n).view(3, n, 1)
    return x.double(), present
