"""``synthetic_men``: cases in the shape of MEN, drawn from a seed, with the best possible AUC known.

Three sequences of one volume, six columns, three classes. Two cues are in the images: a coarse one that T1 and T2
show, and a fine one that T2 and ADC show. Four are in the table: the location (three states), the bands of age and of
the ADC value, and the sex. Grade 2 against grade 1 is ``g = (-1/2, 1/2, 1/2)``, invasion against none
``i = (0, 1/2, -1/2)``, in the order of the classes; ``e`` is 1 for the class that the location favors, else 0. The log
odds of the classes are

    intercepts + coarse * c * g + fine * f * i + tabular * (e + 0.6 * a * g) + interaction * (c * r * g + f * q * i)

with c, f, a (age), r (ADC value), q (sex) in {-1, 1}. The ADC value and the sex only act through the interaction: the
first is independent of the label unless the coarse cue is known, too, the second unless the fine one is. The areas of
tumor and edema are those of the drawing, and independent of the label.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.bundle import DataBundle
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.reader import CaseReader, Progress, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.synthetic.cohort import Odds, Preset, build, case_table
from mmfusion.data.synthetic.latents import SIGNS, Cue, LatentModel
from mmfusion.data.synthetic.planted import Hidden
from mmfusion.data.synthetic.tumours import BOX, SEQUENCES, SHOW_COARSE, SHOW_FINE, draw, draw_masks
from mmfusion.option_checks import checked
from mmfusion.options import Finite, Length, PartSize, Pixels, Probability, Seed, Share
from mmfusion.registry import datasets

CLASSES = ("Grade_1", "Grade_2_invasion", "Grade_2_noninvasion")
GRADE = np.array([-0.5, 0.5, 0.5])
INVASION = np.array([0.0, 0.5, -0.5])
CUES = (
    Cue("coarse", shown_by=SHOW_COARSE),
    Cue("fine", shown_by=SHOW_FINE),
    Cue("age"),
    Cue("adc"),
    Cue("sex"),
    Cue("location", (0.4, 0.35, 0.25)),
)
AGE_WEIGHT = 0.6
PRESETS = {
    "default": Odds(coarse=2.8, fine=2.8, tabular=2.4, interaction=2.0, prevalence=(0.45, 0.25, 0.3)),
    "additive": Odds(coarse=2.8, fine=2.8, tabular=2.4, interaction=0.0, prevalence=(0.45, 0.25, 0.3)),
    "pure-interaction": Odds(coarse=0.0, fine=0.0, tabular=0.0, interaction=4.0, prevalence=(0.5, 0.25, 0.25)),
}

LOCATION = ("skull base", "convex surface", "other")
"""Each favors the class at the same position in ``CLASSES``."""
SEX = ("female", "male")
AGES = ((25, 50), (50, 85))
"""Years of each age band, from and below."""
ADC = ((600, 900), (900, 1300))
"""Square micrometers per second of each band of the ADC value, from and below."""
HALF_AXES = (24.0, 32.0)
"""Range of a tumor's half axes within the slice, in millimeters."""
RIM = (0.0, 12.0)
"""Range of the edema's width around the tumor, in millimeters."""

CHUNK = 16
"""Cases drawn at once: few enough for the processor's cache. The seeds of the volumes depend on it."""
GREYS = (np.arange(256) / 256).astype(np.float16)
"""The value of each drawn byte, exact in float16, in which volumes are stored."""


def tumour_model(
    coarse: float,
    fine: float,
    tabular: float,
    interaction: float,
    prevalence: Sequence[float],
    label_noise: float = 0.0,
    missing: float = 0.0,
    missing_images: float = 0.0,
) -> LatentModel:
    """The latent model; the arguments are those of :func:`synthetic_men`."""
    c, f, a, r, q = (SIGNS[states, None, None] for states in np.ix_(*[range(2)] * 5))
    effects = (
        coarse * c * GRADE
        + fine * f * INVASION
        + tabular * (np.eye(3) + AGE_WEIGHT * a * GRADE)
        + interaction * (c * r * GRADE + f * q * INVASION)
    )
    return LatentModel(CUES, effects, tuple(prevalence), label_noise, missing, missing_images)


@datasets.register("synthetic_men")
@checked
def synthetic_men(
    *,
    data_seed: Seed = 0,
    size: Annotated[Sequence[Pixels], Length(3)] = (32, 32, 8),
    n_train: PartSize = 3000,
    n_validation: PartSize = 500,
    n_test: PartSize = 1500,
    preset: Preset = "default",
    coarse: Finite | None = None,
    fine: Finite | None = None,
    tabular: Finite | None = None,
    interaction: Finite | None = None,
    prevalence: Annotated[Sequence[Share], Length(3)] | None = None,
    label_noise: Probability = 0.0,
    missing: Probability = 0.0,
    missing_images: Probability = 0.0,
    progress: Progress | None = None,
) -> DataBundle:
    """Grade 1, grade 2 with invasion or without, from three drawn MRI sequences and six columns.

    The label depends on a coarse image cue, a fine image cue that is lost when slices are shrunk to 8x8, the table, and
    interactions of image and table; see this module for how, and
    :mod:`mmfusion.data.synthetic.tumours` for what the cues look like.

    ================== ====== ==== ======= =========== ================ ===========================================
    preset             coarse fine tabular interaction prevalence       ceilings: image, table, both (macro AUC)
    ================== ====== ==== ======= =========== ================ ===========================================
    default            2.8    2.8  2.4     2.0         0.45, 0.25, 0.3  0.789, 0.763, 0.956
    additive           2.8    2.8  2.4     0.0         0.45, 0.25, 0.3  0.832, 0.726, 0.943; no interaction
    pure-interaction   0.0    0.0  0.0     4.0         0.5, 0.25, 0.25  0.5, 0.5, 0.982; both modalities are needed
    ================== ====== ==== ======= =========== ================ ===========================================

    Voxels are floating-point numbers from 0 to below 1. A case of MEN's own size, (128, 128, 24), takes 2.4 MB and 0.1
    seconds to draw; one of the default size 50 kB and a millisecond.

    Args:
        data_seed: Seed of the data. The seed of a run does not change them.
        size: Voxels along height, width and slices; height and width are equal and at least 32, slices at least 4.
        n_train: Cases of the training set.
        n_validation: Cases of the validation set.
        n_test: Cases of the test set.
        preset: A name from the table above; it has the values of those of the next five options that are None.
        coarse: Log odds of the coarse image cue, grade 2 against grade 1.
        fine: Log odds of the fine image cue, invasion against none.
        tabular: Log odds of the cues of the table alone, location and age.
        interaction: Log odds of the interactions of coarse cue and ADC value, and of fine cue and sex.
        prevalence: Share of each class; they sum to 1.
        label_noise: Probability that a label is replaced by one of the other two.
        missing: Probability that a cell of the table is empty.
        missing_images: Probability that a sequence of a case is absent. T1 shows the coarse cue, T2 both, ADC the
            fine one.
        progress: Called with the cases drawn so far and their number.

    Returns:
        The three sets with their ceilings: the Bayes macro AUC of the image cues, of the table, of both.

    Raises:
        ValueError: If an option is out of its range, or a set has cases of one class only.
    """
    if size[0] != size[1] or size[0] < 32 or size[2] < 4:
        raise ValueError(
            f"synthetic_men: size expects (height, width, slices), the first two equal and at least 32, the last at "
            f"least 4, got {size}"
        )
    height, width, slices = size
    odds = PRESETS[preset].changed(
        coarse=coarse,
        fine=fine,
        tabular=tabular,
        interaction=interaction,
        prevalence=None if prevalence is None else tuple(prevalence),
    )
    model = tumour_model(**vars(odds), label_noise=label_noise, missing=missing, missing_images=missing_images)
    spacing = (BOX[0] / height, BOX[1] / width, BOX[2] / slices)

    def reader(train: pd.DataFrame) -> CaseReader:
        return CaseReader(
            targets={"label": TargetColumn("diagnosis", CLASSES)},
            images={
                name: VolumeSource(name, (height, width, slices), axes="hws", spacing=spacing) for name in SEQUENCES
            },
            schema=TableSchema.fit(
                train,
                numerical=("age", "adc_value", "tumour_area", "oedema_area"),
                categorical=("location", "sex"),
                min_cases=1,
            ),
            id_column="patient",
        )

    def volumes(hidden: Hidden, rng: np.random.Generator) -> dict[str, NDArray[np.float16]]:
        drawn = draw(*_cues(hidden), (height, width, slices), rng)
        return {name: GREYS[voxels] for name, voxels in drawn.items()}

    return build(
        "synthetic_men",
        model,
        {"train": n_train, "validation": n_validation, "test": n_test},
        data_seed=data_seed,
        records=draw_records,
        draw=volumes,
        draw_masks=partial(_masks, (height, width, slices)),
        dtype=np.float16,
        chunk=CHUNK,
        reader=reader,
        progress=progress,
    )


def draw_records(model: LatentModel, set_name: str, n: int, rng: np.random.Generator) -> tuple[Hidden, pd.DataFrame]:
    """Hidden state of some cases, and their table.

    Args:
        model: Gives the labels' probabilities and the share of empty cells and absent sequences.
        set_name: Prefix of the cases' names.
        n: Number of cases.
        rng: Source of randomness.

    Returns:
        The cues, the ``axes`` of the tumors (n, 2) and the ``rim`` of the edemas (n,) in millimeters; and the table:
        patient, t1, t2, adc (file names), location, sex, age (years), adc_value (square micrometers per second),
        tumour_area and oedema_area (square millimeters, in the slice through the tumor's center), diagnosis.
    """
    cues = model.draw(n, rng)
    axes, rim = rng.uniform(*HALF_AXES, (n, 2)), rng.uniform(*RIM, n)
    tumour = np.pi * axes.prod(axis=1)
    bands = {
        name: np.floor(low + (high - low) * rng.random(n)).astype(np.int64)
        for name, (low, high) in (("age", np.array(AGES)[cues["age"]].T), ("adc", np.array(ADC)[cues["adc"]].T))
    }
    columns = {
        "location": np.array(LOCATION, dtype=object)[cues["location"]],
        "sex": np.array(SEX, dtype=object)[cues["sex"]],
        "age": bands["age"],
        "adc_value": bands["adc"],
        "tumour_area": np.rint(tumour).astype(np.int64),
        "oedema_area": np.rint(np.pi * (axes + rim[:, None]).prod(axis=1) - tumour).astype(np.int64),
    }
    labels = np.array(CLASSES, dtype=object)[model.labels(cues, rng)]
    names = [f"{set_name}-{i:05d}" for i in range(n)]
    files = {name: f"{{case}}/{name}_bbox.nii.gz" for name in SEQUENCES}
    frame = case_table(model, names, columns, labels, rng, id_column="patient", images=files)
    return {**cues, "axes": axes, "rim": rim}, frame


def _cues(hidden: Hidden) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    return hidden["coarse"] > 0, hidden["fine"] > 0, hidden["axes"], hidden["rim"]


def _masks(size: tuple[int, int, int], hidden: Hidden, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    return draw_masks(*_cues(hidden), size, rng)
