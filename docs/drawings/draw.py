"""Who pulls and pushes whom: a drawing of each loss term, computed from the term itself.

``python docs/drawings/draw.py`` writes ``docs/drawings/<name>.svg`` for every name in :data:`DRAWINGS`. Nothing but the
toy batch is placed by hand: lines are derivatives of the loss by cosines, arrows are its gradient.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.path import Path as Outline
from torch import Tensor

from mmfusion import losses, registry
from mmfusion.losses import AnchorSet, Batch, Prototypes, anchor_set, masked_columns_loss, matching_loss
from mmfusion.losses.inputs import loss_inputs
from mmfusion.losses.pairs import modality_pairs
from mmfusion.spec import Columns
from mmfusion.tokens import Table

FOLDER = Path(__file__).parent

# Okabe and Ito's blue and vermilion; solid and dashed, and the arrow heads, say the same without colour.
PULL, PUSH = "#0072b2", "#d55e00"
INK, PALE, CARD = "#1a1a1a", "#b0b0b0", "#fbfaf7"
TINTS = ("#ffffff", "#dcdcdc", "#b6b6b6")  # of the classes A, B and C
DASHES = (0, (3, 1.6))

# A toy batch: two cases of each of the classes A, B and C, as directions in degrees. A2's table has gone astray.
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
DEGREES = {"image": (132, 106, 196, 240, 352, 300), "table": (85, 28, 166, 218, 326, 274)}
CLASSIFIED = (62, 14, 168, 240, 352, 290)  # the same with a single embedding a case; A2 has gone astray
TEMPERATURE = 0.5  # at the default of 0.07 the nearest few alone would be seen
COUNTS = (90, 30, 6)  # training cases of the classes, for losses that look at them
NOTE = f"Temperature {TEMPERATURE} instead of 0.07."


class Kind(NamedTuple):
    """How a kind of point looks.

    Attributes:
        marker: A marker of matplotlib's.
        size: Of the marker.
        radius: Where it is drawn. Only the direction means anything: prototypes have length 1, too.
        frame: A larger marker around it; None for none.
    """

    marker: Any
    size: float
    radius: float = 1.0
    frame: str | None = None


STAR = Outline.unit_regular_star(5, innerCircle=0.6)
KINDS = {
    "image": Kind("o", 16.5),
    "table": Kind("s", 15.5),
    "image prototype": Kind(STAR, 19, 0.51, "o"),
    "table prototype": Kind(STAR, 19, 0.75, "s"),
    "crossmodal prototype": Kind("D", 12.5, 0.26),
    "embedding": Kind("h", 18),
    "class weight": Kind("D", 12.5, 0.45),
}


class Point(NamedTuple):
    """Something that lies in a direction.

    Attributes:
        kind: A key of :data:`KINDS`.
        text: What is written on it: its class, and the number of the case.
        label: Its class.
        degrees: Its direction.
    """

    kind: str
    text: str
    label: int
    degrees: float

    def __str__(self) -> str:
        return f"{self.text}'s {self.kind}"

    def at(self, scale: float = 1.0) -> tuple[float, float]:
        """Where it is drawn."""
        return polar(scale * KINDS[self.kind].radius, self.degrees)


class Drawing(NamedTuple):
    """What a drawing is made of.

    Attributes:
        points: All of them, cases first.
        highlighted: Index of the point whose relations are drawn.
        slopes: The derivative of the loss by the cosine of that point and each other, shape ``(n,)``.
        forces: Minus the derivative of the loss by the angle of each case, shape ``(c,)``, c at most n.
        note: Written below.
        pale: What the pale arrows are.
        others: Their forces; None for none.
    """

    points: list[Point]
    highlighted: int
    slopes: Tensor
    forces: Tensor
    note: str = ""
    pale: str = ""
    others: Tensor | None = None


class Cells(NamedTuple):
    """A drawing of a table.

    Attributes:
        columns: The modality.
        table: The cells as they are.
        hidden: Shape ``(b, columns)``, bool; True was hidden.
        predicted: Shape ``(b, outputs)``: values, then the logits of each categorical column.
        forces: Minus the derivative of the loss by what is predicted, the same shape.
    """

    columns: Columns
    table: Table
    hidden: Tensor
    predicted: Tensor
    forces: Tensor


def polar(radius: float, degrees: float) -> tuple[float, float]:
    """A place by its distance from the centre and its direction."""
    return radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))


def directions(degrees: Sequence[float] | Tensor) -> Tensor:
    """Vectors of length 1 in the plane, ``(n, 2)``, float64."""
    angles = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], -1)


def slopes_by_cosine(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative of a loss by the cosine of each pair of vectors.

    If a loss depends on cosines alone, its gradient at a vector is the sum of all vectors times these derivatives. In
    the plane a sum can be written in many ways, so each vector gets a small part along an axis of its own, for which
    all cosines shrink by 4%: now the vectors are linearly independent, and there is one way.

    Args:
        loss: From vectors of length 1, ``(n, d)``, to a scalar.
        x: Shape ``(n, 2)``, float64, of length 1.

    Returns:
        Shape ``(n, n)``, 0 on the diagonal. Negative pulls the two together, positive pushes them apart.

    Raises:
        ValueError: If the loss depends on more than the cosines.
    """
    own = 0.2
    x = torch.cat([math.sqrt(1 - own**2) * x, own * torch.eye(len(x), dtype=x.dtype)], 1).requires_grad_()
    (grad,) = torch.autograd.grad(loss(x), x)
    with torch.no_grad():
        slopes = torch.linalg.lstsq(x.T, grad.T).solution.T
        if not torch.allclose(slopes @ x, grad, rtol=0, atol=1e-9 * float(grad.abs().max())):
            raise ValueError("the gradient is no sum of the vectors: the loss depends on more than their cosines")
        return slopes - slopes.diagonal().diag()


def forces_on(loss: Callable[[Tensor], Tensor], degrees: Sequence[float]) -> Tensor:
    """Minus the derivative of a loss by the angle of each vector in the plane, shape ``(n,)``."""
    angles = torch.tensor(degrees, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(loss(directions(angles)), angles)
    return -grad


def by_modality(x: Tensor) -> dict[str, Tensor]:
    """The toy batch's rows as embeddings of its modalities."""
    return dict(zip(DEGREES, x.split(len(LABELS)), strict=False))


def toy_batch() -> list[Point]:
    """Images, then tables."""
    return [
        Point(name, f"{'ABC'[label]}{i + 1}", label, degrees[i])
        for name, degrees in DEGREES.items()
        for i, label in enumerate(LABELS.tolist())
    ]


def index_of(points: Sequence[Point], name: str) -> int:
    """Which point it is."""
    return [str(point) for point in points].index(name)


def of_embeddings(name: str, highlighted: str, note: str = "", **options: Any) -> Drawing:
    """A term over the embeddings of the toy batch, and their labels where it looks at them."""
    term = registry.losses.create(name, **options)
    return of_batch(lambda x: term(by_modality(x), LABELS), highlighted, note)


def of_batch(loss: Callable[[Tensor], Tensor], highlighted: str, note: str) -> Drawing:
    """A loss of the toy batch's directions, ``(m * b, d)``."""
    points = toy_batch()
    degrees, i = [point.degrees for point in points], index_of(points, highlighted)
    return Drawing(points, i, slopes_by_cosine(loss, directions(degrees))[i], forces_on(loss, degrees), note)


def of_logits(name: str, highlighted: str, pale: str, others: Mapping[str, Any], **options: Any) -> Drawing:
    """A classification loss: logits are the cosines with the weights of the classes, over a temperature.

    Args:
        name: Of the loss.
        highlighted: The point whose relations are drawn.
        pale: What the pale arrows are.
        others: Options of the loss behind them, cross-entropy.
        options: Of the loss.
    """
    term, other = registry.losses.create(name, **options), registry.losses.create("cross_entropy", **others)
    points = [Point("embedding", f"{'ABC'[k]}{i + 1}", k, CLASSIFIED[i]) for i, k in enumerate(LABELS.tolist())]
    points += [Point("class weight", "ABC"[k], k, 90.0 + 120 * k) for k in range(3)]

    def loss(x: Tensor) -> Tensor:
        value: Tensor = term(x[:6] @ x[6:].T / TEMPERATURE, LABELS)
        return value

    weights = directions([point.degrees for point in points[6:]])
    degrees, i = [point.degrees for point in points], index_of(points, highlighted)
    forces, pale_forces = (
        forces_on(lambda x, loss=loss: loss(x @ weights.T / TEMPERATURE, LABELS), degrees[:6]) for loss in (term, other)
    )
    note = f"Logits are cosines over {TEMPERATURE}."
    if "counts" in options:
        note = f"Training cases: {', '.join(f'{k} {n}' for k, n in zip('ABC', options['counts'], strict=True))}."
    if "beta" in options:
        note += f" beta={options['beta']}."
    return Drawing(points, i, slopes_by_cosine(loss, directions(degrees))[i], forces, note, pale, pale_forces)


def of_matching() -> Drawing:
    """The matching loss with the simplest classifier."""

    def loss(x: Tensor) -> Tensor:
        first, second, _ = modality_pairs(Batch(loss_inputs(by_modality(x))))
        return matching_loss(first, second, lambda one, other: (one * other).sum(-1) / TEMPERATURE)

    return of_batch(loss, "A2's table", f"The classifier's logit is the cosine over {TEMPERATURE}.")


def of_cells() -> Cells:
    """The loss of hidden cells, with something predicted for each."""
    columns = Columns(numerical=("age",), categorical=(("sex", 2), ("site", 3)))
    table = Table(torch.tensor([[0.6], [-0.9], [0.2], [1.1]]), torch.tensor([[0, 1], [1, 2], [0, 0], [1, 1]]))
    hidden = torch.tensor([[True, False, False], [False, True, False], [True, False, True], [False, False, True]])
    predicted = torch.tensor(
        [
            [-0.6, 0.2, -0.1, 0.4, 0.1, 0.0],
            [-0.7, 0.6, -0.3, 0.0, 0.3, 0.5],
            [0.7, 0.4, 0.0, -0.6, 0.9, 0.1],
            [0.9, -0.2, 0.3, 0.1, 1.2, -0.4],
        ],
        requires_grad=True,
    )
    (grad,) = torch.autograd.grad(masked_columns_loss(predicted, table, columns, hidden), predicted)
    return Cells(columns, table, hidden, predicted.detach(), -grad)


def of_anchors(name: str, highlighted: str) -> Drawing:
    """An anchor loss. Its prototypes are points of their own for the lines; the arrows are those of the whole loss."""
    term, formula = registry.losses.create(name, n_classes=3, temperature=TEMPERATURE), getattr(losses, f"{name}_loss")
    points, x = toy_batch(), directions([degree for degrees in DEGREES.values() for degree in degrees])
    found = anchor_set(by_modality(x), LABELS, 3).prototypes
    for kind, stars in zip(list(KINDS)[2:5], [*found.unimodal, found.crossmodal], strict=True):
        degrees = torch.rad2deg(torch.atan2(stars[:, 1], stars[:, 0])).tolist()
        points += [Point(kind, "ABC"[k], k, degrees[k]) for k in range(3)]
    member = LABELS.unsqueeze(-1) == torch.arange(3)
    everything = torch.ones(2, 6, dtype=torch.bool)

    def of_points(x: Tensor) -> Tensor:
        stars = Prototypes(x[12:].unflatten(0, (3, 3)), everything.new_ones(3, 3))
        anchors = AnchorSet(x[:12].unflatten(0, (2, 6)), LABELS, member, everything, stars)
        value: Tensor = formula(anchors, temperature=TEMPERATURE)
        return value

    i = index_of(points, highlighted)
    return Drawing(
        points,
        i,
        slopes_by_cosine(of_points, directions([point.degrees for point in points]))[i],
        forces_on(lambda x: term(by_modality(x), LABELS), [point.degrees for point in points[:12]]),
        NOTE,
    )


DRAWINGS: Mapping[str, Callable[[], Drawing | Cells]] = {
    "sample_anchor": partial(of_anchors, "sample_anchor", "A2's table"),
    "unimodal_anchor": partial(of_anchors, "unimodal_anchor", "A's image prototype"),
    "crossmodal_anchor": partial(of_anchors, "crossmodal_anchor", "A's crossmodal prototype"),
    "hierarchical_anchor": partial(of_anchors, "hierarchical_anchor", "A's image prototype"),
    "info_nce": partial(of_embeddings, "info_nce", "A2's table", NOTE, temperature=TEMPERATURE),
    "alignment": partial(of_embeddings, "alignment", "A2's table"),
    "uniformity": partial(of_embeddings, "uniformity", "A2's table"),
    "consistency": partial(of_embeddings, "consistency", "A2's table"),
    "hsic": partial(of_embeddings, "hsic", "A2's table"),
    "orthogonality": partial(of_embeddings, "orthogonality", "A2's table"),
    "matching": of_matching,
    "masked_columns": of_cells,
    "cross_entropy": partial(
        of_logits, "cross_entropy", "A2's embedding", "label_smoothing=0.3", {"label_smoothing": 0.3}
    ),
    "focal": partial(of_logits, "focal", "A2's embedding", "cross-entropy", {}),
    "class_balanced": partial(
        of_logits, "class_balanced", "C's class weight", "cross-entropy", {}, counts=COUNTS, beta=0.99
    ),
    "logit_adjusted": partial(of_logits, "logit_adjusted", "C's class weight", "cross-entropy", {}, counts=COUNTS),
    "metric": partial(
        of_embeddings,
        "metric",
        "A2's table",
        f"SupConLoss on all embeddings, temperature {TEMPERATURE} instead of 0.1.",
        loss={"name": "SupConLoss", "temperature": TEMPERATURE},
        on="all",
    ),
}


def card(title: str, other: str) -> tuple[Figure, Axes, Axes]:
    """Two squares side by side on a light card of its own, so that a dark page may be around it."""
    width, height = 7.0, 4.4
    result = Figure(figsize=(width, height))
    FigureCanvasSVG(result)
    result.patch.set_alpha(0)
    result.add_artist(
        FancyBboxPatch(
            (0.008, 0.012),
            0.984,
            0.976,
            boxstyle="round,pad=0,rounding_size=0.02",
            transform=result.transFigure,
            mutation_aspect=width / height,
            facecolor=CARD,
            edgecolor=PALE,
            linewidth=1,
            zorder=-1,
        )
    )
    squares = []
    for x, words in ((0.015, title), (0.505, other)):
        axes = result.add_axes((x, 0.125, 0.48, 0.78))
        axes.set_xlim(-1.4, 1.4)
        axes.set_ylim(-1.4, 1.4)
        axes.set_aspect("equal")
        axes.axis("off")
        result.text(x + 0.24, 0.925, words, ha="center", fontsize=9.5, color=INK)
        squares.append(axes)
    return result, squares[0], squares[1]


def figure(drawing: Drawing | Cells) -> Figure:
    """The picture."""
    if isinstance(drawing, Cells):
        return picture_of_cells(drawing)
    title = f"What pulls and pushes {drawing.points[drawing.highlighted]}"
    result, left, right = card(title, "Which way every embedding goes")
    for axes, draw in ((left, relations), (right, movements)):
        axes.plot(*zip(*(polar(1, degree) for degree in range(0, 361, 3)), strict=True), color=PALE, lw=0.8, zorder=0)
        draw(axes, drawing)
    legend(result, drawing)
    return result


def picture_of_cells(cells: Cells) -> Figure:
    """The table with its hidden cells, and which way the predictions for them go."""
    result, left, right = card("What is hidden", "Which way every prediction goes")
    n_numbers, sizes = len(cells.columns.numerical), cells.columns.cardinalities
    widths = (*(1 for _ in range(n_numbers)), *sizes)
    truth = torch.cat([cells.table.numerical, cells.table.categorical], 1)
    outputs = list(zip(cells.predicted.split(widths, 1), cells.forces.split(widths, 1), strict=True))
    unit, height, top = 2.5 / sum(widths), 0.58, 1.1
    for column, (name, width) in enumerate(zip(cells.columns.names, widths, strict=True)):
        x = -1.2 + unit * sum(widths[:column])
        for axes in (left, right):
            axes.text(x + unit * width / 2, top + 0.06, name, ha="center", fontsize=8.5, color=INK)
        for row, hidden in enumerate(cells.hidden[:, column].tolist()):
            y, value = top - height * (row + 1), truth[row, column].item()
            look: dict[str, Any] = {"facecolor": TINTS[1], "hatch": "////"} if hidden else {"facecolor": TINTS[0]}
            left.add_patch(Rectangle((x, y), unit * width, height, ec=PALE, lw=0.8, **look))
            text = "abc"[int(value)] if column >= n_numbers else f"{value:.1f}"
            box = {"facecolor": TINTS[0], "edgecolor": "none", "pad": 1.5}
            place = (x + unit * width / 2, y + height / 2)
            left.text(*place, text, ha="center", va="center", fontsize=8, color=INK, bbox=box)
            if hidden:
                right.add_patch(Rectangle((x, y), unit * width, height, ec=PALE, lw=0.8, facecolor=TINTS[0]))
                predicted, forces = (part[row] for part in outputs[column])
                if column < n_numbers:
                    number(right, (x + unit / 2, y), height, predicted, forces, value)
                else:
                    categories(right, (x + unit / 2, y), (unit, height), predicted, forces, int(value))
    for row in range(len(cells.hidden)):
        for axes in (left, right):
            axes.text(-1.29, top - height * (row + 0.5), str(row + 1), ha="center", va="center", fontsize=8, color=INK)
    marks = [
        Rectangle((0, 0), 1, 1, facecolor=TINTS[1], ec=PALE, hatch="////", label="hidden"),
        Line2D([], [], color=INK, lw=2, label="predicted value or share"),
        Line2D([], [], ls="none", marker="o", ms=7, color=TINTS[0], mec=INK, label="what it was"),
        Line2D([], [], color=PULL, lw=2, label="pulled to what it was"),
        Line2D([], [], color=PUSH, lw=2, ls=DASHES, label="pushed down"),
    ]
    below(result, marks, "The longest arrow of each cell is drawn equally long. What was not hidden has none.")
    return result


def number(
    axes: Axes, place: tuple[float, float], height: float, predicted: Tensor, forces: Tensor, truth: float
) -> None:
    """A predicted value, what it was, and the force between them."""
    (x, y), at = place, (float(predicted) / 4 + 0.5) * height
    axes.plot(x + 0.1, y + (truth / 4 + 0.5) * height, "o", ms=6, color=TINTS[0], mec=INK, mew=0.9, zorder=2)
    axes.plot([x - 0.13, x + 0.01], [y + at, y + at], color=INK, lw=2, zorder=2)
    upright(axes, x - 0.06, y + at, 0.2 * float(forces.sign()), pull=True)


def categories(
    axes: Axes, place: tuple[float, float], size: tuple[float, float], predicted: Tensor, forces: Tensor, truth: int
) -> None:
    """The predicted shares of a column's categories, the right one ringed, and what raises or lowers them."""
    (x, y), (unit, height) = place, size
    shares, forces = predicted.softmax(0), forces / forces.abs().max()
    for i, (share, force) in enumerate(zip(shares.tolist(), forces.tolist(), strict=True)):
        at = y + height * (0.38 + 0.35 * share)
        if i == truth:
            axes.plot(x + unit * i, y + 0.09, "o", ms=10, color=TINTS[0], mec=INK, mew=0.9, zorder=2)
        axes.text(
            x + unit * i, y + 0.08, "abc"[i], ha="center", va="center_baseline", fontsize=7.5, color=INK, zorder=3
        )
        axes.plot([x + unit * i - 0.11, x + unit * i + 0.11], [at, at], color=INK, lw=2, zorder=2)
        upright(axes, x + unit * i, at, 0.2 * force, pull=i == truth)


def upright(axes: Axes, x: float, y: float, length: float, *, pull: bool) -> None:
    """An arrow up or down."""
    colour, head = PULL if pull else PUSH, math.copysign(min(0.08, abs(length)), length)
    axes.plot([x, x], [y, y + length - head], color=colour, lw=1.8, ls="-" if pull else DASHES, zorder=3)
    axes.fill([x, x - 0.045, x + 0.045], [y + length, *2 * [y + length - head]], color=colour, lw=0, zorder=3)


def relations(axes: Axes, drawing: Drawing) -> None:
    """Lines from the highlighted point to those that its cosine to matters for, the thickest to the one most so."""
    largest = float(drawing.slopes.abs().max())
    points, n_cases = drawing.points, len(drawing.forces)
    # Prototypes among themselves have the whole circle.
    alone = drawing.highlighted >= n_cases and not bool((drawing.slopes[:n_cases].abs() > 1e-3 * largest).any())
    scale = 1.35 if alone else 1.0
    start = points[drawing.highlighted].at(scale)
    for point, slope in zip(points, drawing.slopes.tolist(), strict=True):
        if abs(slope) > 1e-3 * largest:
            line(axes, start, point.at(scale), pull=slope < 0, width=0.8 + 2.2 * abs(slope) / largest)
    for i, point in enumerate(points):
        if i >= n_cases or not alone:
            mark(axes, point, *point.at(scale), highlighted=i == drawing.highlighted)


def line(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, pull: bool, width: float) -> None:
    """With two arrow heads in its middle: at each other for a pull, away from each other for a push."""
    colour, length = PULL if pull else PUSH, math.dist(start, end)
    x, y = ((e - s) / length for s, e in zip(start, end, strict=True))  # along it
    middle = [(s + e) / 2 for s, e in zip(start, end, strict=True)]
    size = min(0.045 + 0.014 * width, length / 8)
    axes.plot(*zip(start, end, strict=True), color=colour, lw=width, ls="-" if pull else DASHES, zorder=1)
    for side in (-1, 1):
        tip, back = sorted((0.3 * size, 2.0 * size), reverse=not pull)
        corners = [(tip, 0.0), (back, 0.85 * size), (back, -0.85 * size)]
        places = [(middle[0] + side * a * x - b * y, middle[1] + side * a * y + b * x) for a, b in corners]
        axes.fill(*zip(*places, strict=True), color=colour, lw=0, zorder=2)


def movements(axes: Axes, drawing: Drawing) -> None:
    """An arrow around the circle at each case, the longest for the strongest force; none below a twelfth of it."""
    arrows = [(drawing.forces, INK, 0.0)] + ([] if drawing.others is None else [(drawing.others, PALE, 0.14)])
    largest = max(float(forces.abs().max()) for forces, _, _ in arrows)
    for forces, colour, further in arrows:
        for i, (point, force) in enumerate(zip(drawing.points, forces.tolist(), strict=False)):
            if abs(force) > 0.08 * largest:
                radius = 1.16 + further + 0.065 * (i % 2) + (0.13 if point.kind == "table" else 0.0)
                arrow(axes, radius, point.degrees, 30 * force / largest, colour)
    for point in drawing.points:
        mark(axes, point, *point.at())


def arrow(axes: Axes, radius: float, start: float, turn: float, colour: str) -> None:
    """An arrow along a circle, by so many degrees."""
    neck = start + math.copysign(max(abs(turn) - 5, 0.5 * abs(turn)), turn)
    bow = [polar(radius, start + (neck - start) * step / 20) for step in range(21)]
    tail = [polar(radius + side, start) for side in (-0.03, 0.03)]
    head = [polar(radius, start + turn), polar(radius + 0.045, neck), polar(radius - 0.045, neck)]
    axes.plot(*zip(*bow, strict=True), color=colour, lw=1.6, zorder=1)
    axes.plot(*zip(*tail, strict=True), color=colour, lw=1.2, zorder=1)
    axes.fill(*zip(*head, strict=True), color=colour, lw=0, zorder=1)


def mark(axes: Axes, point: Point, x: float, y: float, *, highlighted: bool = False) -> None:
    """A point: the shape is the modality, the letter and the tint are the class."""
    kind, edge = KINDS[point.kind], 2.6 if highlighted else 0.9
    if kind.frame is not None:
        axes.plot(x, y, kind.frame, ms=kind.size + 1.5, color=CARD, mec=INK, mew=edge, zorder=3)
        edge = 0.7
    axes.plot(x, y, marker=kind.marker, ms=kind.size, color=TINTS[point.label], mec=INK, mew=edge, zorder=3)
    axes.text(x, y - 0.01, point.text, ha="center", va="center_baseline", fontsize=7.5, color=INK, zorder=4)


def legend(result: Figure, drawing: Drawing) -> None:
    """What the marks mean, below."""
    entries = []
    for name in dict.fromkeys(point.kind for point in drawing.points):
        kind = KINDS[name]
        if name != "table prototype":
            words, size = "unimodal prototype" if kind.frame else name, 7 if kind.marker == "D" else 9
            look: dict[str, Any] = {"ls": "none", "marker": kind.marker, "ms": size, "color": TINTS[0], "mec": INK}
            entries.append(Line2D([], [], label=words, **look))
    signs = drawing.slopes[drawing.slopes.abs() > 1e-3 * drawing.slopes.abs().max()].sign()
    if bool((signs < 0).any()):
        entries.append(Line2D([], [], color=PULL, lw=2, label="pulled together"))
    if bool((signs > 0).any()):
        entries.append(Line2D([], [], color=PUSH, lw=2, ls=DASHES, label="pushed apart"))
    if drawing.others is not None:
        entries += [Line2D([], [], color=PALE, lw=1.6, label=f"pale: {drawing.pale}")]
    letters = "The letter is the class, the number the case"
    framed = any(KINDS[point.kind].frame for point in drawing.points)
    below(result, entries, f"{letters}{', the frame the modality' if framed else ''}. {drawing.note}".strip())


def below(result: Figure, entries: Sequence[Any], words: str) -> None:
    """The key, and a line of words."""
    box = {"loc": "center", "bbox_to_anchor": (0.5, 0.1), "frameon": False, "borderpad": 0.0}
    text = {"fontsize": 7.5, "labelcolor": INK, "handletextpad": 0.5, "columnspacing": 1.4}
    result.legend(handles=entries, ncols=len(entries), **box, **text)
    result.text(0.5, 0.042, words, ha="center", fontsize=7.5, color=INK)


def save(name: str, path: Path) -> None:
    """Write one drawing; the same versions write the same file."""
    with matplotlib.rc_context({"svg.hashsalt": "mmfusion", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure(DRAWINGS[name]()).savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """All drawings, beside this file."""
    for name in DRAWINGS:
        save(name, FOLDER / f"{name}.svg")


if __name__ == "__main__":
    main()
