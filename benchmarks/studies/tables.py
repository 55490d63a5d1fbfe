"""What HAM10000's table alone says: our tabular models beside scikit-learn's, on the same splits.

python benchmarks/studies/tables.py --root HAM10000/ --out runs/tables

For each seed one grouped stratified split. Tokenizer and learning rate are chosen by validation, the same for all
seeds. Every run scores its test part into its folder, as all runs do; only the chosen candidate's is shown here. A
second call goes on where the first was stopped.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from mmfusion.experiments import run, settings
from mmfusion.experiments.reference_models import reference_probabilities
from mmfusion.metrics.classification import evaluate
from mmfusion.metrics.differences import corrected_resampled_difference
from mmfusion.registry import datasets
from mmfusion.training.result_files import write_json

TOKENIZERS = ("feature", "periodic", "piecewise_linear", "mlp", "tabtransformer")
RATES = (1e-3, 3e-3)
BUDGET = {"epochs": 15, "batch_size": 64, "warmup_epochs": 0.75, "resamples": 100}
MODEL = {"depth": 1}
# The images are not looked at: as small as they can be.
DATA = {"size": 8}


def main() -> None:
    """Train, choose, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/tables"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    seeds = range(options.seeds)
    candidates = list(itertools.product(TOKENIZERS, RATES))
    scores = {c: [trained(options, *c, seed) for seed in seeds] for c in candidates}
    print(f"{'tokenizer':18s} {'rate':>6s} {'validation AUC':>15s}")
    for (tokenizer, rate), found in sorted(scores.items(), key=lambda item: -mean(item[1], "validation")):
        print(f"{tokenizer:18s} {rate:6g} {mean(found, 'validation'):15.4f}")
    chosen = max(candidates, key=lambda c: mean(scores[c], "validation"))
    ours = np.array([one["test"] for one in scores[chosen]])
    print(f"\nchosen: {chosen[0]}, {chosen[1]:g}\n\n{'':24s} {'test AUC, mean':>14s}   by seed")
    print(row(f"tabular, {chosen[0]}", ours))
    references = [referenced(options, seed) for seed in seeds]
    others = {name: np.array([one[name] for one in references]) for name in references[0] if name != "n"}
    for name, values in others.items():
        print(row(name, values))
    better = max(others, key=lambda name: others[name].mean())
    n_train, n_test = references[0]["n"]
    d = corrected_resampled_difference(ours - others[better], n_train=n_train, n_test=n_test)
    print(
        f"\nover {better}: {d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f}), p = {d.p:.2f}; Nadeau and Bengio's interval"
    )


def mean(found: list[dict[str, float]], part: str) -> float:
    """Of one part's AUC over the seeds."""
    return float(np.mean([one[part] for one in found]))


def row(name: str, values: np.ndarray) -> str:
    """A line of the table."""
    return f"{name:24s} {values.mean():14.4f}   {' '.join(f'{value:.3f}' for value in values)}"


def trained(options: argparse.Namespace, tokenizer: str, rate: float, seed: int) -> dict[str, float]:
    """AUC of one run on validation and test; from its folder if it is there."""
    out = options.out / f"{tokenizer}-{rate:g}" / f"seed{seed}"
    if (out / "metrics.json").is_file():
        metrics = json.loads((out / "metrics.json").read_text())
    elif (out / "settings.json").is_file():
        metrics = dict(run.resume(out).metrics)
    else:
        resolved = settings.resolve(
            "tabular",
            "ham10000",
            [
                {
                    "run": {"root": str(options.root), "seed": seed, "out": str(out)},
                    "train": {**BUDGET, "lr": rate},
                    "data": {**DATA, "split_seed": seed},
                    "model": {**MODEL, "tabular_tokenizer": tokenizer},
                }
            ],
        )
        metrics = dict(run.start(resolved).metrics)
    return {part: metrics[part]["auc"]["value"] for part in ("validation", "test")}


def referenced(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Test AUC of each reference on one split, and the numbers of training and test cases."""
    path = options.out / "references" / f"seed{seed}.json"
    if path.is_file():
        return json.loads(path.read_text())
    bundle = datasets.create("ham10000", root=options.root, split_seed=seed, **DATA)
    kind, labels = bundle.spec.targets["label"], bundle.test.labels("label").numpy()
    found = reference_probabilities(bundle.train, {"test": bundle.test}, "label", kind, seed=seed)
    result = {name: float(evaluate(parts["test"], labels)["auc"][0]) for name, parts in found.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**result, "n": [len(bundle.train), len(bundle.test)]})
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
