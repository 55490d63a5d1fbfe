"""What is needed of pytorch-metric-learning (PML): its parts by name, what each can do, and what keeps them sound."""

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from mmfusion.losses.functional import clamp_value
from mmfusion.options import takes

Options: TypeAlias = Mapping[str, Any]
Positives: TypeAlias = Literal["class", "case"]

# How losses call the width of the embeddings: proxies must exist before the first batch, which would tell it.
WIDTHS = ("embedding_size", "descriptors_dim", "l")
# Options of base classes that every class one can ask for sets itself.
SETTLED = ("mat_based_loss", "is_inverted")


# What is built of PML, and what it can


class Recipe(NamedTuple):
    """A loss that may have to wait for the number of classes."""

    kind: type[nn.Module]
    options: dict[str, Any]

    @property
    def lacks_classes(self) -> bool:
        return is_required(self.kind, "num_classes") and "num_classes" not in self.options

    @property
    def width(self) -> int | None:
        return next((self.options[name] for name in WIDTHS if name in self.options), None)

    def made(self, **more: Any) -> nn.Module:
        return made_of(self.kind, {**self.options, **more})


def recipe_of(kind: type[nn.Module], parts: Options, options: Options) -> Recipe:
    """The class and all options of a loss given by name; refused where they do not go together."""
    if twice := sorted(set(parts) & set(options)):
        raise ValueError(f"{kind.__name__} is given its {' and '.join(twice)} twice: once is enough")
    for width in WIDTHS:
        if is_required(kind, width) and width not in options:
            raise ValueError(
                f"{kind.__name__} needs options={{{width!r}: d}}: the width of what it looks at, that of the "
                "modality's embeddings, of aux['fused'], or without it the sum of all modalities' widths"
            )
    options = {**parts, **options}
    check_options(kind, options)
    return Recipe(kind, options)


def names_in(room: str) -> dict[str, type[nn.Module]]:
    """The classes of one of PML's modules that can be asked for, by name."""
    found = vars(importlib.import_module(f"pytorch_metric_learning.{room}")).items()
    return {
        name: kind
        for name, kind in found
        if isinstance(kind, type)
        and issubclass(kind, nn.Module)
        and not name.startswith("Base")
        and name != "GenericPairLoss"
    }


def find(room: str, name: str) -> type[nn.Module]:
    """The class of that name; the closest names are told if there is none."""
    names = names_in(room)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are: {', '.join(sorted(names))}"
        raise ValueError(f"there is no {name!r} in pytorch_metric_learning.{room}; {hint}")
    return names[name]


def built_part(room: str, choice: str | nn.Module | None, options: Options | None) -> nn.Module | None:
    """A miner, distance or reducer from a name and options, or as it was given."""
    if isinstance(choice, str):
        kind = find(room, choice)
        check_options(kind, options or {}, f"{room.removesuffix('s')}_options")
        return made_of(kind, options or {})
    if options:
        given = "nothing" if choice is None else f"a {type(choice).__name__} that is built already"
        raise ValueError(
            f"{room.removesuffix('s')}_options {sorted(options)} need a name in pytorch_metric_learning.{room}, there "
            f"is {given}"
        )
    if choice is not None and not isinstance(choice, nn.Module):
        raise ValueError(f"expected a name in pytorch_metric_learning.{room} or a module, got {choice!r}")
    return choice


def parameters_of(kind: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The options of a class, with those that it hands on to its bases as ``**kwargs``."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]  # of a class in an mro
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return {name: parameter for name, parameter in found.items() if name not in SETTLED}


def is_required(kind: type[nn.Module], option: str) -> bool:
    """Whether a class cannot be built without an option."""
    parameter = parameters_of(kind).get(option)
    return parameter is not None and parameter.default is parameter.empty


def check_options(kind: type[nn.Module], options: Options, option: str = "options") -> None:
    """Refuse options that a class does not take."""
    valid = parameters_of(kind)
    for name, value in options.items():
        if type(value) in (int, float) and not takes(value, float):
            raise ValueError(f"{option}: {kind.__name__} expects {name} to be a finite number, got {value!r}")
        if name not in valid:
            close = difflib.get_close_matches(name, valid, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"{option}: {kind.__name__} has no option {name!r}{hint} Valid: {', '.join(sorted(valid)) or 'none'}"
            )


def made_of(kind: type[nn.Module], options: Options) -> nn.Module:
    """Build; whatever PML does not like is one ValueError."""
    try:
        return kind(**options)
    # Whatever a constructor of PML does not like, it says in many ways: assertions, exceptions of no class.
    except Exception as error:
        raise ValueError(
            f"{kind.__name__} cannot be built with the options {sorted(options)}: {error or type(error).__name__}"
        ) from error


def unwrapped(part: nn.Module) -> tuple[nn.Module, bool]:
    """What is inside PML's wrappers for several processes, and whether it was."""
    if not isinstance(part, nn.Module):
        raise ValueError(f"expected a name or a module of pytorch_metric_learning, got {part!r}")
    wrappers = importlib.import_module("pytorch_metric_learning.utils.distributed")
    if not isinstance(part, wrappers.DistributedLossWrapper | wrappers.DistributedMinerWrapper):
        return part, False
    if part.efficient:
        raise ValueError(
            f"{type(part).__name__} with efficient=True has other gradients than one process with the whole batch: "
            "take efficient=False"
        )
    inside: nn.Module = part.loss if isinstance(part, wrappers.DistributedLossWrapper) else part.miner
    return inside, True


class Takes(NamedTuple):
    """What a loss can be called with."""

    labels: bool
    mined: bool
    references: bool
    needs_references: bool


def what_it_takes(kind: type[nn.Module]) -> Takes:
    """What a loss can be called with, read off its signature and its own checks."""
    parameters = inspect.signature(kind.forward).parameters
    reference = parameters.get("ref_emb")
    # PML's losses have one signature; what one of them does not take, its compute_loss refuses by calling these checks.
    code = getattr(getattr(kind, "compute_loss", None), "__code__", None)
    refused = code.co_names if code is not None else ()
    return Takes(
        labels="labels" in parameters and "labels_not_supported" not in refused,
        mined="indices_tuple" in parameters and "indices_tuple_not_supported" not in refused,
        references=reference is not None
        and "ref_not_supported" not in refused
        and kind.__name__ != "ThresholdConsistentMarginLoss",
        needs_references=reference is not None and reference.default is reference.empty,
    )


def check_use(kind: type[nn.Module], takes: Takes, on: str | tuple[str, str], positives: Positives) -> None:
    """Refuse a place or positives that a loss has no use for."""
    name, across = kind.__name__, isinstance(on, tuple)
    if across and not takes.references:
        raise ValueError(f"{name} cannot compare two modalities: on must not be a pair, got {on}")
    if takes.needs_references and not across:
        raise ValueError(f"{name} compares two modalities: on must be a pair of names, got {on!r}")
    if positives == "case" and takes.labels:
        if not across and on != "all":
            raise ValueError(
                f"with on={on!r} a case has no positive but itself: positives='case' needs on='all' or a pair of names"
            )
        if is_required(kind, "num_classes"):
            raise ValueError(f"{name} has proxies of classes: positives must be 'class', got 'case'")


def check_miner(kind: type[nn.Module], takes: Takes, miner: nn.Module | None) -> None:
    """Refuse a miner where a loss takes none."""
    if miner is not None and not takes.mined:
        raise ValueError(f"{kind.__name__} takes no miner, got {type(miner).__name__}")
    if type(miner).__name__ == "EmbeddingsAlreadyPackagedAsTriplets":
        raise ValueError("the rows of a batch are not packaged as triplets: choose another miner")


def check_size(function: nn.Module, x: Tensor, width: int | None) -> None:
    """Refuse embeddings of another width than a loss was built for, and memories smaller than a batch."""
    name = type(function).__name__
    for memory in parts_of(function, "CrossBatchMemory"):
        width = memory.embedding_size
        if x.shape[1] > memory.memory_size:
            raise ValueError(f"{name} remembers {memory.memory_size} rows, fewer than the {x.shape[1]} of a batch")
    if width not in (None, x.shape[2]):
        raise ValueError(f"{name} was built for embeddings of width {width}, got width {x.shape[2]}")


# What PML's losses need beside their formula


def parts_of(function: nn.Module, *names: str) -> list[Any]:
    """The modules in a loss, itself included, that are of one of these classes of PML."""
    room = importlib.import_module("pytorch_metric_learning.losses")
    kinds = tuple(getattr(room, name) for name in names)
    return [part for part in function.modules() if isinstance(part, kinds)]


@contextmanager
def mended(function: nn.Module, x: Tensor, *, remember: bool) -> Iterator[None]:
    """Distances kept where the losses are defined, and memories kept from autograd; restored unless to remember."""
    step = torch.finfo(x.dtype).eps
    limits = {
        ("TupletMarginLoss", "LargeMarginSoftmaxLoss"): (step - 1, 1 - step),
        ("HistogramLoss",): (-1.0, 1 - 1e-6),
        ("DynamicSoftMarginLoss",): (0.0, 2.0),
    }
    hooks = [
        part.distance.register_forward_hook(lambda _module, _inputs, out, limit=limit: clamp_value(out, *limit))
        for names, limit in limits.items()
        for part in parts_of(function, *names)
    ]
    memories, histories = parts_of(function, "CrossBatchMemory"), parts_of(function, "DynamicSoftMarginLoss")
    state = ("embedding_memory", "label_memory", "has_been_filled", "queue_idx", "hist_")
    before = [
        (part, name, getattr(part, name)) for part in memories + histories for name in state if hasattr(part, name)
    ]
    for memory in memories:
        # Copies: what autograd keeps for the backward pass must not be written over by the next batch.
        memory.embedding_memory = memory.embedding_memory.to(x, copy=True)
        memory.label_memory = memory.label_memory.to(x.device, copy=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for history in histories:
            history.hist_ = history.hist_.detach()
        for part, name, value in before if not remember else ():
            setattr(part, name, value)


def one_and_memory(memory: Any, x: Tensor, labels: Tensor) -> Tensor:
    """``CrossBatchMemory`` of a single row.

    PML tells a row in the memory from itself by the order of a batch's first and last position, which are one here.
    """
    n = memory.memory_size if memory.has_been_filled else memory.queue_idx
    past, past_labels = memory.embedding_memory[:n].clone(), memory.label_memory[:n].clone()
    memory.add_to_memory(x, labels, 1)
    if n == 0:
        return (x * 0).sum()
    mined = None if memory.miner is None else memory.miner(x, labels, past, past_labels)
    value: Tensor = memory.loss(x, labels, mined, past, past_labels)
    return value


class Positions(nn.Module):
    """Where the queues of the memories stand, for the state dict: PML keeps it as plain numbers."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self._memories = tuple(parts_of(function, "CrossBatchMemory"))  # a tuple: they are modules of the loss already

    def get_extra_state(self) -> Tensor:
        return torch.tensor([[memory.queue_idx, memory.has_been_filled] for memory in self._memories])

    def set_extra_state(self, state: Tensor) -> None:
        for memory, (position, filled) in zip(self._memories, state.tolist(), strict=True):
            memory.queue_idx, memory.has_been_filled = position, bool(filled)


def make_history(part: Any) -> None:
    """Make the histogram a buffer, with bins up to the largest difference of distances, 2."""
    if "hist_" in dict(part.named_buffers(recurse=False)):
        return
    history = torch.zeros(max(part.num_bins, int((2 - part.min_val) / part.delta) + 2))
    history[: part.num_bins] = part.hist_.detach()
    del part.hist_
    part.register_buffer("hist_", history)
