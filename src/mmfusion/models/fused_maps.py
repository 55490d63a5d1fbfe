"""Map fusions at one point of the encoders, on whole batches, bags of images among them."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mmfusion.fusion.maps import MapFusion
from mmfusion.fusion.maps.map_fusion import ConditionedMapFusion
from mmfusion.models.bags import BagLayout, BagPooling
from mmfusion.models.rows import Rows
from mmfusion.tokens import Tokens


def fused(
    acting: Sequence[MapFusion],
    point: int,
    maps: dict[str, Tensor],
    context: Tokens | None,
    rows: Mapping[str, Rows],
    layouts: Mapping[str, BagLayout],
    how: BagPooling,
) -> dict[str, Tensor]:
    """Maps changed by every fusion that acts at a point, in order.

    Each image of a bag is changed by itself, with its case's tables. To a fusion that links images, the others of the
    case show their pooled maps, and so does the bag to them.

    Args:
        acting: The fusions.
        point: Where they act.
        maps: By image, ``(r, c, *spatial)`` of the cases that have it; of bags ``(n, c, *spatial)``, one row per image.
        context: Features of the tables, one row per case.
        rows: For the images that some case may lack, which rows they are.
        layouts: Of the images that are bags.
        how: How bags are pooled.

    Returns:
        Maps of the same shapes.
    """
    if not acting or not maps:
        return maps
    maps = {name: rows[name].put(x) if name in rows and name not in layouts else x for name, x in maps.items()}
    present = {name: rows[name].present for name in maps if name in rows}
    for fusion in acting:
        known = {name: x for name, x in maps.items() if name in fusion.routes}
        bags = {name: layouts[name] for name in known if name in layouts}
        if not bags:
            maps = maps | (fusion(known, context, point, present) if known else {})
            continue
        cases = {name: _positions(layout, rows.get(name)) for name, layout in bags.items()}
        if isinstance(fusion, ConditionedMapFusion):
            maps = maps | fusion(known, context, point, present, cases=cases)
            continue
        pooled = {name: layout.pool(known[name], how) for name, layout in bags.items()}
        of_cases = known | {name: rows[name].put(x) if name in rows else x for name, x in pooled.items()}
        if len(bags) < len(known):
            linked = fusion(of_cases, context, point, present)
            maps = maps | {name: x for name, x in linked.items() if name not in bags}
        for name, index in cases.items():
            of_images = {other: x.index_select(0, index) for other, x in of_cases.items() if other != name}
            changed = fusion(
                {other: of_images.get(other, known[name]) for other in known},
                None if context is None else _select(context, index),
                point,
                {other: row.index_select(0, index) for other, row in present.items()},
            )
            maps = maps | {name: changed[name]}
    return {name: rows[name].again(x) if name in rows and name not in layouts else x for name, x in maps.items()}


def _positions(layout: BagLayout, rows: Rows | None) -> Tensor:
    """Position in the batch of each image's case."""
    cases = layout.cases()
    return cases if rows is None or rows.where is None else rows.where.index_select(0, cases)


def _select(context: Tokens, index: Tensor) -> Tokens:
    mask = None if context.mask is None else context.mask.index_select(0, index)
    return Tokens(context.x.index_select(0, index), mask)
