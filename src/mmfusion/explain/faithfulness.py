"""Measured faithfulness of heat maps: does what they show matter to the model?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from mmfusion.explain.class_activation import image_name
from mmfusion.explain.heat_maps import METHODS, MapMethod, maps_of
from mmfusion.explain.inside_mask import energy_inside, pointing
from mmfusion.explain.map_noise import noisy, relative_change
from mmfusion.explain.map_similarity import rank_correlation, structural_similarity
from mmfusion.explain.one_image import OneImage, refuse_bag
from mmfusion.explain.outputs import Output, Score
from mmfusion.explain.perturbation import Curves, perturbation_curves
from mmfusion.explain.random_maps import is_constant, random_fields, ranks, with_values_of
from mmfusion.explain.random_weights import randomized
from mmfusion.explain.regions import Baseline, without_content
from mmfusion.explain.undisturbed import plain, plain_present, rows_of, undisturbed
from mmfusion.explain.verdicts import ALIKE, UNSTABLE, FaithfulnessTest
from mmfusion.models import FusionModel
from mmfusion.option_checks import checked
from mmfusion.options import Range
from mmfusion.tokens import Inputs, Present


@dataclass(frozen=True)
class Faithfulness:
    """How faithful the heat maps of some cases are, by one method.

    Attributes:
        method: Its name.
        image: The image.
        rows: The cases that have it, positions in the batch, shape ``(r,)`` int64; the others are not measured.
        heat: Their maps, shape ``(r, *size)`` float64.
        tests: By name, in this order: ``deletion`` and ``insertion``, areas under the curves; ``random_weights``, the
            rank correlation with the maps of the model with its weights in random order; ``noise``, the greatest
            relative change; and where a case has a mask ``pointing`` and ``energy``.
        curves: Deletion and insertion of each of these cases: the row 0 is its map's, the others are random maps'.
        ssim: Structural similarity with the maps of random weights, shape ``(r,)``, beside the test.
        cascade: Rank correlation after each part whose weights were put in random order, from the head to the encoders,
            shape ``(r,)`` each; empty unless asked for.
        areas: Share of the image that is in the mask, by position in the batch, of the cases that have one.
        n_constant: Maps that are constant and so show nothing: they count as random ones.
        n_forwards: Images that went through the model for the curves.
        n_maps: Maps that were computed.
    """

    method: str
    image: str
    rows: Tensor
    heat: Tensor
    tests: Mapping[str, FaithfulnessTest]
    curves: tuple[Curves, ...]
    ssim: Tensor
    cascade: Mapping[str, Tensor]
    areas: Mapping[int, float]
    n_constant: int
    n_forwards: int
    n_maps: int

    @property
    def passed(self) -> bool | None:
        """Whether all tests passed; None if none failed and one case has no verdict."""
        verdicts = [test.passed for test in self.tests.values()]
        return False if False in verdicts else None if None in verdicts else True

    @property
    def flags(self) -> tuple[str, ...]:
        """Why the method is not to be trusted on this model: the reason of each test that failed."""
        constant = (f"{self.n_constant} of {len(self.rows)} maps are constant",) if self.n_constant else ()
        return (*(test.reason for test in self.tests.values() if test.passed is False), *constant)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; without maps and curves."""
        return {
            **{"method": self.method, "image": self.image, "passed": self.passed, "flags": list(self.flags)},
            "tests": {name: test.to_dict() for name, test in self.tests.items()},
            **{"rows": self.rows.tolist(), "ssim": self.ssim.tolist(), "areas": dict(self.areas)},
            "cascade": {name: values.tolist() for name, values in self.cascade.items()},
            **{"n_constant": self.n_constant, "n_forwards": self.n_forwards, "n_maps": self.n_maps},
        }


@checked
def faithfulness(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None = None,
    *,
    method: str | MapMethod = "grad_cam",
    image: str | None = None,
    masks: Tensor | None = None,
    baseline: Baseline | Tensor = "blur",
    output: Output = Output(),  # noqa: B008  # immutable
    n_steps: Annotated[int, Range(2)] = 10,
    n_random: Annotated[int, Range(1)] = 4,
    n_randomizations: Annotated[int, Range(1)] = 2,
    n_noises: Annotated[int, Range(1)] = 3,
    noise: Annotated[float, Range(1e-6, 10)] = 0.1,
    cascade: bool = False,
    level: Annotated[float, Range(0.5, 0.9999)] = 0.95,
    seed: int = 0,
    batch_size: Annotated[int, Range(1)] = 16,
) -> Faithfulness:
    """Measure whether a method's maps show what matters to a model, against random maps and random weights.

    Each test has one value per case and a verdict over the cases:

    - deletion, insertion (Petsiuk et al., 2018): the area under the output while the hottest positions are replaced by
      the baseline, or shown on it; passed if the interval of the paired difference from random maps of the same
      smoothness is on the better side (:mod:`mmfusion.explain.random_maps`);
    - random weights (Adebayo et al., 2018): the rank correlation of the absolute heat with that of a copy of the model
      whose weights are in random order; passed if its interval is below 0.5;
    - noise (Yeh et al., 2019): the greatest change of the map, by its norm, under noise; passed if its interval is
      below 0.5;
    - pointing game (Zhang et al., 2018) and energy, with masks: whether the hottest position, and how much of the
      positive heat, is inside; passed if the interval of the paired difference from random maps is above 0.

    The explained class is that of the case as it is, in all of them. The maps of one image are measured, all other
    inputs stay. Intervals are over cases, which should be of different patients; a few cases rarely pass, as they show
    little. For each case ``2 + 2 (n_steps - 1) (1 + n_random)`` images go through the model, 92 by default, and
    ``1 + n_randomizations + n_noises`` maps are computed, 6 by default; a cascade computes as many randomized ones for
    each part of the model that has weights.

    Args:
        model: With the image, in any mode.
        inputs: As the model's, the image as pixels.
        present: As the model's.
        method: A name of :data:`mmfusion.explain.heat_maps.METHODS`: ``"grad_cam"``, ``"grad_cam_plus_plus"``,
            ``"hires_cam"``, ``"layer_cam"``, ``"score_cam"``, ``"integrated_gradients"``, ``"occlusion"``,
            ``"region_shapley"``; or a function, such as ``partial(class_activation_map, method="layer_cam", at=1)``.
        image: The image; None: the only one.
        masks: Known regions, shape ``(b, *size)`` bool; a case whose mask marks nothing has none.
        baseline: What positions are replaced by; see :func:`without_content`.
        output: What is explained.
        n_steps: Steps from the whole image to none of it.
        n_random: Random maps of each case.
        n_randomizations: Copies with weights in random order; a case's value is the mean over them. A copy's map that
            is not finite counts as zeros.
        n_noises: Noisy images of each case.
        noise: Greatest change of a pixel, in standard deviations of its image.
        cascade: Also compute the maps after each part whose weights are put in random order.
        level: Coverage of the intervals.
        seed: Of random maps, weights and noise; no other random state is touched.
        batch_size: Images at once.

    Returns:
        Values, intervals and verdicts; on the CPU.

    Raises:
        ImportError: Without the extra ``explain``.
        ValueError: If the model has no such image, no case has it, it came as maps, the method is unknown, masks do not
            fit, or an output or a map is not finite.
    """
    name = image_name(model, image)
    label, compute = _method(method)
    inputs, present = plain(inputs), plain_present(present)
    generator = torch.Generator().manual_seed(seed)
    with undisturbed(model):
        batch = _cases(model, inputs, present, name, output.of(model, inputs, present), masks, baseline)
        maps = partial(maps_of, compute, present=batch.present, image=name, score=batch.score)
        heat = maps(model, batch.inputs)
        places = _places(heat, n_random, generator)
        curves = _curves(model, batch, places, n_steps, batch_size)
        alike: dict[str, list[Tensor]] = {}
        ssim = []
        for _ in range(n_randomizations):
            for part, other in randomized(model, generator, cascade=cascade):
                of_copy = maps(other, batch.inputs, checked=False).abs()
                alike.setdefault(part, []).append(rank_correlation(heat.abs(), of_copy))
            ssim.append(structural_similarity(heat.abs(), of_copy))
        noisy_maps = [maps(model, {**batch.inputs, name: noisy(batch.x, noise, generator)}) for _ in range(n_noises)]
    correlations = {part: torch.stack(values).mean(0) for part, values in alike.items()}
    areas = torch.stack([torch.stack(of_case.areas()) for of_case in curves])
    found = {
        "deletion": (areas[:, 0, 0], areas[:, 0, 1:].mean(1)),
        "insertion": (areas[:, 1, 0], areas[:, 1, 1:].mean(1)),
        "random_weights": (list(correlations.values())[-1], torch.full((len(heat),), ALIKE).double()),
        "noise": (
            torch.stack([relative_change(heat, other) for other in noisy_maps]).amax(0),
            torch.full((len(heat),), UNSTABLE).double(),
        ),
    }
    tests = {test: FaithfulnessTest(test, batch.rows, *values, level) for test, values in found.items()}
    tests |= _inside(batch, heat, places, level)
    return Faithfulness(
        method=label,
        image=name,
        rows=batch.rows,
        heat=heat,
        tests=tests,
        curves=tuple(curves),
        ssim=torch.stack(ssim).mean(0),
        cascade=correlations if cascade else {},
        areas={row: float(batch.masks[i].double().mean()) for i, row in batch.marked.items()},
        n_constant=sum(is_constant(of_case) for of_case in heat),
        n_forwards=len(heat) * (2 + 2 * (n_steps - 1) * (1 + n_random)),
        n_maps=len(heat) * (1 + n_noises + sum(len(values) for values in alike.values())),
    )


def _places(heat: Tensor, n_random: int, generator: torch.Generator) -> list[Tensor]:
    """Of each case the places of the positions in its map, then in random maps, shape ``(1 + n_random, *size)``."""
    places = []
    for of_case in heat:
        first, *others = random_fields(of_case, 1 + n_random, generator)
        places.append(torch.stack([ranks(of_case, first), *(ranks(field, field) for field in others)]))
    return places


def _curves(
    model: FusionModel, batch: "_Batch", places: Sequence[Tensor], n_steps: int, batch_size: int
) -> list[Curves]:
    """Of each case.

    Raises:
        ValueError: If an output is not finite.
    """
    curves, wrong = [], []
    for i, of_case in enumerate(places):
        row = batch.score.index.new_tensor([i])
        present = {name: mask[i : i + 1] for name, mask in batch.present.items()}
        function = OneImage(model, rows_of(batch.inputs, row), present, batch.image, batch.score.case(i))
        curves.append(
            perturbation_curves(function, batch.x[i], batch.empty[i], of_case, n_steps=n_steps, batch_size=batch_size)
        )
        if not all(bool(x.isfinite().all()) for x in curves[-1]):
            wrong.append(int(batch.rows[i]))
    if wrong:
        raise ValueError(f"faithfulness expects finite outputs, those of the cases {wrong} of the batch are not")
    return curves


def _inside(batch: "_Batch", heat: Tensor, places: Sequence[Tensor], level: float) -> dict[str, FaithfulnessTest]:
    """The tests of the cases that have a mask; none without."""
    if not batch.marked:
        return {}
    tests = {}
    for test, measure in (("pointing", pointing), ("energy", energy_inside)):
        values, reference = [], []
        for i in batch.marked:
            others = torch.stack([with_values_of(heat[i], place) for place in places[i][1:]])
            values.append(measure(heat[i], batch.masks[i]))
            reference.append(measure(others, batch.masks[i]).mean())
        rows = torch.tensor(list(batch.marked.values()))
        tests[test] = FaithfulnessTest(test, rows, torch.stack(values), torch.stack(reference), level)
    return tests


class _Batch(NamedTuple):
    """The cases that have the image, which comes without its content, too; a mask is all False where there is none."""

    rows: Tensor
    inputs: Inputs
    present: dict[str, Tensor]
    score: Score
    x: Tensor
    empty: Tensor
    masks: Tensor
    image: str

    @property
    def marked(self) -> dict[int, int]:
        """Positions of the cases that have a mask, here and in the batch."""
        return {i: int(self.rows[i]) for i in self.masks.flatten(1).any(1).nonzero().squeeze(1).tolist()}


def _cases(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None,
    name: str,
    score: Score,
    masks: Tensor | None,
    baseline: Baseline | Tensor,
) -> _Batch:
    n, size = len(score.index), model.images[name].size
    x = inputs.get(name)
    has = (present or {}).get(name, torch.full((n,), x is not None))
    refuse_bag(name, x)
    if x is not None and not isinstance(x, Tensor):
        raise ValueError(f"faithfulness takes pixels away, and {name!r} came as maps: give the pixels")
    if masks is not None and (tuple(masks.shape) != (n, *size) or masks.dtype != torch.bool):
        raise ValueError(
            f"masks expects {(n, *size)} torch.bool, one per case in the size of {name!r}, got {tuple(masks.shape)} "
            f"{masks.dtype}"
        )
    if x is None or not bool(has.any()):
        raise ValueError(f"no case of the batch has the image {name!r}: there is no map to measure")
    rows = has.nonzero().squeeze(1).to(score.index.device)
    known = {key: mask.index_select(0, rows.to(mask.device)) for key, mask in (present or {}).items()}
    some = rows_of(inputs, rows)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    some[name] = pixels = x.index_select(0, rows)
    empty = without_content(x, baseline).index_select(0, rows)
    chosen = Score(score.target, score.index.index_select(0, rows), score.classes)
    inside = torch.zeros((n, *size), dtype=torch.bool) if masks is None else masks.cpu()
    return _Batch(rows.cpu(), some, known, chosen, pixels, empty, inside[rows.cpu()], name)


def _method(method: str | MapMethod) -> tuple[str, MapMethod]:
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method expects one of {', '.join(METHODS)}, or a function, got {method!r}")
        return method, METHODS[method]
    inner = method
    while isinstance(inner, partial):
        inner = inner.func
    return getattr(inner, "__name__", type(inner).__name__), method
