"""Ablations of a method, by name: changes to its options, and so to its blueprint.

A method's ablations are registered beside its builder, under the same name: a function without arguments that returns,
by a name for each, the options of the builder that it changes::

    from mmfusion.registry import ablations, models

    @models.register("mine")
    def mine(spec, *, gate: bool = True, dim: int = 128): ...

    @ablations.register("mine")
    def mine_ablations():
        return {"no-gate": {"gate": False}, "narrow": {"dim": 16}}

``mmfusion run --model mine --ablate`` runs them all, and ``full``, which changes nothing. One that says what the
settings say anyway is left out, so that a table may name every choice of a part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmfusion.option_checks import suggestion
from mmfusion.registry import ablations, check_options, models

FULL = "full"
"""The name of the method as it is."""


def ablate(model: str, only: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """A method's ablations, the whole method first.

    Args:
        model: Registered name.
        only: Names of some of them; empty: all.

    Returns:
        Options of the builder, by name.

    Raises:
        ValueError: If the model is unknown, has no ablations or none of such a name, or one of them has an unknown
            option or a name that is no folder's.
    """
    builder = models.get(model)
    if model not in ablations:
        raise ValueError(
            f"model {model!r} has no ablations; there are some of: {', '.join(ablations.list()) or 'none'}"
        )
    registered: Mapping[str, Mapping[str, Any]] = ablations.create(model)
    table: dict[str, dict[str, Any]] = {FULL: {}} | {name: dict(options) for name, options in registered.items()}
    for name, options in table.items():
        check_options(f"ablation {name!r} of model {model!r}", builder, options)
        if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
            raise ValueError(f"an ablation's name becomes a folder's: letters, digits, - and _, got {name!r}")
    for name in only:
        if name not in table:
            raise ValueError(f"model {model!r} has no ablation {name!r}; {suggestion(name, table)}")
    return {name: options for name, options in table.items() if not only or name in only}
