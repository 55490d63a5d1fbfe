"""``synthetic_derm7pt``: cases in the shape of Derm7pt, made from a seed, with the best possible AUC known.

Two cues are in the images, a coarse one and a fine one, each shown by both views; three are in the table: the
elevation (three states), the age band and the body region (two states each). The log odds of a melanoma are

    intercept + coarse * c + fine * f + tabular * (e + 0.6 * a) + interaction * c * r

with c, f, a, r in {-1, 1} and e in {-1, 0, 1}. The body region r works through the interaction alone: it says nothing
about the label unless the coarse cue is seen as well. Sex says nothing at all.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.bundle import DataBundle
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, Progress, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.synthetic.cohort import Hidden, Odds, build, check_made, chosen, leave_out
from mmfusion.data.synthetic.latents import SIGNS, Cue, LatentModel
from mmfusion.data.synthetic.lesions import VIEWS, draw
from mmfusion.options import Finite, Name, PartSize, Pixels, Probability, Seed, Share
from mmfusion.registry import datasets

CUES = (
    Cue("coarse", shown_by=VIEWS),
    Cue("fine", shown_by=VIEWS),
    Cue("age"),
    Cue("region"),
    Cue("elevation", (0.4, 0.3, 0.3)),
)
ELEVATIONS = np.array([-1.0, 0.0, 1.0])
AGE_WEIGHT = 0.6
PRESETS = {
    "default": Odds(coarse=2.2, fine=2.2, tabular=2.4, interaction=2.0, prevalence=(0.65, 0.35)),
    "additive": Odds(coarse=2.2, fine=2.2, tabular=2.4, interaction=0.0, prevalence=(0.65, 0.35)),
    "pure-interaction": Odds(coarse=0.0, fine=0.0, tabular=0.0, interaction=4.0, prevalence=(0.5, 0.5)),
}

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


def lesion_model(
    coarse: float,
    fine: float,
    tabular: float,
    interaction: float,
    prevalence: float,
    label_noise: float = 0.0,
    missing: float = 0.0,
    missing_images: float = 0.0,
) -> LatentModel:
    """The latent model; the arguments are those of :func:`synthetic_derm7pt`."""
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence expects a share between 0 and 1, got {prevalence}")
    c, f, a, r, e = np.meshgrid(SIGNS, SIGNS, SIGNS, SIGNS, ELEVATIONS, indexing="ij")
    odds = coarse * c + fine * f + tabular * (e + AGE_WEIGHT * a) + interaction * c * r
    effects = np.stack([np.zeros_like(odds), odds], axis=-1)
    return LatentModel(CUES, effects, (1 - prevalence, prevalence), label_noise, missing, missing_images)


@datasets.register("synthetic_derm7pt")
def synthetic_derm7pt(
    *,
    root: Path | str | None = None,
    data_seed: Seed = 0,
    size: Pixels = 64,
    n_train: PartSize = 3000,
    n_validation: PartSize = 500,
    n_test: PartSize = 1500,
    preset: Name = "default",
    coarse: Finite | None = None,
    fine: Finite | None = None,
    tabular: Finite | None = None,
    interaction: Finite | None = None,
    prevalence: Share | None = None,
    label_noise: Probability = 0.0,
    missing: Probability = 0.0,
    missing_images: Probability = 0.0,
    progress: Progress | None = None,
) -> DataBundle:
    """Nevus or melanoma from two drawn views of a lesion and four columns.

    The label depends on a coarse image cue, a fine image cue that is lost when the image is shrunk to 8x8, the table,
    and an interaction of image and table; see this module for how, and
    :mod:`mmfusion.data.synthetic.lesions` for what the cues look like.

    ================== ====== ==== ======= =========== ========== ==================================================
    preset             coarse fine tabular interaction prevalence ceilings: image, table, both
    ================== ====== ==== ======= =========== ========== ==================================================
    default            2.2    2.2  2.4     2.0         0.35       0.788, 0.751, 0.959
    additive           2.2    2.2  2.4     0.0         0.35       0.821, 0.760, 0.951; no interaction
    pure-interaction   0.0    0.0  0.0     4.0         0.5        0.5, 0.5, 0.982; either modality alone says nothing
    ================== ====== ==== ======= =========== ========== ==================================================

    Args:
        root: Must be None: nothing is read.
        data_seed: Seed of everything here. A run's own seed does not change the data.
        size: Pixels along each side of the images, at least 32; below 48 the fine cue is blurred away.
        n_train: Cases in the training part.
        n_validation: Cases in the validation part.
        n_test: Cases in the test part.
        preset: A name from the table above, for the values of those of the next five that are None.
        coarse: Log odds of the coarse image cue.
        fine: Log odds of the fine image cue.
        tabular: Log odds of the table's own cues, elevation and age.
        interaction: Log odds of the interaction of coarse image cue and location.
        prevalence: Share of melanomas.
        label_noise: Probability that a label is flipped.
        missing: Probability of each cell of the table to be empty.
        missing_images: Probability of each view of a case to be absent. Either view shows both cues.
        progress: Called with the cases drawn so far and their number.

    Returns:
        The three parts with their ceilings: the Bayes AUC of the image cues, of the table, of both.

    Raises:
        ValueError: If an option is out of its range, or a part has cases of one class only.
    """
    numbers = {"train": n_train, "validation": n_validation, "test": n_test}
    check_made("synthetic_derm7pt", root, numbers)
    if not isinstance(size, int) or size < 32:
        raise ValueError(f"synthetic_derm7pt expects a size of at least 32 pixels, one number, got {size}")
    shares = None if prevalence is None else (1 - prevalence, prevalence)
    odds = chosen(
        PRESETS, preset, coarse=coarse, fine=fine, tabular=tabular, interaction=interaction, prevalence=shares
    )
    model = lesion_model(
        odds.coarse,
        odds.fine,
        odds.tabular,
        odds.interaction,
        odds.prevalence[1],
        label_noise,
        missing,
        missing_images,
    )

    def reader(train: pd.DataFrame) -> CaseReader:
        return CaseReader(
            targets={"label": TargetColumn("diagnosis", CLASSES)},
            images={view: ImageSource(view, (size, size)) for view in VIEWS},
            schema=TableSchema.fit(
                train, numerical=("age",), categorical=("elevation", "location", "sex"), min_cases=1
            ),
            id_column="case_id",
        )

    def pictures(hidden: Hidden, rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
        return draw(hidden["coarse"] > 0, hidden["fine"] > 0, size, rng)

    return build(
        "synthetic_derm7pt",
        model,
        numbers,
        data_seed=data_seed,
        records=partial(draw_records, model),
        draw=pictures,
        chunk=CHUNK,
        reader=reader,
        progress=progress,
    )


def draw_records(model: LatentModel, part: str, n: int, rng: np.random.Generator) -> tuple[Hidden, pd.DataFrame]:
    """Hidden cues of some cases, and the table that shows what can be seen of them.

    Args:
        model: Gives the labels' probabilities and the share of empty cells and absent images.
        part: Prefix of the cases' names.
        n: Number of cases.
        rng: Source of randomness.

    Returns:
        The cues, and the table: case_id, derm, clinic (file names), age, elevation, location, sex, diagnosis.
    """
    cues = model.draw(n, rng)
    spread = rng.random(n)
    low, high = np.array(AGES)[cues["age"]].T
    counts = np.array([len(region) for region in REGIONS])
    first = np.array([0, counts[0]])
    names = [f"{part}-{i:05d}" for i in range(n)]
    columns = {
        "age": np.floor(low + (high - low) * spread).astype(np.int64),
        "elevation": np.array(ELEVATION, dtype=object)[cues["elevation"]],
        "location": np.array(sum(REGIONS, ()), dtype=object)[
            first[cues["region"]] + np.floor(rng.random(n) * counts[cues["region"]]).astype(np.int64)
        ],
        "sex": np.array(SEX, dtype=object)[rng.integers(0, 2, n)],
    }
    labels = model.labels(cues, rng)
    frame = pd.DataFrame(
        {"case_id": names, **{view: [f"{view}/{name}.png" for name in names] for view in VIEWS}, **columns}
    )
    leave_out(frame, tuple(columns), VIEWS, model, rng)
    frame["diagnosis"] = np.array(CLASSES, dtype=object)[labels]
    return dict(cues), frame
