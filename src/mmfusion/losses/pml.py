"""Parts of pytorch-metric-learning (PML) by name, with their options."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import nn

from mmfusion.option_checks import suggestion, takes, unknown_option
from mmfusion.registry import Choice, named

Options: TypeAlias = Mapping[str, Any]

WIDTHS = ("embedding_size", "descriptors_dim", "l")
"""What losses with proxies call the width of the embeddings."""
FIXED = ("mat_based_loss", "is_inverted")
"""Options of base classes that every class with a name of its own sets itself."""
REFUSED = {
    "labels": ("ManifoldLoss", "VICRegLoss"),
    "indices_tuple": ("InstanceLoss", "P2SGradLoss", "PNPLoss", "RankedListLoss", "VICRegLoss"),
    "ref_emb": (
        *("FastAPLoss", "HistogramLoss", "InstanceLoss", "LargeMarginSoftmaxLoss", "ManifoldLoss", "NPairsLoss"),
        *("NormalizedSoftmaxLoss", "P2SGradLoss", "PNPLoss", "ProxyAnchorLoss", "ProxyNCALoss", "RankedListLoss"),
        *("SmoothAPLoss", "SoftTripleLoss", "ThresholdConsistentMarginLoss"),
    ),
}
"""Arguments that these losses and their subclasses have in their signature and do not take. The last one takes
references and looks its positives up among the anchors."""


def accepts(kind: type[nn.Module], argument: str) -> bool:
    """Whether a loss can be called with ``"labels"``, ``"indices_tuple"`` (a miner) or ``"ref_emb"`` (references)."""
    room = importlib.import_module("pytorch_metric_learning.losses")
    refusing = tuple(getattr(room, name) for name in REFUSED[argument] if hasattr(room, name))
    return argument in inspect.signature(kind.forward).parameters and not issubclass(kind, refusing)


def required_arguments(kind: type[nn.Module]) -> set[str]:
    """The arguments without which a loss cannot be called."""
    return {name for name, one in inspect.signature(kind.forward).parameters.items() if one.default is one.empty}


def find(room: str, name: str) -> type[nn.Module]:
    """The class of that name in one of PML's modules.

    Raises:
        ValueError: If there is none, with the closest names.
    """
    named = {
        key: kind
        for key, kind in vars(importlib.import_module(f"pytorch_metric_learning.{room}")).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module) and not key.startswith("Base")
    }
    named.pop("GenericPairLoss", None)  # a base class, too
    if name not in named:
        raise ValueError(f"unknown name {name!r} in pytorch_metric_learning.{room}; {suggestion(name, sorted(named))}")
    return named[name]


def part(room: str, choice: Choice | nn.Module | None, **defaults: Any) -> nn.Module | None:
    """A miner, distance or reducer from a name and options, or as it was given.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    if choice is None or isinstance(choice, nn.Module):
        return choice
    name, options = named(choice, room.removesuffix("s"))
    return build(find(room, name), {**defaults, **options})


def build(kind: type[nn.Module], options: Options) -> nn.Module:
    """An instance; whatever PML raises is one ValueError.

    Raises:
        ValueError: If an option is unknown, not finite, or PML does not accept it.
    """
    check_options(kind, options)
    try:
        return kind(**options)
    # A constructor of PML fails in many ways: assertions, exceptions of no class.
    except Exception as error:
        raise ValueError(
            f"{kind.__name__} cannot be built with the options {sorted(options)}: {error or type(error).__name__}"
        ) from error


def parameters_of(kind: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The options of a class, with those that it passes on to its bases as ``**kwargs``."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *declared = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]  # of a class in an mro
        for parameter in declared:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                parameters.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in declared):
            break
    return {name: parameter for name, parameter in parameters.items() if name not in FIXED}


def required(kind: type[nn.Module]) -> set[str]:
    """The options without which a class cannot be built."""
    return {name for name, parameter in parameters_of(kind).items() if parameter.default is parameter.empty}


def check_options(kind: type[nn.Module], options: Options) -> None:
    """Raise an error for options that a class does not take.

    Raises:
        ValueError: Naming the option, and the closest one or all.
    """
    valid = parameters_of(kind)
    for name, value in options.items():
        if type(value) in (int, float) and not takes(value, float):
            raise ValueError(f"{kind.__name__} expects {name} to be a finite number, got {value!r}")
        if name not in valid:
            raise ValueError(unknown_option(kind.__name__, name, valid))


def unwrapped(module: nn.Module) -> tuple[nn.Module, bool]:
    """What is inside PML's wrappers for several processes, and whether it was.

    Raises:
        ValueError: If the wrapper is set to ``efficient``.
    """
    wrappers = importlib.import_module("pytorch_metric_learning.utils.distributed")
    if not isinstance(module, wrappers.DistributedLossWrapper | wrappers.DistributedMinerWrapper):
        return module, False
    if module.efficient:
        raise ValueError(
            f"{type(module).__name__} with efficient=True has other gradients than one process with the whole batch: "
            "use efficient=False"
        )
    inside: nn.Module = module.loss if isinstance(module, wrappers.DistributedLossWrapper) else module.miner
    return inside, True
