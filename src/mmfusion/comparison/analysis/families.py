"""Families of methods: where a method fuses."""

from collections.abc import Mapping
from typing import Any

from mmfusion.comparison.reference_choice import of_name
from mmfusion.models import Blueprint
from mmfusion.models.registration import blueprint_of
from mmfusion.registry import PluginError


def family(model: str, *, row: bool, content: Mapping[str, Any] | None = None) -> str:
    """Words for where a model fuses, by its blueprint with default options.

    Args:
        model: Registered name, or that of a reference row.
        row: Whether it is a reference row.
        content: Of the blueprint that a run was given as a file, which need not be here.

    Returns:
        ``maps``, ``tokens``, ``decisions``, ``images alone``, ``table alone`` or ``embeddings``; for a reference row
        ``reference:`` and its inputs; empty for a model without a blueprint, or whose plug-in is not loaded.
    """
    if row:
        known = of_name(model)
        return f"reference: {' + '.join(known.inputs) if known is not None else 'table'}"
    try:
        blueprint = blueprint_of(model) if content is None else Blueprint.from_dict(content)
    except (ValueError, PluginError):
        return ""
    if blueprint.maps:
        return "maps"
    if tuple(blueprint.reads) in (("images",), ("tables",)):
        return "images alone" if "images" in blueprint.reads else "table alone"
    if any(blueprint.tokens.values()):
        return "tokens"
    return "embeddings" if blueprint.decision is None else "decisions"
