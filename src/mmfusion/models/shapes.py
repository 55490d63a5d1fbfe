"""Shapes of tokens and embeddings by dry runs on the meta device, with errors that name the part."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmfusion.fusion.decisions import DecisionFusion
from mmfusion.fusion.maps import MapFusion, MapSites
from mmfusion.fusion.vectors import VectorFusion
from mmfusion.spec import Columns
from mmfusion.tokenizers.image import ImageTokenizer
from mmfusion.tokens import Table, Tokens, TokenShape
from mmfusion.utils.meta import run_on_meta

# What torch says of shapes that do not go together, in many words: of matrices, of sums, of norms, of convolutions.
_SHAPES = re.compile(r"shape|size|\bdim|channel|broadcast", re.IGNORECASE)

StageShapes = list[dict[str, TokenShape]]


def dtype_of(module: nn.Module) -> torch.dtype:
    """The floating-point dtype of a module's parameters: parts may have been made double before they are composed."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.get_default_dtype())


def token_shapes(
    tokenizers: Mapping[str, nn.Module] | nn.ModuleDict,
    map_shapes: Mapping[str, Sequence[tuple[int, ...]]],
    tables: Mapping[str, Columns],
) -> dict[str, tuple[TokenShape, ...]]:
    """The shapes of what each tokenizer gives, one per stage.

    Args:
        tokenizers: By modality.
        map_shapes: By image, ``(c, *spatial)`` per stage.
        tables: The other modalities.

    Raises:
        ValueError: If a tokenizer was built for other content, or the numbers of stages differ.
    """
    shapes = {}
    for name, tokenizer in tokenizers.items():
        dtype = dtype_of(tokenizer)
        if name in map_shapes:
            given: Any = tuple(torch.empty((2, *shape), dtype=dtype, device="meta") for shape in map_shapes[name])
        else:
            columns = tables[name]
            given = Table(
                torch.empty(2, len(columns.numerical), dtype=dtype, device="meta"),
                torch.empty(2, len(columns.categorical), dtype=torch.int64, device="meta"),
            )
        try:
            sets: tuple[Tokens, ...] = run_on_meta(tokenizer, given)
        except ValueError as error:
            raise ValueError(f"the tokenizer {type(tokenizer).__name__} of {name!r}: {error}") from error
        grids = [tokenizer.grid(s) if isinstance(tokenizer, ImageTokenizer) else None for s in range(len(sets))]
        shapes[name] = tuple(TokenShape(t.x.shape[1], t.x.shape[2], grid) for t, grid in zip(sets, grids, strict=True))
    counts = {name: len(sets) for name, sets in shapes.items()}
    if len({n for n in counts.values() if n > 1}) > 1:
        raise ValueError(f"the modalities must have one number of stages, or a single one, got {counts}")
    return shapes


def by_stage(sets: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """One dict per stage; a modality of a single stage, such as a table, serves at every stage."""
    n_stages = max(len(of_name) for of_name in sets.values())
    return [{name: s[i] if len(s) > 1 else s[0] for name, s in sets.items()} for i in range(n_stages)]


def after_fusion(module: nn.Module, tokens: Mapping[str, TokenShape]) -> dict[str, TokenShape]:
    """The shapes of what a token fusion gives.

    Raises:
        ValueError: If widths do not go together; names the part and the widths.
    """
    given = on_meta(tokens, dtype_of(module))
    out: dict[str, Tokens] = _run(f"the token fusion {type(module).__name__}", module, given, given=_widths([tokens]))
    return {
        name: TokenShape(t.x.shape[1], t.x.shape[2], tokens[name].grid)
        if name in tokens and tokens[name].n_tokens == t.x.shape[1]
        else TokenShape(t.x.shape[1], t.x.shape[2])
        for name, t in out.items()
    }


def check_map_fusion(fusion: MapFusion, sites: MapSites) -> None:
    """Check that a map fusion was built for the maps of some encoders, and keeps their shapes.

    One that cannot be run without numbers is left to the first batch.

    Args:
        fusion: The block.
        sites: The encoders' maps.

    Raises:
        ValueError: Saying what it was built for and what there is.
    """
    kind = type(fusion).__name__
    if unknown := sorted(set(fusion.routes) - set(sites.routes)):
        raise ValueError(f"{kind} acts on the images {unknown}, which are not here: there are {list(sites.routes)}")
    for point in sorted(fusion.points):
        place = "behind the last stage" if point == sites.n_stages else f"before stage {point}"
        shapes = {name: sites.shapes[name][point] if point <= sites.n_stages else None for name in fusion.routes}
        given_sites = {
            name: None if shape is None else (sites.routes[name], shape[0]) for name, shape in shapes.items()
        }
        wanted = {name: (route, fusion.channels[route][point]) for name, route in fusion.routes.items()}
        if given_sites != wanted:
            raise ValueError(
                f"{kind} was built for other encoders: {place} for maps of {wanted}, by encoder and channels, and here "
                f"are {given_sites}: build it for the sites of these"
            )
        given = {
            name: torch.empty((2, *shape), dtype=dtype_of(fusion), device="meta")
            for name, shape in shapes.items()
            if shape is not None
        }
        context = Tokens(torch.empty(2, 1, fusion.d_context, dtype=dtype_of(fusion), device="meta"))
        try:
            output: dict[str, Tensor] = run_on_meta(fusion, given, context if fusion.d_context else None, point)
        except RuntimeError as error:
            if isinstance(error, NotImplementedError) or _SHAPES.search(str(error)) is None:
                return
            raise ValueError(f"{kind} does not fit the maps {place}, {shapes}: {error}") from error
        if (shapes_out := {name: tuple(x.shape[1:]) for name, x in output.items()}) != shapes:
            raise ValueError(f"{kind} must keep the shapes of maps, {place} it gives {shapes_out} for {shapes}")


def on_meta(tokens: Mapping[str, TokenShape], dtype: torch.dtype) -> dict[str, Tokens]:
    """Tokens without numbers, two cases."""
    return {
        name: Tokens(torch.empty(2, shape.n_tokens, shape.dim, dtype=dtype, device="meta"))
        for name, shape in tokens.items()
    }


def embeddings_of(pooling: nn.Module, stages: StageShapes) -> dict[str, Tensor] | None:
    """The embeddings that a pooling gives, on the meta device; None where it cannot be run without numbers.

    Raises:
        ValueError: If the pooling does not fit the tokens; names it and the widths.
    """
    tokens = [on_meta(stage, dtype_of(pooling)) for stage in stages]
    try:
        pooled: dict[str, Tensor] = _run(
            f"the pooling {type(pooling).__name__}", pooling, tokens, given=_widths(stages)
        )
    except RuntimeError:
        return None
    return pooled


def check_outputs(
    embeddings: dict[str, Tensor] | None, vectors: VectorFusion | None, head: nn.Module, decision: DecisionFusion | None
) -> None:
    """Check that vector or decision fusion and head fit the embeddings.

    A part that reads values or computes in another dtype cannot be run without numbers: it is left to the first batch.

    Args:
        embeddings: On the meta device; None: unknown.
        vectors: Of the model.
        head: Likewise.
        decision: Likewise; one of the two fusions is None.

    Raises:
        ValueError: If shapes or names do not go together; names the part and the widths.
    """
    if decision is not None and isinstance(head, nn.ModuleDict) and set(head) != set(decision.names):
        raise ValueError(
            f"{type(decision).__name__} combines the outputs of {list(decision.names)}, there are heads of {list(head)}"
        )
    reader = decision or vectors
    if embeddings is None or reader is None:
        return
    if absent := [name for name in reader.names if name not in embeddings]:
        raise ValueError(
            f"{type(reader).__name__} is built for {absent}, which the model does not have: it has {list(embeddings)}"
        )
    try:
        if vectors is not None:
            widths = ", ".join(f"{name} {x.shape[-1]}" for name, x in embeddings.items())
            part, given = f"the vector fusion {type(vectors).__name__}", f"embeddings of the widths {widths}"
            x = _run(part, vectors, embeddings, {}, given=given)
            _run(f"the head {type(head).__name__}", head, x, given=f"a vector of width {x.shape[-1]}")
            return
        for name in reader.names:
            of_name, x = head[name] if isinstance(head, nn.ModuleDict) else head, embeddings[name]
            part, given = f"the head of {name!r}, {type(of_name).__name__},", f"an embedding of width {x.shape[-1]}"
            _run(part, of_name, x, given=given)
    except RuntimeError:
        return


def _run(what: str, module: nn.Module, *args: Any, given: str) -> Any:
    """A part on the meta device.

    Raises:
        ValueError: If shapes do not go together.
    """
    try:
        return run_on_meta(module, *args)
    except KeyError as error:
        raise ValueError(
            f"{what} is built for {error.args[0]!r}, which is not among its inputs, {given}: build it for these names, "
            "or give the model what it is built for"
        ) from error
    except RuntimeError as error:
        if isinstance(error, NotImplementedError) or _SHAPES.search(str(error)) is None:
            raise
        raise ValueError(
            f"{what} does not fit its inputs, {given}: {str(error).rstrip('.')}. Build it for these widths, or what "
            "comes before it for its own"
        ) from error


def _widths(stages: Sequence[Mapping[str, TokenShape]]) -> str:
    """Tokens' widths by modality, in words: one number where all stages have it."""
    widths = {name: [stage[name].dim for stage in stages if name in stage] for name in stages[-1]}
    return "tokens of the widths " + ", ".join(
        f"{name} {of_name[0] if len(set(of_name)) == 1 else of_name}" for name, of_name in widths.items()
    )
