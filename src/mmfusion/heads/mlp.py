"""What heads end in."""

from collections.abc import Mapping, Sequence

from torch import nn

from mmfusion.spec import Target


def hidden_layers(width: int, hidden: Sequence[int], dropout: float) -> tuple[nn.Sequential, int]:
    """Linear layers with ReLU and dropout.

    Args:
        width: Of what comes in.
        hidden: Width of each layer; empty for none.
        dropout: Probability after each of them.

    Returns:
        The layers, and the width of what goes out.
    """
    layers: list[nn.Module] = []
    for n_hidden in hidden:
        layers += [nn.Linear(width, n_hidden), nn.ReLU(), nn.Dropout(dropout)]
        width = n_hidden
    return nn.Sequential(*layers), width


def output_layers(targets: Mapping[str, Target], width: int) -> nn.ModuleDict:
    """One linear layer a target."""
    return nn.ModuleDict({name: nn.Linear(width, target.n_out) for name, target in targets.items()})
