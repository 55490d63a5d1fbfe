"""``synthetic-derm7pt``: cases in the shape of Derm7pt, made from a seed, with the best possible AUC known."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfusion.data.cases import DataBundle
from mmfusion.data.frame import FrameDataset
from mmfusion.data.images import ImageSource
from mmfusion.data.latents import P_ELEVATION, LatentModel
from mmfusion.data.lesions import VIEWS, draw
from mmfusion.data.reader import CaseReader, Progress, TargetColumn
from mmfusion.data.schema import TableSchema
from mmfusion.layers.optional import need
from mmfusion.registry import datasets

ELEVATION = ("flat", "palpable", "nodular")
REGIONS = (
    ("back", "abdomen", "chest", "buttocks"),
    ("lower limbs", "upper limbs", "head neck", "acral", "genital areas"),
)
"""The locations of each body region; the region is what interacts with the coarse cue."""
AGES = ((20, 50), (50, 80))
"""Years, from and below, of each age band."""
SEX = ("female", "male")
CLASSES = ("NEV", "MEL")

CHUNK = 32
"""Cases drawn at once: few enough for the processor's cache, and a part of what the pictures are seeded by."""


@dataclass(frozen=True)
class Cues:
    """The hidden state of some cases, each of shape ``(n,)`` int64, as indices into the axes of the latent model."""

    coarse: NDArray[np.int64]
    fine: NDArray[np.int64]
    elevation: NDArray[np.int64]
    age: NDArray[np.int64]
    region: NDArray[np.int64]

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator) -> "Cues":
        """Draw the cues of n cases from their prior, under which they are independent."""
        binary = [rng.integers(0, 2, n) for _ in range(4)]
        return cls(binary[0], binary[1], rng.choice(3, n, p=P_ELEVATION), binary[2], binary[3])

    def probability(self, model: LatentModel) -> NDArray[np.float64]:
        """Probability of a melanoma, shape ``(n,)``."""
        return model.probability[self.coarse, self.fine, self.elevation, self.age, self.region]


@datasets.register("synthetic-derm7pt")
def synthetic_derm7pt(
    *,
    root: Path | str | None = None,
    data_seed: int = 0,
    size: int = 64,
    n_train: int = 3000,
    n_validation: int = 500,
    n_test: int = 1500,
    coarse: float = 2.2,
    fine: float = 2.2,
    tabular: float = 2.4,
    interaction: float = 2.0,
    prevalence: float = 0.35,
    label_noise: float = 0.0,
    missing: float = 0.0,
    progress: Progress | None = None,
) -> DataBundle:
    """Nevus or melanoma from two drawn views of a lesion and four columns.

    The label depends on a coarse image cue, a fine image cue that is lost when the image is shrunk to 8x8, the table,
    and an interaction of image and table; see :mod:`mmfusion.data.latents` for how, and :mod:`mmfusion.data.lesions`
    for what the cues look like. Sex says nothing. With ``coarse``, ``fine`` and ``tabular`` at 0 the interaction is
    pure: either modality alone is at AUC 0.5, and the two together are not (0.98 with ``interaction`` at 4 and
    ``prevalence`` at 0.5, since the cues agree in half of the cases).

    Args:
        root: Must be None: nothing is read.
        data_seed: Seed of everything here. A run's own seed does not change the data.
        size: Pixels along each side of the images, at least 32; below 48 the fine cue is blurred away.
        n_train: Cases in the training part.
        n_validation: Cases in the validation part.
        n_test: Cases in the test part.
        coarse: Log odds of the coarse image cue.
        fine: Log odds of the fine image cue.
        tabular: Log odds of the table's own cues, elevation and age.
        interaction: Log odds of the interaction of coarse image cue and location.
        prevalence: Share of melanomas.
        label_noise: Probability that a label is flipped.
        missing: Probability of each cell of the table to be empty.
        progress: Called with the cases drawn so far and their number.

    Returns:
        The three parts with their ceilings: the Bayes AUC of the image cues, of the table, of both.

    Raises:
        ValueError: If an option is out of its range, or a part has cases of one class only.
    """
    if root is not None:
        raise ValueError(f"synthetic-derm7pt is made from a seed and reads no files: leave the root out, got {root}")
    if size < 32:
        raise ValueError(f"synthetic-derm7pt expects a size of at least 32 pixels, got {size}")
    numbers = {"train": n_train, "validation": n_validation, "test": n_test}
    for part, n in numbers.items():
        if n < 2:
            raise ValueError(f"synthetic-derm7pt expects at least 2 cases a part, got n_{part}={n}")
    model = LatentModel(coarse, fine, tabular, interaction, prevalence, label_noise, missing)
    total, done = sum(numbers.values()), 0
    frames, pixels = {}, {}
    for i, (part, n) in enumerate(numbers.items()):
        # A part has a seed of its own: its cases stay the same when another part grows.
        cues, frames[part] = draw_records(model, part, n, np.random.default_rng([data_seed, i, 0]))
        pixels[part] = draw_images(cues, size, [data_seed, i, 1])
        done += n
        if progress is not None:
            progress(done, total)
    reader = CaseReader(
        targets={"label": TargetColumn("diagnosis", CLASSES)},
        images={view: ImageSource(view, (size, size)) for view in VIEWS},
        schema=TableSchema.fit(frames["train"], numerical=("age",), categorical=("elevation", "location", "sex")),
        id_column="case_id",
    )
    parts = {part: reader.assemble(frame, pixels[part]) for part, frame in frames.items()}
    return DataBundle(
        "synthetic-derm7pt",
        parts["train"],
        parts["validation"],
        parts["test"],
        reader,
        ceilings=model.ceilings(),
        notes=(
            "The images are drawn and the labels are sampled: no patient's data are in this dataset.",
            "The ceilings are Bayes AUCs of the latent cues in the population, so upper bounds for what the pixels of "
            "a finite test set allow; on a finite test set an AUC can exceed them by chance.",
        ),
    )


def draw_records(model: LatentModel, part: str, n: int, rng: np.random.Generator) -> tuple[Cues, pd.DataFrame]:
    """Hidden cues of some cases, and the table that shows what can be seen of them.

    Args:
        model: Gives the labels' probabilities and the share of empty cells.
        part: Prefix of the cases' names.
        n: Number of cases.
        rng: Source of randomness.

    Returns:
        The cues, and the table: case_id, derm, clinic (file names), age, elevation, location, sex, diagnosis.
    """
    cues = Cues.draw(n, rng)
    spread = rng.random(n)
    low, high = np.array(AGES)[cues.age].T
    counts = np.array([len(region) for region in REGIONS])
    first = np.array([0, counts[0]])
    names = [f"{part}-{i:05d}" for i in range(n)]
    columns = {
        "age": np.floor(low + (high - low) * spread).astype(np.int64),
        "elevation": np.array(ELEVATION, dtype=object)[cues.elevation],
        "location": np.array(sum(REGIONS, ()), dtype=object)[
            first[cues.region] + np.floor(rng.random(n) * counts[cues.region]).astype(np.int64)
        ],
        "sex": np.array(SEX, dtype=object)[rng.integers(0, 2, n)],
    }
    labels = (rng.random(n) < cues.probability(model)).astype(np.int64)
    frame = pd.DataFrame(
        {"case_id": names, **{view: [f"{view}/{name}.png" for name in names] for view in VIEWS}, **columns}
    )
    if model.missing:
        for name in columns:
            frame[name] = frame[name].mask(rng.random(n) < model.missing)
    frame["diagnosis"] = np.array(CLASSES, dtype=object)[labels]
    return cues, frame


def draw_images(cues: Cues, size: int, seed: list[int]) -> dict[str, torch.Tensor]:
    """Both views of some cases, by view, shape ``(n, 3, size, size)`` uint8.

    Drawn in chunks, each with its own seed, by two threads: numpy computes without holding Python's lock, and the
    result does not depend on which chunk is ready first.
    """
    coarse, fine = cues.coarse.astype(bool), cues.fine.astype(bool)
    starts = range(0, len(coarse), CHUNK)

    def chunk(start: int) -> dict[str, NDArray[np.uint8]]:
        rows = slice(start, start + CHUNK)
        return draw(coarse[rows], fine[rows], size, np.random.default_rng([*seed, start]))

    with ThreadPoolExecutor(2) as pool:
        chunks = list(pool.map(chunk, starts))
    return {view: torch.from_numpy(np.concatenate([drawn[view] for drawn in chunks])) for view in VIEWS}


def export(bundle: DataBundle, folder: Path | str) -> Path:
    """Write the test part as files: a table and lossless images, as new cases would come.

    ``bundle.reader.read(pandas.read_csv(table), folder)`` then gives the same inputs.

    Args:
        bundle: A dataset whose test part is in memory.
        folder: Where to write; made if it is not there.

    Returns:
        The path of the table, ``table.csv``.

    Raises:
        ValueError: If the test part is not a :class:`FrameDataset`.
        FileExistsError: If the folder has a ``table.csv`` already.
    """
    part = bundle.test
    if not isinstance(part, FrameDataset):
        raise ValueError(f"export expects a test part in memory, got a {type(part).__name__}")
    pil, folder = need("PIL.Image", "bench"), Path(folder)
    table = folder / "table.csv"
    if table.exists():
        raise FileExistsError(f"{table} is there already: choose another folder, or remove it first")
    for view, source in bundle.reader.images.items():
        for name, pixels in zip(part.frame[source.column], part.pixels(view).numpy()):
            path = folder / f"{name}{source.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pil.fromarray(np.moveaxis(pixels, 0, -1)).save(path)
    # The table comes last: where it is, the images are complete.
    part.frame.to_csv(table, index=False)
    return table
