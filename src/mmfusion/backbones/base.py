"""Image encoder: base class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmfusion.utils.meta import run_on_meta


class Backbone(nn.Module):
    """An image encoder in stages.

    A subclass gives :meth:`stem` and :meth:`stage`, so that a map fusion can stand between two stages without a hook;
    :meth:`forward` runs them all. An encoder that cannot be taken apart overrides :meth:`forward` and refuses the
    others by name. Freezing and :meth:`parameter_depths` work for both; gradient checkpointing for subclasses that
    compute by :meth:`run` and set ``can_recompute``.

    Args:
        channels: Channels of the map after each stage, in network order.
        reductions: By how much each stage has shrunk the input along each spatial axis, in network order.
        mean: Subtracted from each input channel; what the weights were trained with.
        std: Divides each input channel.

    Attributes:
        n_stages: Number of stages.
        n_axes: Number of spatial axes of the images, 2 or 3.
    """

    can_recompute = False
    """Whether the subclass computes its stages with :meth:`run`, which gradient checkpointing needs."""

    def __init__(
        self,
        *,
        channels: tuple[int, ...],
        reductions: tuple[tuple[int, ...], ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.channels = channels
        self.reductions = reductions
        self.n_stages = len(channels)
        self.n_axes = len(reductions[0])
        # In the state dict: a saved model must normalize as it was trained, whatever weights it was built from.
        self.mean = nn.Buffer(torch.tensor(mean))
        self.std = nn.Buffer(torch.tensor(std))
        self._recompute = False
        self._frozen: frozenset[str] = frozenset()
        self._still: tuple[str, ...] = ()
        self._asked_to_train = True

    @property
    def label(self) -> str:
        """What messages call this encoder."""
        return str(getattr(self, "name", type(self).__name__))

    def check(self, x: Tensor) -> None:
        """Raise an error about anything but a batch of images for this encoder; :meth:`normalise` asks it.

        Raises:
            ValueError: If the number of axes or of channels is another, or the pixels are whole numbers.
        """
        if x.ndim != self.n_axes + 2 or x.shape[1] != len(self.mean):
            axes = "height, width" if self.n_axes == 2 else "*size"
            raise ValueError(
                f"the encoder {self.label} takes {self.n_axes}D images of {len(self.mean)} channels, shape "
                f"(b, {len(self.mean)}, {axes}), got {tuple(x.shape)}: choose an encoder for such images, or reshape"
            )
        if not x.is_floating_point():
            raise ValueError(
                f"the encoder {self.label} takes floating-point images in [0, 1], got {x.dtype}: convert them first, "
                "bytes by x.float() / 255"
            )

    def normalise(self, x: Tensor) -> Tensor:
        """Images in [0, 1], of any floating point, to what the weights expect, shape ``(b, channels, *spatial)``."""
        self.check(x)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        x = x.to(self.mean.dtype)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def stem(self, x: Tensor) -> Tensor:
        """From images, normalization included, to what the first stage takes."""
        raise NotImplementedError(f"{type(self).__name__} has no stem")  # abstract

    def stage(self, i: int, x: Tensor) -> Tensor:
        """From the result of the stem or of stage ``i - 1`` to the map of stage ``i``, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} has no stages")  # abstract

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """All maps in one pass.

        Args:
            x: Shape ``(b, channels, *spatial)``; photographs in [0, 1].

        Returns:
            One map per stage, shape ``(b, channels[i], *spatial_i)``, in network order.
        """
        return tuple(self.steps(x)[1:])

    def steps(self, x: Tensor) -> list[Tensor]:
        """What the stem gives, then the map of each stage; for an encoder without a stem, the images come first."""
        steps = [self.stem(x)]
        for i in range(self.n_stages):
            steps.append(self.stage(i, steps[-1]))  # each stage takes the one before
        return steps

    def run(self, modules: Sequence[nn.Module], x: Tensor) -> Tensor:
        """Modules one after another; with gradient checkpointing, computed again in the backward pass.

        Args:
            modules: Each takes what the one before gives.
            x: What the first takes.

        Returns:
            What the last gives.
        """
        if not (self._recompute and torch.is_grad_enabled()):
            return _chain(modules, x)
        for segment in _segments(modules):
            if torch.compiler.is_compiling():  # which allows no contexts here
                x = checkpoint(segment, x, use_reentrant=False)
            else:
                x = checkpoint(segment, x, use_reentrant=False, context_fn=lambda: _contexts(self))
        return x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only what lies between the blocks for the backward pass and compute the rest again: slower, smaller.

        Values, gradients and batch statistics stay what they are without.

        Raises:
            ValueError: If this encoder cannot.
        """
        if enable and not self.can_recompute:
            raise ValueError(f"the encoder {self.label} has no gradient checkpointing: choose another, or go without")
        self._recompute = enable

    def freeze(self, stages: int | Literal["all", "none"]) -> None:
        """Take the stem and the first stages out of training.

        Their parameters get no gradient and their modules stay in evaluation mode, batch statistics and dropout
        included, whatever :meth:`train` says. What is computed before the first trained parameter keeps nothing for
        the backward pass, unless the images themselves ask for a gradient. Each call stands for itself: what an
        earlier one froze beyond it is trained again. It is not part of the state dict.

        Args:
            stages: How many stages, 0 for the stem alone; ``"all"`` also for the encoders that do not say which
                parameter belongs to which stage, ``"none"`` to undo.

        Raises:
            ValueError: If there are fewer stages.
        """
        parameters = dict(self.named_parameters())
        if stages == "all" or stages == "none":
            named = set(parameters) if stages == "all" else set()
        elif isinstance(stages, int) and not isinstance(stages, bool) and 0 <= stages <= self.n_stages:
            named = {name for name, depth in self.parameter_depths().items() if depth <= stages}
        else:
            raise ValueError(
                f"the encoder {self.label} has {self.n_stages} stages: freeze 0 (the stem) to {self.n_stages} of them, "
                f"'all' or 'none', got {stages!r}"
            )
        # What asked for no gradient before must not ask for one after it was frozen and freed.
        frozen = {name for name in named if parameters[name].requires_grad or name in self._frozen}
        for name in self._frozen | frozen:
            parameters[name].requires_grad_(name not in frozen)
        self._frozen = frozenset(frozen)
        self._still = ("",) if named and len(named) == len(parameters) else tuple(_whole(self, named))
        self.train(self._asked_to_train)

    def train(self, mode: bool = True) -> "Backbone":
        """Training or evaluation mode; what is frozen stays in evaluation mode."""
        self._asked_to_train = mode
        super().train(mode and self._still != ("",))
        for path in filter(None, self._still):
            self.get_submodule(path).eval()
        return self

    def parameter_depths(self) -> dict[str, int]:
        """Where in the network each parameter is: 0 in the stem, ``i + 1`` in stage ``i``.

        Read off the graph of a run without numbers: a parameter is as deep as the first map that it acts on. For
        learning rates that fall with the distance from the output, and for :meth:`freeze`.

        Returns:
            The depth by name, in the order of ``named_parameters()``.
        """
        reached = self._reached()
        return {name: reached.get(name, self.n_stages) for name, _ in self.named_parameters()}

    def _reached(self) -> dict[str, int]:
        """The depth of each parameter that some map depends on."""
        parameters = {name: torch.empty_like(p, device="meta").requires_grad_() for name, p in self.named_parameters()}
        steps = self._without_numbers((2, len(self.mean), *self.example_size()), parameters)
        names = {id(value): name for name, value in parameters.items()}
        depths: dict[str, int] = {}
        seen: set[object] = set()
        for depth, step in enumerate(steps):
            depths |= {names[id(leaf)]: depth for leaf in _leaves(step, seen) if id(leaf) in names}
        return depths

    def _without_numbers(self, shape: tuple[int, ...], parameters: Mapping[str, Tensor]) -> list[Tensor]:
        """The steps on the meta device, with a graph, for parameters that stand in for these."""
        x = torch.empty(shape, dtype=self.mean.dtype, device="meta")
        recompute, self._recompute = self._recompute, False
        try:
            steps: list[Tensor] = run_on_meta(self, x, method="every_step", parameters=parameters)
        finally:
            self._recompute = recompute
        return steps

    def every_step(self, x: Tensor) -> list[Tensor]:
        """The images, and the :meth:`steps` of an encoder that has them, or else its maps."""
        whole = type(self).forward is not Backbone.forward and type(self).steps is Backbone.steps
        return [x, *self(x)] if whole else self.steps(x)

    def example_size(self) -> tuple[int, ...]:
        """A size of images that this encoder takes; one that takes few sizes overrides it."""
        return tuple(max(32, 4 * reduction) for reduction in self.reductions[-1])


def _leaves(result: Tensor, seen: set[object]) -> Iterator[Tensor]:
    """The tensors that a result was computed from and that ask for a gradient, less those behind what was seen."""
    waiting = [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]


def _whole(module: nn.Module, frozen: set[str], prefix: str = "") -> Iterator[str]:
    """Paths of the outermost modules below this one whose parameters are all frozen."""
    for child, part in module.named_children():
        path = f"{prefix}{child}"
        names = {f"{path}.{name}" for name, _ in part.named_parameters()}
        if names and names <= frozen:
            yield path
        elif names & frozen:
            yield from _whole(part, frozen, f"{path}.")


def _segments(modules: Sequence[nn.Module]) -> Iterator[Callable[[Tensor], Tensor]]:
    """What is computed again as one: a block, or the single layers between two blocks."""
    layers: list[nn.Module] = []
    for module in modules:
        # A subclass of Sequential may run its parts in another way.
        plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
        for part in module.children() if plain else [module]:
            if next(part.children(), None) is None:
                layers.append(part)
                continue
            if layers:
                yield partial(_chain, tuple(layers))
                layers = []
            yield part
    if layers:
        yield partial(_chain, tuple(layers))


def _chain(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def _contexts(encoder: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _without_statistics(encoder)


@contextmanager
def _without_statistics(encoder: nn.Module) -> Iterator[None]:
    """Batch normalization as in training, but the running statistics stay: they have seen this batch already."""
    tracking = [part for part in encoder.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    before = [(part, part.momentum, part.num_batches_tracked) for part in tracking]
    for part in tracking:
        part.momentum, part.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for part, momentum, n_batches in before:
            part.momentum, part.num_batches_tracked = momentum, n_batches
