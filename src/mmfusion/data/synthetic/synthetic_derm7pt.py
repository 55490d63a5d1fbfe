"""``synthetic_derm7pt``: cases in the shape of Derm7pt, drawn from a seed, with the best possible AUC known.

Two cues are in the images, a coarse one and a fine one, each shown by both views; three are in the table: the
elevation (three states), the age band and the body region (two states each). The log odds of a melanoma are

    intercept + coarse * c + fine * f + tabular * (e + 0.6 * a) + interaction * c * r

with c, f, a, r in {-1, 1} and e in {-1, 0, 1}. The body region r only acts through the interaction: it is independent
of the label unless the coarse cue is known, too. Sex is independent of the label.
"""

from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.bundle import DataBundle
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, Progress, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.synthetic.cohort import Odds, Preset, build, case_table
from mmfusion.data.synthetic.latents import SIGNS, Cue, LatentModel
from mmfusion.data.synthetic.lesions import VIEWS, draw, draw_masks
from mmfusion.data.synthetic.planted import Hidden
from mmfusion.option_checks import checked
from mmfusion.options import Finite, PartSize, Probability, Range, Seed, Share
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
"""Years of each age band, from and below."""
SEX = ("female", "male")
CLASSES = ("NEV", "MEL")

CHUNK = 32
"""Cases drawn at once: few enough for the processor's cache. The seeds of the images depend on it."""


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
    c, f, a, r, e = np.meshgrid(SIGNS, SIGNS, SIGNS, SIGNS, ELEVATIONS, indexing="ij")
    odds = coarse * c + fine * f + tabular * (e + AGE_WEIGHT * a) + interaction * c * r
    effects = np.stack([np.zeros_like(odds), odds], axis=-1)
    return LatentModel(CUES, effects, (1 - prevalence, prevalence), label_noise, missing, missing_images)


@datasets.register("synthetic_derm7pt")
@checked
def synthetic_derm7pt(
    *,
    data_seed: Seed = 0,
    size: Annotated[int, Range(32, 8192)] = 64,
    n_train: PartSize = 3000,
    n_validation: PartSize = 500,
    n_test: PartSize = 1500,
    preset: Preset = "default",
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
    pure-interaction   0.0    0.0  0.0     4.0         0.5        0.5, 0.5, 0.982; both modalities are needed
    ================== ====== ==== ======= =========== ========== ==================================================

    Args:
        data_seed: Seed of the data. The seed of a run does not change them.
        size: Pixels along each side of the images, at least 32; below 48 the fine cue is blurred away.
        n_train: Cases of the training set.
        n_validation: Cases of the validation set.
        n_test: Cases of the test set.
        preset: A name from the table above; it has the values of those of the next five options that are None.
        coarse: Log odds of the coarse image cue.
        fine: Log odds of the fine image cue.
        tabular: Log odds of the cues of the table alone, elevation and age.
        interaction: Log odds of the interaction of coarse image cue and location.
        prevalence: Share of melanomas.
        label_noise: Probability that a label is flipped.
        missing: Probability that a cell of the table is empty.
        missing_images: Probability that a view of a case is absent. Either view shows both cues.
        progress: Called with the cases drawn so far and their number.

    Returns:
        The three sets with their ceilings: the Bayes AUC of the image cues, of the table, of both.

    Raises:
        ValueError: If an option is out of its range, or a set has cases of one class only.
    """
    odds = PRESETS[preset].changed(
        coarse=coarse,
        fine=fine,
        tabular=tabular,
        interaction=interaction,
        prevalence=None if prevalence is None else (1 - prevalence, prevalence),
    )
    weights = (odds.coarse, odds.fine, odds.tabular, odds.interaction, odds.prevalence[1])
    model = lesion_model(*weights, label_noise, missing, missing_images)

    def reader(train: pd.DataFrame) -> CaseReader:
        return CaseReader(
            targets={"label": TargetColumn("diagnosis", CLASSES)},
            images={view: ImageSource(view, (size, size)) for view in VIEWS},
            schema=TableSchema.fit(
                train, numerical=("age",), categorical=("elevation", "location", "sex"), min_cases=1
            ),
            id_column="case_id",
        )

    return build(
        "synthetic_derm7pt",
        model,
        {"train": n_train, "validation": n_validation, "test": n_test},
        data_seed=data_seed,
        records=draw_records,
        draw=lambda hidden, rng: draw(hidden["coarse"] > 0, hidden["fine"] > 0, size, rng),
        draw_masks=partial(_masks, size),
        chunk=CHUNK,
        reader=reader,
        progress=progress,
    )


def draw_records(model: LatentModel, set_name: str, n: int, rng: np.random.Generator) -> tuple[Hidden, pd.DataFrame]:
    """Hidden cues of some cases, and their table.

    Args:
        model: Gives the labels' probabilities and the share of empty cells and absent images.
        set_name: Prefix of the cases' names.
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
    columns = {
        "age": np.floor(low + (high - low) * spread).astype(np.int64),
        "elevation": np.array(ELEVATION, dtype=object)[cues["elevation"]],
        "location": np.array(sum(REGIONS, ()), dtype=object)[
            first[cues["region"]] + np.floor(rng.random(n) * counts[cues["region"]]).astype(np.int64)
        ],
        "sex": np.array(SEX, dtype=object)[rng.integers(0, 2, n)],
    }
    labels = np.array(CLASSES, dtype=object)[model.labels(cues, rng)]
    names = [f"{set_name}-{i:05d}" for i in range(n)]
    files = {view: f"{view}/{{case}}.png" for view in VIEWS}
    frame = case_table(model, names, columns, labels, rng, id_column="case_id", images=files)
    return dict(cues), frame


def _masks(size: int, hidden: Hidden, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    return draw_masks(hidden["coarse"] > 0, hidden["fine"] > 0, size, rng)
