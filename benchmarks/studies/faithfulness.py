"""Whether heat maps show what matters to a model: every map method, three datasets, four models.

python benchmarks/studies/faithfulness.py --root BUSBRA/ --out benchmarks/studies/faithfulness.csv

Each model is trained once, in ``--runs``, by a recipe shorter than the dataset's own; then each method's maps of some
test cases, one per patient, are measured by :func:`mmfusion.explain.faithfulness`. The last "method" is a spot in the
image's center: what looks at neither model nor image. One row per test; a second call goes on where the first was
stopped, and several may share the work. Without ``--root`` BUS-BRA is skipped.
"""

import argparse
import itertools
import time
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import mmfusion as mmf
from mmfusion import explain
from mmfusion.explain.class_activation import FORMULAS
from mmfusion.explain.heat_maps import METHODS
from mmfusion.explain.verdicts import ALIKE, UNSTABLE
from mmfusion.metrics.cases import one_per_group
from mmfusion.registry import datasets
from mmfusion.tokens import Inputs, Present
from mmfusion.utils.locks import alone

MODELS = ("concat", "mbt", "film", "cfcml")
TINY = {"model": {"encoder": "tiny_convnet"}, "train": {"epochs": 6, "channels_last": True}}
HELD_OUT = {"n_validation": 300, "n_test": 300}
FROZEN: dict[str, Any] = {
    "freeze": "all",
    "augment": {"rotate": 0, "scale": 0, "translate": 0, "brightness": 0, "contrast": 0},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "synthetic_derm7pt": {**TINY, "data": {**HELD_OUT, "n_train": 2000}},
    "synthetic_men": {**TINY, "data": {**HELD_OUT, "n_train": 1200}},
    "bus_bra": {"train": {**FROZEN, "epochs": 4, "precompute": True}},
}
INSIDE = {"epochs": 2, "precompute": False}
"""Of the frozen encoder that film acts in, whose maps cannot be computed once."""
IMAGES = {"synthetic_derm7pt": "derm", "synthetic_men": "t2", "bus_bra": "image"}
CASES = {"synthetic_derm7pt": 24, "synthetic_men": 18, "bus_bra": 12}
AT = {"synthetic_derm7pt": -2, "synthetic_men": -2, "bus_bra": -1}
"""Where class-activation maps are taken: of 4 x 4 positions, and of 2 x 2 x 1 of the volume; its last has one alone."""
LAST = "grad_cam_last"
"""Grad-CAM behind the last stage, the default of :func:`class_activation_map`, where that is another point."""
CENTER = "center"
FEWER = ("score_cam", "region_shapley")
"""Methods with many forwards: a third of the cases."""
STEPS: dict[str, Any] = {"n_steps": 8, "n_random": 2}
CHEAP: dict[str, Any] = {"n_randomizations": 2, "n_noises": 2}
DEAR: dict[str, Any] = {"n_randomizations": 1, "n_noises": 1}
"""Of all methods but those that need a few forwards and one backward for a map."""

SHOWN = {
    "deletion": "deletion",
    "insertion": "insertion",
    "random_weights": "random weights",
    "noise": "noise",
    "pointing": "pointing",
    "energy": "energy",
}
LIMITS = {"random_weights": ALIKE, "noise": UNSTABLE}


def center(
    model: mmf.models.FusionModel, inputs: Inputs, present: Present | None, *, image: str, output: explain.Output
) -> Tensor:
    """A spot in the middle of each image, a quarter of its axes wide."""
    size, x = model.images[image].size, inputs[image]
    squares = [((torch.arange(n) + 0.5) / n - 0.5) ** 2 for n in size]
    distance = sum(s.view(-1, *(1,) * (len(size) - 1 - axis)) for axis, s in enumerate(squares))
    return torch.exp(-distance / (2 * 0.25**2)).expand(len(x), *size)


def methods(dataset: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """By name what gives the maps, and how often it is asked for them."""

    def cam(name: str) -> Any:
        return partial(explain.class_activation_map, method=name, at=AT[dataset])

    cheap = {name: cam(name) for name in FORMULAS}
    if AT[dataset] != -1:
        cheap[LAST] = METHODS["grad_cam"]
    dear = {
        "integrated_gradients": partial(explain.integrated_gradients, n_steps=16, batch_size=16),
        "occlusion": METHODS["occlusion"],
        "region_shapley": partial(
            explain.region_shapley, cells=(4, 4, 2) if dataset == "synthetic_men" else 4, n_orders=8
        ),
        "score_cam": cam("score_cam"),
    }
    cheap[CENTER] = center
    return {name: (of, CHEAP) for name, of in cheap.items()} | {name: (of, DEAR) for name, of in dear.items()}


def main() -> None:
    """Train and measure what is not in the file yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of BUS-BRA; without it that dataset is skipped")
    parser.add_argument("--datasets", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--runs", type=Path, default=Path("runs/faithfulness"), help="folder of the trained models")
    parser.add_argument("--out", type=Path, default=Path("faithfulness.csv"))
    parser.add_argument("--table", action="store_true", help="print the page's tables from the file, do nothing else")
    options = parser.parse_args()
    if not options.table:
        if options.root is None and "bus_bra" in options.datasets:
            print("bus_bra is skipped: give its folder with --root")
        chosen = [d for d in options.datasets if d != "bus_bra" or options.root is not None]
        for dataset, model in itertools.product(chosen, options.models):
            study(options, dataset, model)
    print(markdown(pd.read_csv(options.out)))


def study(options: argparse.Namespace, dataset: str, model: str) -> None:
    """One model on one dataset by all methods that are not in the file."""
    for method, (of_method, times) in methods(dataset).items():
        key = {"dataset": dataset, "model": model, "method": method}
        lock = options.out.with_suffix(".locks") / "-".join(key.values())
        lock.parent.mkdir(parents=True, exist_ok=True)
        if options.methods is not None and method not in options.methods:
            continue
        # Of several calls each measures others.
        with alone(lock, remove=True) as ours:
            if ours and not done(options.out, key):
                append(options.out, measured(key, of_method, times, options))


def done(out: Path, key: Mapping[str, str]) -> bool:
    """Whether these rows are in the file."""
    return out.is_file() and dict(key) in pd.read_csv(out)[list(key)].to_dict("records")


@cache
def trained(dataset: str, model: str, root: Path | None, runs: Path) -> mmf.Run:
    """The run, from its folder if it is there."""
    out = runs / dataset / model
    if (out / "metrics.json").is_file():
        return mmf.load(out, device="cpu")
    settings = {**SETTINGS[dataset], "run": {"robustness": False, "references": False}}
    settings["train"] = {
        **settings["train"],
        "resamples": 10,
        **(INSIDE if (dataset, model) == ("bus_bra", "film") else {}),
    }
    data = mmf.load_dataset(dataset, root, verbose=False)
    return mmf.fit(model, data, out=out, settings=settings, seed=0, device="cpu", verbose=False)


@cache
def studied(dataset: str, root: Path | None) -> Any:
    """The test cases to study, one per patient, drawn at random."""
    place = {} if root is None else {"root": root}
    small = SETTINGS[dataset].get("data", {})
    size = {"synthetic_men": {"size": (32, 32, 8)}, "bus_bra": {"size": 128}}.get(dataset, {})
    cases: Any = datasets.create(dataset, **place, **small, **size).test
    cases = cases.subset(one_per_group(cases.groups, seed=0))
    order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(0))
    return cases.subset(order[: CASES[dataset]])


def measured(
    key: Mapping[str, str], method: Any, times: Mapping[str, Any], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row per test."""
    dataset, model, name = key.values()
    root = options.root if dataset == "bus_bra" else None
    run = trained(dataset, model, root, options.runs)
    cases, image = studied(dataset, root), IMAGES[dataset]
    n = len(cases) // 3 if name in FEWER else len(cases)
    batch = cases.__getitems__(range(n))
    size = run.spec.images[image].size
    masks = [cases.mask(image, i) for i in range(n)]
    began = time.process_time()
    found = explain.faithfulness(
        run.model,
        batch.inputs,
        batch.present,
        method=method,
        image=image,
        masks=torch.stack([torch.zeros(size, dtype=torch.bool) if mask is None else mask for mask in masks]),
        **STEPS,
        **times,
    )
    seconds = round(time.process_time() - began, 1)
    auc = run.metrics["test"]["auc"]["value"]
    area = sum(found.areas.values()) / len(found.areas) if found.areas else float("nan")
    return [
        {
            **key,
            **{"test": test.name, "cases": test.gain.n, "value": test.value.mean, "gain": test.gain.mean},
            **{"low": test.gain.low, "high": test.gain.high, "passed": test.passed},
            **{"constant": found.n_constant, "mask_area": area, "test_auc": auc, "seconds": seconds},
        }
        for test in found.tests.values()
    ]


def append(out: Path, rows: list[dict[str, Any]]) -> None:
    """Rows at the end of the file."""
    frame = pd.DataFrame(rows)
    frame.to_csv(out, mode="a", index=False, header=not out.is_file(), float_format="%.4g", lineterminator="\n")
    print(frame[["dataset", "model", "method", "test", "gain", "low", "high"]].to_string(header=False), flush=True)


def markdown(rows: pd.DataFrame) -> str:
    """The page's tables: how many methods pass, then each dataset's values; failed tests are marked."""
    rows = rows.sort_values("test", key=lambda tests: tests.map(list(SHOWN).index), kind="stable")
    parts = [_passed(rows)]
    for dataset in SETTINGS:
        of_dataset = rows[rows["dataset"] == dataset]
        if len(of_dataset):
            parts.append(_values(dataset, of_dataset))
    return "\n\n".join(parts)


def _passed(rows: pd.DataFrame) -> str:
    lines = [f"| dataset | model | test AUC | {' | '.join(SHOWN.values())} |", "|---" * (3 + len(SHOWN)) + "|"]
    real = rows[rows["method"] != CENTER]
    for dataset, model in itertools.product(SETTINGS, MODELS):
        of_model = real[(real["dataset"] == dataset) & (real["model"] == model)]
        if not len(of_model):
            continue
        cells = [
            f"{int(tests['passed'].sum())} of {len(tests)}"
            for name in SHOWN
            for tests in [of_model[of_model["test"] == name]]
        ]
        lines.append(f"| `{dataset}` | `{model}` | {of_model['test_auc'].iloc[0]:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _values(dataset: str, rows: pd.DataFrame) -> str:
    lines = [
        f"### {dataset}",
        "",
        f"| method | model | cases | {' | '.join(SHOWN.values())} | constant maps |",
        "|---" * (4 + len(SHOWN)) + "|",
    ]
    for method, model in itertools.product(methods(dataset), MODELS):
        tests = rows[(rows["method"] == method) & (rows["model"] == model)].set_index("test")
        if not len(tests):
            continue
        cells = [_cell(tests.loc[name]) if name in tests.index else "" for name in SHOWN]
        n, constant = tests["cases"].max(), tests["constant"].iloc[0]
        lines.append(f"| `{method}` | `{model}` | {n} | {' | '.join(cells)} | {constant} |")
    return "\n".join(lines)


def _cell(row: pd.Series) -> str:
    value, low, high = row["gain"], row["low"], row["high"]
    if row.name in LIMITS:  # the value itself, not how far below the limit it is
        value, low, high = (LIMITS[row.name] - x for x in (value, high, low))
    shown = f"{value:.2f} ({low:.2f} to {high:.2f})"
    return shown if row["passed"] else f"✗ {shown}"


if __name__ == "__main__":
    main()
