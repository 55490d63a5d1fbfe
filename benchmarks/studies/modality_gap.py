"""Whether CFCML's anchor losses close the gap between modalities: with and without them, before and after training.

python benchmarks/studies/modality_gap.py --runs runs/gap --out benchmarks/studies/modality_gap.csv \
    --figure docs/figures/modality-gap.png

The default recipe of ``synthetic_derm7pt``, on all cases of its test set. With and without anchors start from the same
weights and see the same batches. One row per seed, state, measure and sets; ``difference`` is with less without, after
training, on the same resamples of the cases. A second call trains only what is not in ``--runs`` yet, and measures the
seeds that are not in the file.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mmfusion.experiments import folder, predictor, run, settings
from mmfusion.experiments.modality_gap import gap_picture
from mmfusion.experiments.modality_gap.embedding_sets import EmbeddingSets, all_sets, sets_of
from mmfusion.experiments.modality_gap.gap_cases import GapCases, gap_cases
from mmfusion.experiments.modality_gap.gap_panels import panels_of
from mmfusion.experiments.modality_gap.initial_weights import initial_model
from mmfusion.experiments.modality_gap.projections import PCA, TSNE
from mmfusion.metrics.modality_gap import GapNumber, gap_differences, gap_numbers
from mmfusion.training.result_files import read_json, write_bytes

DATASET = "synthetic_derm7pt"
SHARED = {"run": {"robustness": False, "references": False, "cache_gb": 0.0}}
WITH, WITHOUT = "with anchors", "without anchors"
ANCHORS: dict[str, dict[str, float]] = {
    WITHOUT: {f"{name}_weight": 0.0 for name in ("sample", "unimodal", "crossmodal")},
    WITH: {},
}
BEFORE, DIFFERENCE = "before training", "difference"
STATES = (BEFORE, WITHOUT, WITH, DIFFERENCE)
N_RESAMPLES, N_DRAWN = 1000, 250


def main() -> None:
    """Train what is not there yet, write rows and figure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/modality-gap"), help="folder of the trainings")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("modality_gap.csv"))
    parser.add_argument("--figure", type=Path, help="write the picture of the first seed there")
    parser.add_argument("--table", action="store_true", help="print what is in the file and train nothing")
    options = parser.parse_args()
    done = set(pd.read_csv(options.out)["seed"]) if options.out.is_file() else set()
    for seed in [] if options.table else range(options.seeds):
        if seed not in done or (options.figure and not seed):
            states, cases = embedded(options.runs, seed)
            if options.figure and not seed:
                write_bytes(options.figure, figure(states, cases))
            if seed not in done:
                rows = pd.DataFrame(measured(options.runs, seed, states, cases))
                rows.to_csv(options.out, mode="a", index=False, header=not options.out.is_file(), lineterminator="\n")
    print(table(pd.read_csv(options.out)).to_string(index=False))


def trained(runs: Path, name: str, seed: int) -> Path:
    """The folder of a finished training."""
    place = runs / f"{name.replace(' ', '-')}-seed{seed}"
    if not (place / folder.METRICS).is_file():
        where = {"run": {"seed": seed, "out": str(place)}, "model": ANCHORS[name]}
        run.start(settings.resolve("cfcml", DATASET, [SHARED, where]), overwrite=True)
    return place


def embedded(runs: Path, seed: int) -> tuple[dict[str, EmbeddingSets], GapCases]:
    """Embeddings of the test set by state, and the cases."""
    place = trained(runs, WITHOUT, seed)
    loaded = predictor.load(place, "cpu")
    cases = gap_cases(loaded, place, None, None, "error", n_cases=20_000, seed=0)
    models = {
        BEFORE: initial_model(place, loaded.spec, loaded.model),
        WITHOUT: loaded.model,
        WITH: predictor.load(trained(runs, WITH, seed), "cpu").model,
    }
    sets = {when: sets_of(model, cases.dataset, loaded.batch_size, loaded.device) for when, model in models.items()}
    return sets, cases


def measured(runs: Path, seed: int, states: dict[str, EmbeddingSets], cases: GapCases) -> list[dict[str, Any]]:
    """All rows of a seed."""
    embeddings = {when: all_sets(sets) for when, sets in states.items()}
    names = list(states[WITH].modalities)
    options: dict[str, Any] = {
        "pairs": [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]],
        "n_resamples": N_RESAMPLES,
        "seed": seed,
    }
    known = cases.labels, states[WITH].present, cases.groups
    found = {when: gap_numbers(of_state, *known, **options) for when, of_state in embeddings.items()}
    found[DIFFERENCE] = gap_differences(embeddings[WITHOUT], embeddings[WITH], *known, **options)
    auc = {name: read_json(trained(runs, name, seed) / folder.METRICS)["test"]["auc"]["value"] for name in ANCHORS}
    return [
        {"seed": seed, "when": when, **_row(number), "test_auc": None if when not in auc else round(auc[when], 6)}
        for when, numbers in found.items()
        for number in numbers
    ]


def _row(number: GapNumber) -> dict[str, Any]:
    values = {name: round(getattr(number, name), 6) for name in ("value", "low", "high")}
    return {"measure": number.measure, "of": " and ".join(number.of), **values, "cases": number.n_cases}


def figure(states: dict[str, EmbeddingSets], cases: GapCases) -> bytes:
    """PNG: one row per state; the modalities by PCA and t-SNE, the fused embeddings by PCA; of some cases."""
    rows = np.sort(np.random.default_rng(0).permutation(len(cases.labels))[:N_DRAWN])
    panels = {}
    for when, sets in states.items():
        modalities = {name: x[rows] for name, x in sets.modalities.items()}
        present = {name: row[rows] for name, row in sets.present.items()}
        some = EmbeddingSets(modalities, present, None if sets.fused is None else sets.fused[rows])
        found = panels_of(some, cases.labels[rows], len(cases.classes), (PCA, TSNE), 0)
        panels[when if when == BEFORE else f"after training, {when}"] = found[:3]
    picture = Image.open(io.BytesIO(gap_picture.overview(panels, cases.classes))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(96).save(file, format="png", optimize=True)
    return file.getvalue()


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """By measure: means over the sets and seeds, and the extremes of the seeds' means.

    The last column counts the differences, of all sets and seeds, whose interval does not hold 0.
    """
    lines = []
    rows = rows.assign(kind=np.where(rows["of"].str.contains(" and "), "pairs", rows["of"]))
    rows.loc[(rows["kind"] != "pairs") & (rows["kind"] != "fused"), "kind"] = "modalities"
    for (measure, kind), members in rows.groupby(["measure", "kind"], sort=False):
        line = {"number": measure.replace("_", " "), "of": kind}
        for when in STATES:
            means = members[members["when"] == when].groupby("seed")["value"].mean()
            line[when] = f"{means.mean():.3f} ({means.min():.3f} to {means.max():.3f})"
        differences = members[members["when"] == DIFFERENCE]
        apart = ((differences["low"] > 0) | (differences["high"] < 0)).sum()
        lines.append(line | {"other than 0": f"{apart} of {len(differences)}"})
    return pd.DataFrame(lines)


if __name__ == "__main__":
    main()
