"""Families of methods: where a method fuses."""

from mmfusion.models.registration import blueprint_of
from mmfusion.registry import PluginError


def family(model: str, *, row: bool) -> str:
    """Words for where a model fuses, by its blueprint with default options.

    Args:
        model: Registered name, or that of a reference row.
        row: Whether it is a reference row, fitted to the table alone.

    Returns:
        ``maps``, ``tokens``, ``decisions``, ``images alone``, ``table alone``, ``embeddings`` or ``table, fitted``;
        empty for a model without a blueprint, or whose plug-in is not loaded.
    """
    if row:
        return "table, fitted"
    try:
        blueprint = blueprint_of(model)
    except (ValueError, PluginError):
        return ""
    if blueprint.maps:
        return "maps"
    if tuple(blueprint.reads) in (("images",), ("tables",)):
        return "images alone" if "images" in blueprint.reads else "table alone"
    if any(blueprint.tokens.values()):
        return "tokens"
    return "embeddings" if blueprint.decision is None else "decisions"
