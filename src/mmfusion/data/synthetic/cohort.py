"""Shared steps of the synthetic datasets: log odds by preset, the drawing of all sets, absent cells and images."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfusion.data.bundle import DataBundle
from mmfusion.data.free_memory import free_memory, in_words
from mmfusion.data.reader import CaseReader, Progress
from mmfusion.data.schema.subgroups import age, sex
from mmfusion.data.synthetic.latents import LatentModel
from mmfusion.data.synthetic.planted import Draw, Hidden, PlantedMasks

Preset: TypeAlias = Literal["default", "additive", "pure-interaction"]

NOTES = (
    "The images are drawn and the labels are sampled: no patient's data are in this dataset.",
    "The ceilings are Bayes AUCs of the latent cues in the population, so upper bounds for what the pixels of "
    "a finite test set allow; on a finite test set an AUC can exceed them by chance.",
)


@dataclass(frozen=True)
class Odds:
    """The weight of each cue, in log odds, and the share of each class.

    Attributes:
        coarse: Of the coarse image cue.
        fine: Of the fine image cue.
        tabular: Of the cues of the table alone.
        interaction: Of the interaction that no modality shows alone.
        prevalence: Share of each class.
    """

    coarse: float
    fine: float
    tabular: float
    interaction: float
    prevalence: tuple[float, ...]

    def changed(self, **values: Any) -> "Odds":
        """The same with some values replaced, where they are not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})


def case_table(
    model: LatentModel,
    names: Sequence[str],
    columns: Mapping[str, NDArray[Any]],
    labels: NDArray[Any],
    rng: np.random.Generator,
    *,
    id_column: str,
    images: Mapping[str, str],
) -> pd.DataFrame:
    """The table of some cases, with empty cells and without the names of absent images.

    Args:
        model: Gives the probability of empty cells and absent images.
        names: The name of each case.
        columns: The cells of each column.
        labels: The class of each case, by name.
        rng: Source of what is absent.
        id_column: Name of the column of cases' names; the label's is ``diagnosis``.
        images: By modality, the pattern of its file names, such as ``"derm/{case}.png"``.
    """
    files = {view: [pattern.format(case=name) for name in names] for view, pattern in images.items()}
    frame = pd.DataFrame({id_column: names, **files, **columns})
    for absent, probability in ((columns, model.missing), (images, model.missing_images)):
        for name in absent if probability else ():
            frame[name] = frame[name].mask(rng.random(len(frame)) < probability)
    frame["diagnosis"] = labels
    return frame


def build(
    name: str,
    model: LatentModel,
    numbers: Mapping[str, int],
    *,
    data_seed: int,
    records: Callable[[LatentModel, str, int, np.random.Generator], tuple[Hidden, pd.DataFrame]],
    draw: Draw,
    draw_masks: Draw,
    chunk: int,
    reader: Callable[[pd.DataFrame], CaseReader],
    progress: Progress | None,
    dtype: type[np.generic] = np.uint8,
) -> DataBundle:
    """Draw all sets of a synthetic dataset.

    Args:
        name: The registered name.
        model: Gives the ceilings.
        numbers: Cases of ``train``, ``validation`` and ``test``.
        data_seed: Seed of everything.
        records: From the model, a set's name, its number of cases and a generator to their hidden state and their
            table, with the names of absent images empty.
        draw: Draws their images.
        draw_masks: Draws where the cues are in them, by modality ``(n, *spatial)`` bool, with the same random numbers.
        chunk: Cases drawn at once; the seeds of the images depend on it.
        reader: From the training set's table to the reader.
        progress: Called with the cases drawn so far and their number.
        dtype: Type of the images.

    Returns:
        The bundle.

    Raises:
        ValueError: If the images do not fit into the free memory.
    """
    # Each set has its own seed: its cases stay the same when another set grows.
    seeds = {set_name: [data_seed, i] for i, set_name in enumerate(numbers)}
    sets = {
        set_name: records(model, set_name, n, np.random.default_rng([*seeds[set_name], 0]))
        for set_name, n in numbers.items()
    }
    train = sets["train"][1]
    fitted = reader(train)
    shapes = {view: source.spec.shape for view, source in fitted.images.items()}
    _check_memory(name, numbers, list(shapes.values()), np.dtype(dtype).itemsize)
    n_drawn, datasets = 0, {}
    for set_name, (hidden, frame) in sets.items():
        images = {view: np.empty((len(frame), *shape), dtype=dtype) for view, shape in shapes.items()}
        draw_all(draw, hidden, images, [*seeds[set_name], 1], chunk)
        present = {view: frame[source.column].notna().to_numpy() for view, source in fitted.images.items()}
        for view, pixels in images.items():
            pixels[~present[view]] = 0
        datasets[set_name] = fitted.assemble(
            frame,
            {view: torch.from_numpy(pixels) for view, pixels in images.items()},
            present={view: torch.tensor(mask) for view, mask in present.items()},
        ).masked(
            {
                view: PlantedMasks(draw_masks, view, hidden, mask, [*seeds[set_name], 1], chunk)
                for view, mask in present.items()
            }
        )
        n_drawn += len(frame)
        if progress is not None:
            progress(n_drawn, sum(numbers.values()))
    return DataBundle(
        name,
        datasets["train"],
        datasets["validation"],
        datasets["test"],
        fitted,
        ceilings=model.ceilings(),
        notes=NOTES,
        subgroups=tuple(subgroup for subgroup in (sex(), age()) if subgroup.column in train.columns),
    )


def draw_all(draw: Draw, hidden: Hidden, images: Mapping[str, NDArray[Any]], seed: Sequence[int], chunk: int) -> None:
    """Draw some cases into ``images``, by modality, shape ``(n, channels, *spatial)``.

    In chunks, each with its own seed, by two threads: numpy computes without holding Python's lock, and the result does
    not depend on which chunk is ready first.
    """

    def fill(start: int) -> None:
        rows = slice(start, start + chunk)
        drawn = draw({name: values[rows] for name, values in hidden.items()}, np.random.default_rng([*seed, start]))
        for view, pixels in drawn.items():
            images[view][rows] = pixels

    n = len(next(iter(images.values())))
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(fill, range(0, n, chunk)):
            pass  # an error of a chunk is raised here


def _check_memory(name: str, numbers: Mapping[str, int], shapes: Sequence[tuple[int, ...]], itemsize: int) -> None:
    needed = sum(numbers.values()) * sum(math.prod(shape) for shape in shapes) * itemsize
    free = free_memory()
    if free is not None and needed > free:
        counts = ", ".join(f"n_{set_name}={n}" for set_name, n in numbers.items())
        raise ValueError(
            f"the images of {name} take {in_words(needed)}, and {in_words(free)} of memory are free: choose fewer "
            f"cases ({counts}) or a smaller size ({', '.join(dict.fromkeys(str(shape[1:]) for shape in shapes))})"
        )
