"""What the synthetic datasets share: odds by name, parts with seeds of their own, what is left empty or out."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfusion.data.bundle import DataBundle
from mmfusion.data.reader import CaseReader, Progress
from mmfusion.data.schema.subgroups import age, sex
from mmfusion.data.synthetic.latents import LatentModel
from mmfusion.utils.free_memory import free_memory, in_words

Hidden = dict[str, NDArray[Any]]
"""What lies behind some cases: arrays of ``n`` rows by name, the cues' states among them."""
Draw = Callable[[Hidden, np.random.Generator], Mapping[str, NDArray[Any]]]
"""From what lies behind some cases to their images, by modality ``(n, channels, *spatial)``."""

NOTES = (
    "The images are drawn and the labels are sampled: no patient's data are in this dataset.",
    "The ceilings are Bayes AUCs of the latent cues in the population, so upper bounds for what the pixels of "
    "a finite test set allow; on a finite test set an AUC can exceed them by chance.",
)


@dataclass(frozen=True)
class Odds:
    """How much each cue weighs, in log odds, and the classes' shares.

    Attributes:
        coarse: Of the coarse image cue.
        fine: Of the fine image cue.
        tabular: Of the table's own cues.
        interaction: Of what no modality shows alone.
        prevalence: Share of each class.
    """

    coarse: float
    fine: float
    tabular: float
    interaction: float
    prevalence: tuple[float, ...]


def chosen(presets: Mapping[str, Odds], preset: str, **own: Any) -> Odds:
    """A preset with some of its values replaced.

    Args:
        presets: By name.
        preset: One of the names.
        **own: Values by attribute; None leaves the preset's.

    Raises:
        ValueError: If there is no such preset, or a log odds is not finite.
    """
    if preset not in presets:
        raise ValueError(f"preset expects one of {', '.join(map(repr, presets))}, got {preset!r}")
    odds = replace(presets[preset], **{name: value for name, value in own.items() if value is not None})
    for setting in fields(odds):
        if setting.name != "prevalence" and not np.isfinite(getattr(odds, setting.name)):
            raise ValueError(f"{setting.name} expects a finite log odds, got {getattr(odds, setting.name)}")
    return odds


def check_made(name: str, root: Path | str | None, numbers: Mapping[str, int]) -> None:
    """Refuse a folder, and parts of fewer than two cases."""
    if root is not None:
        raise ValueError(f"{name} is made from a seed and reads no files: leave the root out, got {root}")
    for part, n in numbers.items():
        if n < 2:
            raise ValueError(f"{name} expects at least 2 cases a part, got n_{part}={n}")


def leave_out(
    frame: pd.DataFrame, cells: Sequence[str], images: Sequence[str], model: LatentModel, rng: np.random.Generator
) -> None:
    """Empty cells of the table, and the names of absent images, in place."""
    for columns, probability in ((cells, model.missing), (images, model.missing_images)):
        if probability:
            for name in columns:
                frame[name] = frame[name].mask(rng.random(len(frame)) < probability)


def _check_room(name: str, numbers: Mapping[str, int], shapes: Sequence[tuple[int, ...]], itemsize: int) -> None:
    needed = sum(numbers.values()) * sum(math.prod(shape) for shape in shapes) * itemsize
    free = free_memory()
    if free is not None and needed > free:
        counts = ", ".join(f"n_{part}={n}" for part, n in numbers.items())
        raise ValueError(
            f"the images of {name} take {in_words(needed)}, and {in_words(free)} of memory are free: ask for fewer "
            f"cases ({counts}) or a smaller size ({', '.join(dict.fromkeys(str(shape[1:]) for shape in shapes))})"
        )


def build(
    name: str,
    model: LatentModel,
    numbers: Mapping[str, int],
    *,
    data_seed: int,
    records: Callable[[str, int, np.random.Generator], tuple[Hidden, pd.DataFrame]],
    draw: Draw,
    chunk: int,
    reader: Callable[[pd.DataFrame], CaseReader],
    progress: Progress | None,
    dtype: type[np.generic] = np.uint8,
) -> DataBundle:
    """Make all parts of a synthetic dataset.

    Args:
        name: The registered name.
        model: Gives the ceilings.
        numbers: Cases of ``train``, ``validation`` and ``test``.
        data_seed: Of everything.
        records: From a part's name, its number of cases and a generator to what lies behind them and their table, with
            the names of absent images empty.
        draw: Draws their images.
        chunk: Cases drawn at once: a part of what the images are seeded by.
        reader: From the training part's table to the reader.
        progress: Called with the cases drawn so far and their number.
        dtype: Of the images.

    Returns:
        The bundle.
    """
    # A part has a seed of its own: its cases stay the same when another part grows.
    sets = {
        part: records(part, n, np.random.default_rng([data_seed, i, 0])) for i, (part, n) in enumerate(numbers.items())
    }
    fitted = reader(sets["train"][1])
    done, total, parts = 0, sum(numbers.values()), {}
    _check_room(name, numbers, [source.spec.shape for source in fitted.images.values()], np.dtype(dtype).itemsize)
    for i, (part, (hidden, frame)) in enumerate(sets.items()):
        images = {
            view: np.empty((len(frame), *source.spec.shape), dtype=dtype) for view, source in fitted.images.items()
        }
        draw_all(draw, hidden, images, [data_seed, i, 1], chunk)
        presence = {view: frame[source.column].notna().to_numpy() for view, source in fitted.images.items()}
        for view, present in presence.items():
            images[view][~present] = 0
        parts[part] = fitted.assemble(
            frame,
            {view: torch.from_numpy(pixels) for view, pixels in images.items()},
            present={view: torch.tensor(present) for view, present in presence.items()},
        )
        done += len(frame)
        if progress is not None:
            progress(done, total)
    columns = sets["train"][1].columns
    return DataBundle(
        name,
        parts["train"],
        parts["validation"],
        parts["test"],
        fitted,
        ceilings=model.ceilings(),
        notes=NOTES,
        subgroups=tuple(subgroup for subgroup in (sex(), age()) if subgroup.column in columns),
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
            pass  # what a chunk raised is raised here
