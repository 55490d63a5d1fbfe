"""How the defaults for own tables were chosen: compressions, latents, the scale of tokens, dropout, on small tables.

python benchmarks/studies/own_tables.py --bus-bra BUSBRA/ --ham10000 HAM10000/ --out own-tables.csv

Four tables, EfficientNet-Lite0 frozen, the recipe of own tables: breast ultrasound with which view it is alone,
the same with the radiologist's BI-RADS category, dermoscopic images with three columns, and a made-up strong table
beside four dermoscopic photographs per row that say little. The test set that a run of each table would take by default
is left out beforehand, and every candidate is trained on several splits of the rest: ``validation`` chose the epoch,
``holdout`` did not. A second call goes on where the first was stopped.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmfusion import registry
from mmfusion.data.splits import make_split
from mmfusion.experiments import run, settings

FRACTIONS = (0.7, 0.1, 0.2)
INNER = [0.7, 0.15, 0.15]
FROZEN = {
    # Written out: candidates stay what they are when the recipe changes.
    "train": {"freeze": "all", "precompute": True, "resamples": 10, "modality_dropout": 0.0},
    "model": {
        **{"encoder": "tf_efficientnet_lite0", "weights": "bundled"},
        **{"token_norm": True, "hidden": [128], "dropout": 0.2},
    },
}
FEWER = {"image_latents": 8}
CHOSEN = {"model": {"dropout": 0.5}, "train": {"modality_dropout": 0.4}}
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "image": ("image", {}),
    "tabular_mlp": ("tabular_mlp", {}),
    "concat, raw tokens": ("concat", {"model": {"token_norm": False}}),
    "concat": ("concat", {}),
    "concat, modality dropout": ("concat", {"train": {"modality_dropout": 0.2}}),
    "concat, dropout 0.5, modality dropout 0.4": ("concat", CHOSEN),
    "cfcml, raw tokens": ("cfcml", {"model": {"token_norm": False}}),
    "cfcml": ("cfcml", {}),
    "cfcml, conv": ("cfcml", {"model": {"compression": "conv"}}),
    "cfcml, resampler": ("cfcml", {"model": {"compression": "resampler"}}),
    "cfcml, dropout 0.5": ("cfcml", {"model": {"dropout": 0.5}}),
    "cfcml, dropout 0.5, modality dropout": (
        "cfcml",
        {"model": {"dropout": 0.5}, "train": {"modality_dropout": 0.2}},
    ),
    "cfcml, 8 latents": ("cfcml", {"model": FEWER}),
    "cfcml, 8 latents, dropout 0.5, modality dropout 0.2": (
        "cfcml",
        {"model": {**FEWER, "dropout": 0.5}, "train": {"modality_dropout": 0.2}},
    ),
    "cfcml, 8 latents, dropout 0.5, modality dropout 0.4": (
        "cfcml",
        {"model": {**FEWER, "dropout": 0.5}, "train": {"modality_dropout": 0.4}},
    ),
    "gmu, dropout 0.5, modality dropout 0.4": ("gmu", CHOSEN),
    "mbt, dropout 0.5, modality dropout 0.4": ("mbt", CHOSEN),
    "mbt, fusion from the first layer": ("mbt", settings.merge(CHOSEN, {"model": {"fusion_layer": 0}})),
    "mbt, 2 layers": ("mbt", settings.merge(CHOSEN, {"model": {"depth": 2, "fusion_layer": 1}})),
    "mbt, block dropout 0.3": ("mbt", settings.merge(CHOSEN, {"model": {"block_dropout": 0.3}})),
    "mbt, modality dropout 0.2": ("mbt", settings.merge(CHOSEN, {"train": {"modality_dropout": 0.2}})),
    # Behind the last stage alone: what acts inside an encoder cannot have its maps from disk.
    "film, dropout 0.5, modality dropout 0.4": ("film", settings.merge(CHOSEN, {"model": {"at": [-1]}})),
}


def main() -> None:
    """Train what is not in the file yet, then print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bus-bra", type=Path, required=True, help="folder with bus_data.csv and Images/")
    parser.add_argument("--ham10000", type=Path, required=True, help="folder with HAM10000_metadata.csv and its images")
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--candidates", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("own-tables.csv"))
    options = parser.parse_args()
    rows = pd.read_csv(options.out).to_dict("records") if options.out.is_file() else []
    done = {(row["table"], row["candidate"], row["split"]) for row in rows}
    with tempfile.TemporaryDirectory() as scratch:
        tables = dict(development(options.bus_bra, options.ham10000, Path(scratch)))
        for split in range(options.splits):
            for table, data in tables.items():
                for candidate in options.candidates:
                    if (table, candidate, split) in done:
                        continue
                    model, own = CANDIDATES[candidate]
                    scores = trained(model, own, data, split, Path(scratch))
                    rows.append({"table": table, "candidate": candidate, "split": split, **scores})
                    pd.DataFrame(rows).to_csv(options.out, index=False)
                    print(rows[-1], flush=True)
    frame = pd.DataFrame(rows)
    print(frame.groupby(["table", "candidate"], sort=False)[["validation", "holdout", "log_loss"]].mean().round(3))


def trained(model: str, own: dict[str, Any], data: dict[str, Any], split: int, scratch: Path) -> dict[str, Any]:
    """AUC on both held-out sets, and those of the reference rows on the table."""
    out = Path(tempfile.mkdtemp(dir=scratch))
    place = {"run": {"out": str(out), "seed": split, "robustness": False, "references": model == "concat"}}
    split_of = {"data": {**data, "split_seed": split, "fractions": INNER}}
    known = registry.models.options(model)
    shared = {**FROZEN, "model": {name: value for name, value in FROZEN["model"].items() if name in known}}
    metrics = run.start(settings.resolve(model, "table", [shared, own, split_of, place]), overwrite=True).metrics
    found = {
        "validation": metrics["validation"]["auc"]["value"],
        "holdout": metrics["test"]["auc"]["value"],
        "log_loss": metrics["test"]["log_loss"]["value"],
        "epoch": metrics["chosen"]["epoch"],
    }
    return found | {name: row["auc"]["value"] for name, row in metrics.get("references", {}).items()}


def development(bus_bra: Path, ham10000: Path, scratch: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Options of the four tables, without the rows that a run would test by default."""
    bus = pd.read_csv(bus_bra / "bus_data.csv")
    bus["image"] = [next((bus_bra / "Images").glob(f"{name}.*"), "") for name in bus["ID"]]
    bus = _without_test(bus[bus["image"] != ""], "Pathology", "Case", "ID")
    bus.to_csv(scratch / "bus.csv", index=False)
    options = {
        "table": str(scratch / "bus.csv"),
        "label": "Pathology",
        "images": ["image"],
        "group": "Case",
        "id": "ID",
    }
    yield "ultrasound, side", {**options, "columns": ["Side"], "size": 128}
    yield "ultrasound, side and BI-RADS", {**options, "columns": ["Side", "BIRADS"], "size": 128}
    ham = pd.read_csv(ham10000 / "HAM10000_metadata.csv")
    images = {path.stem: path for path in ham10000.rglob("*.jpg")}
    ham["image"] = ham["image_id"].map(images)
    ham = _without_test(ham[ham["image"].notna()], "dx", "lesion_id", "image_id")
    kept = [
        rows.sample(min(len(rows), 700 if name == "nv" else 260), random_state=0) for name, rows in ham.groupby("dx")
    ]
    pd.concat(kept).to_csv(scratch / "ham.csv", index=False)
    yield (
        "dermoscopy",
        {
            **{"table": str(scratch / "ham.csv"), "label": "dx", "images": ["image"], "group": "lesion_id"},
            **{"id": "image_id", "columns": ["age", "sex", "localization"], "size": 128},
        },
    )
    _weak_images(ham).to_csv(scratch / "weak.csv", index=False)
    photos = [f"photo{j}" for j in range(4)]
    options = {"table": str(scratch / "weak.csv"), "label": "grade", "images": photos, "id": "case"}
    yield "strong table, weak images", {**options, "size": 64}


def _without_test(frame: pd.DataFrame, label: str, group: str, id_: str) -> pd.DataFrame:
    labels = np.asarray(pd.Categorical(frame[label]).codes, dtype=np.int64)
    split = make_split(labels, list(frame[group].astype(str)), list(frame[id_]), fractions=FRACTIONS, seed=0)
    return frame.drop(frame.index[split.test])


def _weak_images(ham: pd.DataFrame) -> pd.DataFrame:
    """525 rows of three grades: laboratory values and findings that tell them, photographs that hardly do."""
    rng = np.random.default_rng(0)
    grades = rng.choice(3, 525, p=[0.4, 0.35, 0.25])
    means, findings = 0.6 * rng.normal(0, 1, (3, 4)), rng.dirichlet(np.full(4, 2.5), (3, 3))
    own = [ham["image"][ham["dx"] == name].to_numpy() for name in ("nv", "bkl", "bcc")]
    anything = ham["image"].to_numpy()
    rows = []
    for i, grade in enumerate(grades):
        values = np.exp((means[grade] + rng.normal(0, 1, 4)) / 2) * [1, 30, 7, 140]
        row: dict[str, Any] = {"case": f"c{i}", "grade": ("low", "middle", "high")[grade]}
        row |= {f"laboratory{j}": round(float(value), 3) for j, value in enumerate(values)}
        drawn = [rng.choice(4, p=findings[grade, j]) for j in range(3)]
        row |= {f"finding{j}": ("none", "mild", "moderate", "severe")[at] for j, at in enumerate(drawn)}
        row["age"] = int(np.clip(rng.normal(55, 14), 18, 95))
        row |= {f"photo{j}": rng.choice(own[grade] if rng.random() < 0.25 else anything) for j in range(4)}
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
