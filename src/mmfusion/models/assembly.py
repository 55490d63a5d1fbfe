"""Assembly of a model from its blueprint: each part is built with what came before it, complete when constructed."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mmfusion import registry
from mmfusion.fusion.vectors import VectorFusion
from mmfusion.models import shapes
from mmfusion.models.blueprint import Blueprint, as_part
from mmfusion.models.context import Context
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.image_encoders import ImageEncoders, encoders_for
from mmfusion.option_checks import marks, option_hints
from mmfusion.options import Modalities
from mmfusion.registry import Choice, Registry
from mmfusion.spec import DataSpec
from mmfusion.tokenizers import create_tabular_tokenizer


def assemble(blueprint: Blueprint, spec: DataSpec) -> FusionModel:
    """Build a model.

    A part's builder is given, by the names of its parameters, what is known by then: ``names``, ``kinds``, ``spec`` and
    ``targets`` of the modalities that are read, ``dim``, the width of what it gets, ``map_shapes`` (image tokenizers),
    ``sites`` (map fusions), ``stages`` (poolings).

    Args:
        blueprint: The model's slots.
        spec: The data.

    Returns:
        The model, with ``blueprint`` and ``spec``.

    Raises:
        ValueError: If a name or an option is unknown or out of range, or the parts do not fit together or the data.
    """
    names = select(blueprint.reads, kinds_of(spec))
    if not names:
        raise ValueError(f"it reads {', '.join(blueprint.reads)}, of which the spec has none: it has {spec.names}")
    if unknown := [name for name in names if name not in spec.names]:
        raise ValueError(
            f"it reads {unknown}, which the spec does not have: it has {spec.names}; name some of these, or images, "
            "tables or *"
        )
    read = spec.only(*names)
    known: dict[str, Any] = {"names": read.names, "spec": read, "targets": spec.targets, "kinds": kinds_of(read)}
    dim = blueprint.dim

    encoders = encoders_for(read.images, blueprint.encoder)
    context = None
    if blueprint.context is not None and spec.tables:
        context = Context.create(spec.tables, blueprint.context, dim=dim)
    if blueprint.maps:
        _add_map_fusions(encoders, blueprint, context, known)
    tokenizers = _tokenizers(blueprint, read, encoders, dim)

    stages = shapes.by_stage(shapes.token_shapes(tokenizers, encoders.map_shapes, read.tables))
    per_stage: list[nn.Module] = []
    for s in range(len(stages)):
        blocks, stages[s] = _token_fusions(blueprint.tokens["per_stage"], stages[s], known)
        per_stage.append(blocks[0] if len(blocks) == 1 else nn.Sequential(*blocks))
    layers, stages[-1] = _token_fusions(blueprint.tokens["layers"], stages[-1], known)

    width = next(iter(stages[-1].values())).dim
    pooling = _build(registry.poolings, blueprint.pooling, known, stages=stages, dim=width)
    widths = {name: x.shape[-1] for name, x in (shapes.embeddings_of(pooling, stages) or {}).items()}
    vectors, decision, head = _outputs(blueprint, known, widths, width)
    return FusionModel(
        tokenizers=tokenizers,
        pooling=pooling,
        vectors=vectors,
        decision=decision,
        head=head,
        encoders=encoders,
        context=context,
        per_stage=per_stage if blueprint.tokens["per_stage"] else (),
        layers=layers,
        ignored=[name for name in spec.names if name not in names and not (context and name in spec.tables)],
        token_norm=blueprint.token_norm,
        blueprint=blueprint,
        spec=spec,
    )


def kinds_of(spec: DataSpec) -> dict[str, tuple[str, ...]]:
    """The names that ``*``, ``images`` and ``tables`` stand for."""
    return {"*": spec.names, "images": tuple(spec.images), "tables": tuple(spec.tables)}


def select(names: str | Sequence[str], kinds: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names, with those of a kind in the place of ``*``, ``images`` and ``tables``; each once."""
    parts = [names] if isinstance(names, str) else names
    return tuple(dict.fromkeys(name for part in parts for name in kinds.get(part, (part,))))


def _build(kind: Registry, choice: Choice, known: Mapping[str, Any], **available: Any) -> Any:
    """A part, with the options that name modalities resolved."""
    part = as_part(choice)
    hints = option_hints(kind.get(part["name"]))
    for key, value in part.items():
        if value is not None and marks(hints.get(key), Modalities):
            part[key] = select(value, known["kinds"])
    return kind.build(part, **{**known, **available})


def _add_map_fusions(
    encoders: ImageEncoders, blueprint: Blueprint, context: Context | None, known: Mapping[str, Any]
) -> None:
    if not encoders.images:
        raise ValueError(f"map fusion needs an image modality, it reads {list(known['names'])}")
    sites = encoders.sites(d_context=context.dim if context else 0, mean_square=context.mean_square if context else 1.0)
    for part in blueprint.maps:
        encoders.add_fusion(_build(registry.map_fusions, part, known, sites=sites))


def _tokenizers(blueprint: Blueprint, read: DataSpec, encoders: ImageEncoders, dim: int) -> dict[str, nn.Module]:
    tokenizers: dict[str, nn.Module] = {}
    table = blueprint.tokenizer["table"]
    for name in read.names:
        if name in read.images:
            given = {"image": read[name], "map_shapes": encoders.map_shapes[name], "dim": dim}
            tokenizers[name] = registry.image_tokenizers.build(blueprint.tokenizer["image"], **given)
        elif as_part(table)["name"] in registry.table_encoders:
            tokenizers[name] = registry.table_encoders.build(table, columns=read[name], dim=dim)
        else:
            tokenizers[name] = create_tabular_tokenizer(table, read[name], dim=dim)
    return tokenizers


def _token_fusions(
    parts: Sequence[Choice], tokens: dict[str, Any], known: Mapping[str, Any]
) -> tuple[list[nn.Module], dict[str, Any]]:
    """Token fusions in sequence, and the shapes of what comes out of the last."""
    blocks = []
    for part in parts:
        width = next(iter(tokens.values())).dim
        block = _build(registry.token_fusions, part, known, names=tuple(tokens), dim=width)
        tokens = shapes.after_fusion(block, tokens)
        blocks.append(block)
    return blocks, tokens


def _outputs(
    blueprint: Blueprint, known: Mapping[str, Any], widths: Mapping[str, int], width: int
) -> tuple[VectorFusion | None, Any, nn.Module]:
    """Vector fusion or decision fusion, and the head or heads."""
    head = as_part(blueprint.head)
    shared = head.pop("shared", False)
    part = as_part(blueprint.vectors if blueprint.decision is None else blueprint.decision)
    names = select(part.pop("of", ("*",)), known["kinds"])
    dims = {name: widths.get(name, width) for name in names}
    if blueprint.decision is None:
        vectors = _build(registry.vector_fusions, part, known, names=names, dim=dims[names[0]])
        return vectors, None, _build(registry.heads, head, known, dim=vectors.dim_out)
    decision = _build(registry.decisions, part, known, names=names)
    heads = {name: _build(registry.heads, head, known, dim=dims[name]) for name in (names[:1] if shared else names)}
    return None, decision, heads[names[0]] if shared else nn.ModuleDict(heads)
