"""What fusion without any interaction would reach: the product of two methods' finished predictions.

python benchmarks/studies/product.py benchmarks/results/frozen --methods image,tabular

If the modalities were independent given the class, p(class | image) p(class | table) / p(class) would be the best that
both together can say. A method that does not exceed it has found nothing in the two together that each does not say by
itself. Nothing is trained; the prior is the classes' share of validation, one case of each class added.
"""

import argparse
from pathlib import Path

import numpy as np

from mmfusion.comparison.collect import collect
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.metrics.classification import evaluate

SMALLEST = 1e-12


def main() -> None:
    """Read, multiply, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, or folders with runs below")
    parser.add_argument("--methods", default="image,tabular", help="two, of one modality each (default: %(default)s)")
    options = parser.parse_args()
    names = [name.strip() for name in options.methods.split(",")]
    if len(names) != 2:
        parser.error(f"--methods expects two names, got {options.methods!r}")
    found: dict[str, dict[tuple[int, int], FinishedRun]] = {name: {} for name in names}
    for run in collect(options.folders).runs:
        if run.model in found and (first := found[run.model].setdefault((run.fold, run.seed), run)) is not run:
            parser.error(f"{first.folder} and {run.folder} are both {run.name}: name the folder of one comparison")
    both = sorted(set(found[names[0]]) & set(found[names[1]]))
    if not both:
        parser.error(f"{names[0]} and {names[1]} have no seed and fold in common in these folders")
    rows = [scores(*(found[name][key] for name in names)) for key in both]
    print(f"{'':32s} {'test AUC, mean':>14s}   by run")
    for label, values in zip((*names, f"{names[0]} x {names[1]} / prior"), np.array(rows).T):
        print(f"{label:32s} {values.mean():14.3f}   {' '.join(f'{value:.3f}' for value in values)}")


def scores(one: FinishedRun, other: FinishedRun) -> list[float]:
    """Test AUC of the one, the other, and their product."""
    if one.validation is None:
        raise SystemExit(f"{one.folder} keeps no predictions of validation")
    place = {case: row for row, case in enumerate(other.test.ids.tolist())}
    if set(place) != set(one.test.ids.tolist()):
        raise SystemExit(f"{one.folder} and {other.folder} have other test cases")
    beside = other.test.take(np.array([place[case] for case in one.test.ids.tolist()], dtype=np.intp))
    count = np.bincount(one.validation.labels, minlength=len(one.classes)) + 1.0
    p, q = (np.maximum(cases.probabilities, SMALLEST) for cases in (one.test, beside))
    product = p * q / count
    product /= product.sum(axis=1, keepdims=True)
    said = (p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True), product)
    return [evaluate(x, one.test.labels)["auc"].item() for x in said]


if __name__ == "__main__":
    main()
