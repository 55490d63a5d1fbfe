"""The account of a case: presence of modalities, columns and regions, in one unit, adding up to the output.

``v(S; m, T)`` is the output with the modalities S in full and modality m with its parts T alone: other cells missing,
other regions at a baseline. Parts get Owen values with the modality as the group: over the coalitions S of the other
modalities, with Shapley's weights ``w(S)``, the mean of Shapley values in the game ``T -> v(S; m, T)``. The presence of
m gets ``sum w(S) (v(S; m, none) - v(S))``: a table without any known cell is not an absent table, and an image at its
baseline is not an absent image. Together they are the Shapley value of m among the modalities.

Where a model masks a table without any known cell, that table is no different from an absent one, and the first column
to come would bring the presence of all. Its step then counts as presence: ``v(S; m, none)`` becomes the mean of the
values with one column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from mmfusion.explain.coalition_values import CoalitionValues, is_masked_without_cells
from mmfusion.explain.games import (
    Estimate,
    along,
    coalitions,
    interactions,
    orders,
    sampled_values,
    shapley_values,
    shapley_weights,
)
from mmfusion.explain.modalities import modality_game
from mmfusion.explain.outputs import Output
from mmfusion.explain.regions import Baseline
from mmfusion.explain.undisturbed import plain, rows_of, undisturbed
from mmfusion.models import FusionModel
from mmfusion.option_checks import checked
from mmfusion.options import Range
from mmfusion.tokens import Bag, Inputs, Maps, Present


class Parts(NamedTuple):
    """What the columns of a table or the regions of an image add.

    Attributes:
        names: Columns, or the regions' numbers.
        values: Shape ``(n,)`` float64; exactly 0 for a cell that is missing.
        errors: Standard errors, likewise; zeros where all coalitions were tried.
        presence_error: Standard error of the modality's presence term; 0 unless it was sampled with them.
    """

    names: tuple[str, ...]
    values: Tensor
    errors: Tensor
    presence_error: float


@dataclass(frozen=True)
class Account:
    """Contributions to one case's output: ``bias + presence + parts = output``.

    Attributes:
        bias: The output without any modality.
        output: With all that the case has.
        modalities: Shapley value of each modality, its presence and its parts together; 0 where the case lacks it.
        presence: Of each modality, what remains of its value without its parts.
        parts: Of tables, and of the images whose regions were given, those that the case has.
        interaction: Shapley interaction index of each pair of modalities, beside the sum: the values contain it.
    """

    bias: float
    output: float
    modalities: dict[str, float]
    presence: dict[str, float]
    parts: dict[str, Parts]
    interaction: dict[tuple[str, str], float]

    @property
    def total(self) -> float:
        """The sum of all contributions, which is the output up to rounding."""
        of_parts = sum(float(parts.values.sum()) for parts in self.parts.values())
        return self.bias + sum(self.presence.values()) + of_parts


@checked
def contributions(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None = None,
    *,
    output: Output = Output(),  # noqa: B008  # immutable
    regions: Mapping[str, Tensor] | None = None,
    baseline: Baseline | Tensor = "blur",
    exact: Annotated[int, Range(0, 16)] = 12,
    n_orders: Annotated[int, Range(2)] = 64,
    seed: int = 0,
    batch_size: Annotated[int, Range(1)] = 256,
) -> list[Account]:
    """The account of each case of a batch.

    Columns of a model without map fusion are enumerated, ``2**n`` coalitions for each coalition of the other
    modalities. Regions, columns of a model that needs its encoders for each coalition, and more than ``exact`` parts
    are sampled: random orders, for each coalition of the other modalities at least two.

    Args:
        model: A fusion model of at most six modalities, in any mode.
        inputs: As the model's, images as pixels.
        present: As the model's.
        output: What is explained, and its unit.
        regions: By image the number of each position's region, shape ``size`` or ``(b, *size)`` int64; see
            :func:`grid_regions` and :func:`superpixels`. An image without counts as a whole, as a bag
            does.
        baseline: What a region is replaced by; see :func:`without_content`.
        exact: Parts of which all coalitions are tried at most; regions among them where they are so few.
        n_orders: Random orders where there are more.
        seed: Of these.
        batch_size: Coalitions that run at once.

    Returns:
        One account per case.

    Raises:
        ValueError: If there are more than six modalities, or regions do not fit their image.
    """
    inputs = plain(inputs)
    if encoded := [name for name in regions or {} if isinstance(inputs.get(name), Maps)]:
        raise ValueError(f"regions are taken away from pixels, and {encoded} came as maps: give the images")
    if bagged := [name for name in regions or {} if isinstance(inputs.get(name), Bag)]:
        raise ValueError(
            f"regions are of one image per case, and {bagged} came as bags: leave them out of regions, and a bag "
            "counts as a whole; class_activation_map and occlusion show each of its images"
        )
    game, score = modality_game(model, inputs, present, output)
    labels = {name: _labels(model, name, regions_of, len(game)) for name, regions_of in (regions or {}).items()}
    generator = torch.Generator().manual_seed(seed)
    accounts = []
    with undisturbed(model):
        for i in range(len(game)):
            case = rows_of(inputs, score.index.new_tensor([i]))
            has = [n for n in model.names if n in case and bool((present or {}).get(n, torch.ones(i + 1))[i])]
            values = CoalitionValues(
                model,
                {name: case[name] for name in has},
                score.case(i),
                {name: of_image[i] for name, of_image in labels.items() if name in has},
                baseline,
                batch_size,
            )
            accounts.append(_account(model, values, game[i], has, exact, n_orders, generator))
    return accounts


def _account(
    model: FusionModel,
    values: CoalitionValues,
    game: Tensor,
    has: list[str],
    exact: int,
    n_orders: int,
    generator: torch.Generator,
) -> Account:
    presence = dict(zip(model.names, shapley_values(game).tolist(), strict=True))
    modalities, parts = dict(presence), {}
    rounding = 8 * values.eps * max(1.0, float(game.abs().max()))
    for name in has:
        players, others = values.players(name), [other for other in has if other != name]
        if not len(players):
            continue
        rows = coalitions(len(others)).tolist()
        subsets = [[other for other, member in zip(others, row, strict=True) if member] for row in rows]
        weights, n = shapley_weights(len(others)), len(players)
        table = name in model.columns
        counts = not (table and is_masked_without_cells(model, name, values.case[name]))
        if n <= exact and ((table and model.tokens_apart) or 2**n <= n_orders):
            tried = values.of(name, coalitions(n), subsets)
            each = shapley_values(tried, first_counts=counts, rounding=rounding)
            found, error = Estimate(weights @ each, torch.zeros(n, dtype=torch.float64)), 0.0
            start = tried[:, 0] if counts else tried[:, [1 << i for i in range(n)]].mean(1)
        else:
            estimates, start, errors = [], torch.zeros(len(subsets), dtype=torch.float64), []
            for k, subset in enumerate(subsets):
                order = orders(n, max(2, round(n_orders * float(weights[k]))), generator)
                tried = values.of(name, along(order).flatten(0, 1), [subset]).view(len(order), n + 1)
                estimates.append(sampled_values(tried, order, first_counts=counts, rounding=rounding))
                first = tried[:, 0 if counts else 1]
                start[k] = first.mean()
                errors.append(first.std() / len(order) ** 0.5)
            found = Estimate(*((weights[:, None] * torch.stack(x)).sum(0) for x in zip(*estimates, strict=True)))
            found = found._replace(errors=(weights[:, None] * torch.stack([e.errors for e in estimates])).norm(dim=0))
            error = float((weights * torch.stack(errors)).norm())
        absent = torch.stack([game[sum(1 << model.names.index(other) for other in subset)] for subset in subsets])
        presence[name] = float(weights @ (start - absent.cpu()))
        parts[name] = _named(model, name, players.cpu(), found, error)
    index = interactions(game)
    pairs = {(a, b): float(index[i, j]) for j, b in enumerate(model.names) for i, a in enumerate(model.names[:j])}
    return Account(float(game[0]), float(game[-1]), modalities, presence, parts, pairs)


def _named(model: FusionModel, name: str, players: Tensor, found: Estimate, error: float) -> Parts:
    """Parts by name; missing cells, which are no players, with zeros."""
    names = model.columns[name].names if name in model.columns else tuple(map(str, range(len(players))))
    values, errors = (torch.zeros(len(names), dtype=torch.float64).scatter(0, players, x) for x in found)
    return Parts(names, values, errors, error)


def _labels(model: FusionModel, name: str, regions: Tensor, n_cases: int) -> Tensor:
    """Numbers from 0 without gaps, shape ``(b, *size)``."""
    if name not in model.images:
        raise ValueError(f"regions expects images of the model, {list(model.images)}, got {name!r}")
    size = model.images[name].size
    if tuple(regions.shape) not in (size, (n_cases, *size)) or regions.is_floating_point():
        raise ValueError(
            f"regions[{name!r}] expects whole numbers of shape {size} or {(n_cases, *size)}, got {regions.dtype} "
            f"{tuple(regions.shape)}"
        )
    each = regions.expand(n_cases, *size)
    return torch.stack([of_case.unique(return_inverse=True)[1] for of_case in each])
