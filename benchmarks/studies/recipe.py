"""How the default recipe of ``synthetic_derm7pt`` was chosen: on validation, from perturbed starts.

python benchmarks/studies/recipe.py --out benchmarks/studies/recipe.csv

Each candidate trains its methods from several seeds, and each seed from several starts that differ by rounding alone
(``run.repeat``). A recipe is stable where the validation AUC varies little within a seed. The test set is never
evaluated. One row per run; a second call goes on where the first was stopped, and several may share the work.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mmfusion.comparison.numerical_noise import spread
from mmfusion.experiments import run, settings
from mmfusion.utils.locks import alone

DATASET = "synthetic_derm7pt"
SHARED = {"run": {"test": False, "robustness": False, "references": False, "cache_gb": 0.0}, "train": {"resamples": 10}}
FORMER = {
    # Written out: candidates stay what they are when the recipe changes.
    "train": {
        **{"epochs": 5, "batch_size": 32, "sampler": "balanced", "lr": 2e-3, "optimizer": "adamw", "clip_norm": 1.0},
        **{"weight_decay": 0.01, "schedule": "cosine", "warmup_epochs": 0.5, "channels_last": False},
        "augment": {"flips": True},
    },
    "model": {"encoder": "convnet", "weights": "none", "image_latents": 32, "table_latents": 24},
}
FEWER = {"image_latents": 8, "table_latents": 6}
TINY = {"model": {"encoder": "tiny_convnet"}, "train": {"channels_last": True}}


def candidate(*layers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of each method: the former recipe, then the layers; the latents are CFCML's alone."""
    whole = settings.merge(FORMER, *layers)
    without = {name: value for name, value in whole["model"].items() if name not in FEWER}
    return {"concat": {**whole, "model": without}, "cfcml": whole}


CHOSEN = "tiny, 10 epochs"
CANDIDATES: dict[str, dict[str, dict[str, Any]]] = {
    "former": candidate(),
    CHOSEN: candidate(TINY, {"model": FEWER, "train": {"epochs": 10, "warmup_epochs": 1.0}}),
    "tiny, 10 epochs, lr 1e-3": candidate(
        TINY, {"model": FEWER, "train": {"epochs": 10, "warmup_epochs": 1.0, "lr": 1e-3}}
    ),
}


def main() -> None:
    """Train what is not in the file yet, then print the spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", nargs="+", choices=list(CANDIDATES), default=[CHOSEN], metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=("concat", "cfcml"), default=["concat", "cfcml"], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="starts of each seed (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("recipe.csv"))
    parser.add_argument("--table", action="store_true", help="print what is in the file and train nothing")
    options = parser.parse_args()
    for repeat, seed, name, model in [] if options.table else runs(options):
        key = {"candidate": name, "model": model, "seed": seed, "repeat": repeat}
        lock = options.out.with_suffix(".locks") / "-".join(map(str, key.values()))
        lock.parent.mkdir(parents=True, exist_ok=True)
        # Of several calls each trains other runs.
        with alone(lock, remove=True) as ours:
            if ours and not done(options.out, key):
                append(options.out, key | trained(**key))
    print(table(pd.read_csv(options.out)).to_string(index=False))


def runs(options: argparse.Namespace) -> list[tuple[int, int, str, str]]:
    """All runs, the first start of every seed before the second of any."""
    return list(itertools.product(range(options.repeats), range(options.seeds), options.candidates, options.models))


def done(out: Path, key: dict[str, Any]) -> bool:
    """Whether a run is in the file."""
    return out.is_file() and key in pd.read_csv(out)[list(key)].to_dict("records")


def trained(candidate: str, model: str, seed: int, repeat: int) -> dict[str, Any]:
    """Validation AUC of one run, its epoch, and processor seconds of the whole."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        place = {"run": {"seed": seed, "repeat": repeat, "out": f"{out}/run"}}
        chosen = settings.resolve(model, DATASET, [SHARED, CANDIDATES[candidate][model], place])
        metrics = run.start(chosen).metrics
    return {
        "validation_auc": round(metrics["validation"]["auc"]["value"], 6),
        "epoch": metrics["chosen"]["epoch"],
        "epochs": chosen.train.epochs,
        "parameters": metrics["cost"]["parameters"]["total"],
        "processor_seconds": round(time.process_time() - began, 1),
        "threads": torch.get_num_threads(),
    }


def append(out: Path, row: dict[str, Any]) -> None:
    """One row at the end of the file."""
    pd.DataFrame([row]).to_csv(out, mode="a", index=False, header=not out.is_file())
    print(row, flush=True)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """By candidate and method: mean validation AUC and its standard deviation within a seed and over seeds."""
    lines = []
    for (name, model), members in rows.groupby(["candidate", "model"], sort=False):
        by_seed = [values.tolist() for _, values in members.sort_values("repeat").groupby("seed")["validation_auc"]]
        found = spread([by_seed])
        lines.append(
            {
                **{"candidate": name, "model": model, "runs": len(members), "mean": round(found.mean, 4)},
                **{"sd over starts": round(found.within, 5), "sd over seeds": round(found.over, 5)},
                "processor seconds": round(members["processor_seconds"].mean(), 1),
            }
        )
    return pd.DataFrame(lines)


if __name__ == "__main__":
    main()
