"""Heat maps of a model whose weights say nothing: Adebayo et al., 2018, Sanity Checks for Saliency Maps.

NOTE[DIFF]: a tensor's weights are put in random order, where Adebayo et al. draw them from the distribution that they
were initialized with: no part has to know its own, and the outputs keep their scale. Buffers, such as the statistics of
batch normalization, stay.
"""

import copy
from collections.abc import Iterator

import torch
from torch import nn

from mmfusion.models import FusionModel

FLOW = ("decision", "head", "vectors", "pooling", "layers", "per_stage", "tokenizers", "context", "encoders")
"""Parts of a model from its output to its inputs, the order of a cascade."""


def randomized(
    model: FusionModel, generator: torch.Generator, *, cascade: bool = False
) -> Iterator[tuple[str, FusionModel]]:
    """A copy of a model whose weights are put in random order; the model itself is left as it is.

    Args:
        model: Any.
        generator: On the CPU.
        cascade: Give the copy after each part, from the head to the encoders, with all parts so far in random order;
            False: once, with all of them.

    Yields:
        The last part and the copy, the same one each time.
    """
    other = copy.deepcopy(model)
    parts: dict[str, list[nn.Parameter]] = {}
    done: set[int] = set()
    children = dict(other.named_children())
    for name in (*(name for name in FLOW if name in children), *(name for name in children if name not in FLOW)):
        parts[name] = [p for p in children[name].parameters() if id(p) not in done]
        done |= {id(p) for p in parts[name]}
    parts["all"] = [p for p in other.parameters() if id(p) not in done]
    done |= {id(p) for p in parts["all"]}
    for name, parameters in parts.items():
        for parameter in parameters:
            _shuffle(parameter, generator)
        if cascade and parameters:
            yield name, other
    if not cascade or not done:
        yield "all", other


@torch.no_grad()
def _shuffle(parameter: nn.Parameter, generator: torch.Generator) -> None:
    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
    parameter.copy_(parameter.flatten()[order].view_as(parameter))
