"""Search spaces of a tuned comparison, and the points that all methods share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmfusion import registry
from mmfusion.experiments.settings import Settings
from mmfusion.models.assembly import kinds_of, select
from mmfusion.models.blueprint import Blueprint, as_part
from mmfusion.models.registration import FromFile, Method
from mmfusion.option_checks import keyword_options, search_ranges
from mmfusion.options import LogUniform, SearchRange, Uniform
from mmfusion.spec import DataSpec

MOST_OPTIONS = 2
"""Largest number of options that a method declares tunable."""

SHARED = ("train.lr", "train.weight_decay", "model.dropout", "train.encoder_lr_scale")
"""Settings that are tuned in every method that they act in, in the order of the sequence's columns."""

WEIGHT_DECAY = LogUniform(1e-5, 0.1)
DROPOUT = Uniform(0, 0.7)
ENCODER_RATE = LogUniform(0.03, 3)
LEARNING_RATE_FACTOR = 10.0
"""The learning rate is tried from the recipe's divided by this to the recipe's times this."""

_SCRAMBLE = 0


@dataclass(frozen=True)
class SearchSpace:
    """What is tuned in a method.

    Attributes:
        ranges: By setting, as ``section.key``.
        columns: By setting, the column of the points that it is read from.
        dropped: By setting, why it is not tuned.
    """

    ranges: Mapping[str, SearchRange]
    columns: Mapping[str, int]
    dropped: Mapping[str, str]

    def values(self, point: NDArray[np.float64]) -> dict[str, Any]:
        """The settings at a point.

        Args:
            point: A row of :func:`points`.
        """
        return {key: values.at(float(point[self.columns[key]])) for key, values in self.ranges.items()}


def points(n: int) -> NDArray[np.float64]:
    """The first points of the scrambled Sobol sequence that all methods share.

    The first of 32 points are those of 16: a larger budget goes on where the smaller one ended.

    Args:
        n: A power of two, for which every column has one value in each n-th of its range.

    Returns:
        Shape ``(n, 6)``, values from 0 to below 1: the settings of :data:`SHARED`, and a method's own two options.

    Raises:
        ValueError: If n is not a power of two.
    """
    if n < 1 or n & (n - 1):
        near = [2 ** max(n.bit_length() - 1, 0), 2 ** max(n.bit_length(), 0)] if n > 0 else [16]
        listed = " or ".join(str(power) for power in near)
        raise ValueError(f"trials expects a power of two, since a Sobol sequence is even for these: {listed}, got {n}")
    sobol: Any = torch.quasirandom.SobolEngine  # untyped
    engine = sobol(len(SHARED) + MOST_OPTIONS, scramble=True, seed=_SCRAMBLE)
    drawn: NDArray[np.float64] = engine.draw(n, dtype=torch.float64).numpy()
    return drawn


def search_space(settings: Settings, spec: DataSpec, fixed: Collection[str] = ()) -> SearchSpace:
    """What is tuned in a method, on some data.

    A setting that has no effect is dropped, and so is one that is off in the recipe: none, or 0 where a range is
    logarithmic.

    Args:
        settings: The recipe.
        spec: The data.
        fixed: Settings that make the method what it is.

    Raises:
        ValueError: If the method declares more than two options tunable, or is not for such data.
    """
    model = settings.run.model
    own_ranges = search_ranges(registry.models.get(model))
    if len(own_ranges) > MOST_OPTIONS:
        raise ValueError(
            f"model {model!r} declares {len(own_ranges)} options tunable ({', '.join(own_ranges)}), at most "
            f"{MOST_OPTIONS} are allowed"
        )
    rates = settings.train.lr / LEARNING_RATE_FACTOR, settings.train.lr * LEARNING_RATE_FACTOR
    ranges: dict[str, SearchRange] = {
        "train.lr": LogUniform(*(float(f"{rate:.3g}") for rate in rates)),
        "train.weight_decay": WEIGHT_DECAY,
        "model.dropout": DROPOUT,
        "train.encoder_lr_scale": ENCODER_RATE,
    }
    ranges |= {f"model.{name}": values for name, values in own_ranges.items()}
    columns = {key: column for column, key in enumerate(ranges)}
    dropped = {key: "it is part of the method's name" for key in ranges if key in fixed}
    dropped |= _without_effect(settings, spec)
    for key, values in ranges.items():
        current = value_of(settings, key)
        # None of a file's shared option is what the file says.
        off = current is None and "blueprint" not in settings.model
        if key not in dropped and (off or (isinstance(values, LogUniform) and not current)):
            dropped[key] = "it is off in the recipe"
    return SearchSpace(
        {key: values for key, values in ranges.items() if key not in dropped},
        {key: column for key, column in columns.items() if key not in dropped},
        dropped,
    )


def value_of(settings: Settings, key: str) -> Any:
    """The value of a setting, or the default of an option that is not set.

    Args:
        settings: Complete settings.
        key: As ``section.key``, of the sections ``train`` and ``model``.
    """
    section, _, name = key.partition(".")
    if section == "train":
        return getattr(settings.train, name)
    return settings.model.get(name, registry.models.defaults(settings.run.model).get(name))


def _without_effect(settings: Settings, spec: DataSpec) -> dict[str, str]:
    """Shared settings that change nothing in this method, with the reason."""
    dropped = {}
    builder, blueprint = registry.models.get(settings.run.model), _blueprint(settings, spec)
    known = registry.models.options(settings.run.model)
    images = list(spec.images)
    if blueprint is not None:
        images = [name for name in select(blueprint.reads, kinds_of(spec)) if name in spec.images]
    if "encoder" not in known or not images:
        dropped["train.encoder_lr_scale"] = "the method has no image encoder"
    elif settings.train.freeze == "all":
        dropped["train.encoder_lr_scale"] = "the encoder is frozen"
    if "dropout" not in known:
        dropped["model.dropout"] = "the method has no dropout"
    elif blueprint is not None and not _own_dropout(builder) and not _hidden(blueprint):
        dropped["model.dropout"] = "the head has no hidden layer"
    return dropped


def _blueprint(settings: Settings, spec: DataSpec) -> Blueprint | None:
    """The method's blueprint; None for a builder without one."""
    builder, options = registry.models.get(settings.run.model), dict(settings.model)
    if isinstance(builder, Method):
        return builder.blueprint(spec, **options)
    if isinstance(builder, FromFile):
        return Blueprint.from_dict(options.pop("blueprint")).changed(**options)
    return None


def _own_dropout(builder: Any) -> bool:
    """Whether dropout is an option of the method itself, in its blocks, and not of its head alone."""
    return isinstance(builder, Method) and "dropout" in keyword_options(builder.function)


def _hidden(blueprint: Blueprint) -> Any:
    head = as_part(blueprint.head)
    return head.get("hidden", registry.heads.defaults(head["name"]).get("hidden", True))
