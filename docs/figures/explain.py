"""The pictures of docs/guide/explain.md: ``python docs/figures/explain.py --runs runs`` writes them next to this file.

Trained are CFCML by the default recipe on the synthetic skin lesions, and a small network on the sample of BUS-BRA,
unless ``--runs`` has them already. Cases are the first of each class in the order of the test set: nobody's eye chose
them.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import mmfusion as mmf
from mmfusion import explain
from mmfusion.data.cases import Cases, MaskedCases
from mmfusion.data.frame import FrameDataset
from mmfusion.experiments.external.training_cases import reach
from mmfusion.training import inference

FOLDER = Path(__file__).parent
SAMPLE = FOLDER.parent / "samples" / "bus_bra"
QUIET = {"run": {"robustness": False, "references": False, "cache_gb": 0.0}, "run.device": "cpu"}
N_BUS_BRA = 8
LARGEST = 150_000
"""Bytes of a picture."""


def main() -> None:
    """Train what is not there, and write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/explain-pictures"), help="folder of the trainings")
    parser.add_argument("--only", choices=("synthetic", "bus-bra"), help="pictures of one of the datasets")
    options = parser.parse_args()
    if options.only != "bus-bra":
        run, test = synthetic(options.runs / "synthetic")
        save("explain-maps", maps(run, test))
        save("explain-account", account(run, test))
        save("explain-attention", attention(run, test))
    if options.only != "synthetic":
        save("explain-bus-bra", bus_bra(*ultrasound(options.runs / "bus-bra")))


def synthetic(place: Path) -> tuple[mmf.Run, FrameDataset]:
    """CFCML on the synthetic lesions, and its test set."""
    if not (place / "metrics.json").is_file():
        mmf.fit("cfcml", mmf.load_dataset("synthetic_derm7pt", verbose=False), out=place, settings=QUIET, verbose=False)
    return finished(place)


def ultrasound(place: Path) -> tuple[mmf.Run, FrameDataset]:
    """CFCML on the 60 images of the sample, and its test set of 12."""
    if not (place / "metrics.json").is_file():
        data = mmf.load_dataset("bus_bra", root=SAMPLE, size=128, verbose=False)
        fewer = {"model": {"image_latents": 8, "table_latents": 6}}
        choice: dict[str, Any] = {"encoder": "tiny_convnet", "weights": "none", "epochs": 12}
        mmf.fit("cfcml", data, out=place, settings={**QUIET, **fewer}, verbose=False, **choice)
    return finished(place)


def finished(place: Path) -> tuple[mmf.Run, FrameDataset]:
    """A run and its test set."""
    found = reach(place)
    if isinstance(found, str):
        raise ValueError(f"the cases of {place} cannot be read again: {found}")
    return mmf.load(place, "cpu"), found.test


def first_of_each_class(test: FrameDataset, run: mmf.Run, n: int) -> list[int]:
    """Positions of the first cases of each class, the classes in turn, n in all."""
    labels = test.labels(run.predictor.target).tolist()
    by_class = [[i for i, label in enumerate(labels) if label == c] for c in sorted(set(labels))]
    return [case for cases in zip(*by_class) for case in cases][:n]


def batch(test: FrameDataset, rows: list[int]) -> Cases:
    """Those cases."""
    subset = test.subset(rows)
    return next(iter(inference.in_order(subset, len(rows), workers=0, device=torch.device("cpu"))))


def inputs_of(cases: Cases) -> Any:
    """What the model takes."""
    return inference.move(cases.inputs, torch.device("cpu"))


def maps(run: mmf.Run, test: FrameDataset) -> Figure:
    """Both views of four lesions with Grad-CAM and LayerCAM of the second class."""
    cases = batch(test, first_of_each_class(test, run, 4))
    inputs, names = inputs_of(cases), tuple(run.spec.images)
    methods = {"Grad-CAM, last stage": ("grad_cam", -1), "LayerCAM, second stage": ("layer_cam", 2)}
    figure = canvas(2 * (1 + len(methods)), 4, 1.35)
    axes = figure.subplots(4, 2 * (1 + len(methods)), squeeze=False)
    labels = cases.targets[run.predictor.target].tolist()
    for j, name in enumerate(names):
        columns = range(j * (1 + len(methods)), (j + 1) * (1 + len(methods)))
        pixels = inputs[name].movedim(1, -1).numpy()
        for place, (title, heat) in zip(
            columns,
            [(name, None)]
            + [
                (
                    title,
                    explain.class_activation_map(run.model, inputs, method=method, at=at, image=name, output=second()),
                )
                for title, (method, at) in methods.items()
            ],
        ):
            for i in range(4):
                show(axes[i, place], pixels[i], None if heat is None else heat[i])
            axes[0, place].set_title(title, fontsize=7)
    for i, label in enumerate(labels):
        axes[i, 0].set_ylabel(classes(run)[label], fontsize=8)
    return figure


def account(run: mmf.Run, test: FrameDataset) -> Figure:
    """Contributions to the log odds of the second class, of one case of each class."""
    rows = first_of_each_class(test, run, 2)
    cases = batch(test, rows)
    images = run.spec.images
    regions = {name: explain.grid_regions(image.size, 3) for name, image in images.items()}
    accounts = explain.contributions(
        run.model, inputs_of(cases), output=second(), regions=regions, baseline="blur", n_orders=32
    )
    figure = canvas(1, 2, 4.6, 5.6)  # legible on a phone
    for axes, one, row in zip(figure.subplots(2, 1), accounts, rows):
        names, values, errors = ["bias"], [one.bias], [0.0]
        for name, parts in one.parts.items():
            names.append(f"{name}: present")
            values.append(float(one.presence[name]))
            errors.append(0.0)
            if name in images:
                names.append(f"{name}: its 9 regions")
                values.append(float(sum(parts.values)))
                errors.append(0.0)
            else:
                names += [f"{name}: {column}" for column in parts.names]
                values += [float(value) for value in parts.values]
                errors += [float(error) for error in parts.errors]
        places = np.arange(len(names))[::-1]
        colors = ["#d55e00" if value > 0 else "#0072b2" for value in values]
        axes.barh(places, values, xerr=errors, color=colors, ecolor="#1a1a1a", height=0.7)
        axes.set_yticks(places, names, fontsize=7)
        axes.tick_params(axis="x", labelsize=7)
        axes.axvline(0, color="#1a1a1a", linewidth=0.8)
        label = classes(run)[int(test.labels(run.predictor.target)[row])]
        axes.set_title(f"a {label}: together {float(one.output):+.2f} log odds of {classes(run)[1]}", fontsize=8)
    return figure


def attention(run: mmf.Run, test: FrameDataset) -> Figure:
    """Which region of an image each column of the record attended to, over even attention, at the second stage."""
    cases = batch(test, first_of_each_class(test, run, 2)[1:])
    inputs, image = inputs_of(cases), next(iter(run.spec.images))
    table = next(iter(run.spec.tables))
    stage = 1
    found = [
        one
        for one in explain.attention(run.model, inputs)
        if (one.block, one.query, one.key) == (f"per_stage.{stage}", table, image)
    ]
    columns = explain.token_shares(run.model, inputs, name=table)
    positions = explain.token_shares(run.model, inputs, name=image, stage=stage)
    weights = (columns.mT @ found[0].weights.mean(1) @ positions)[0]
    shape = run.model.encoders.map_shapes[image][stage][1:]  # type: ignore[union-attr, index]  # a fusion model's
    names = run.spec.tables[table].names
    figure = canvas(1 + len(names), 1, 1.5, 1.75)
    axes = figure.subplots(1, 1 + len(names))
    pixels = inputs[image][0].movedim(0, -1).numpy()
    show(axes[0], pixels, None)
    axes[0].set_title(image, fontsize=8)
    for place, name, row in zip(axes[1:], names, weights):
        even = row.view(1, 1, *shape) * row.numel() / row.sum()
        heat = torch.nn.functional.interpolate(even, pixels.shape[:2], mode="nearest")[0, 0]
        show(place, pixels, heat - heat.min())  # differences from place to place, which are small
        place.set_title(f"{name}\n{float(even.min()):.2f} to {float(even.max()):.2f}", fontsize=8)
    return figure


def bus_bra(run: mmf.Run, test: FrameDataset) -> Figure:
    """Eight ultrasound images with the outline of their lesion, and below them LayerCAM of malignancy."""
    rows = first_of_each_class(test, run, N_BUS_BRA)
    cases = batch(test, rows)
    inputs, (image,) = inputs_of(cases), tuple(run.spec.images)
    heat = explain.class_activation_map(run.model, inputs, method="layer_cam", at=2, output=second())
    probabilities = run.model(inputs).logits.softmax(1)[:, 1].tolist()
    figure = canvas(4, 4, 1.3, 5.9)
    axes = figure.subplots(4, 4)
    for i, row in enumerate(rows):
        pixels = np.repeat(inputs[image][i].movedim(0, -1).numpy()[..., :1], 3, axis=2)
        mask = test.mask(image, row) if isinstance(test, MaskedCases) else None
        places = axes[2 * (i // 4) : 2 * (i // 4) + 2, i % 4]
        for place, one in zip(places, (None, heat[i])):
            show(place, pixels, one)
            if mask is not None:
                place.contour(mask.numpy().astype(float), levels=[0.5], colors="#56b4e9", linewidths=0.9)
        label = classes(run)[int(test.labels(run.predictor.target)[row])]
        places[0].set_title(f"{label}, p = {probabilities[i]:.2f}", fontsize=7)
    return figure


def second() -> explain.Output:
    """The log odds of the second class."""
    return explain.Output(index=1)


def classes(run: mmf.Run) -> tuple[str, ...]:
    """Names of the classes."""
    names: tuple[str, ...] = run.predictor.kind.names
    return names


def show(axes: Any, pixels: NDArray[Any], heat: Tensor | None) -> None:
    """An image, and over it what is hot: of each map its own maximum is full."""
    axes.imshow(pixels if heat is None else overlaid(pixels, heat.numpy()), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def overlaid(pixels: NDArray[Any], heat: NDArray[Any]) -> NDArray[Any]:
    """Colors from dark red to yellow over the gray image, as opaque as the heat; a map without any shows nothing."""
    positive = np.maximum(heat, 0)
    share = (positive / positive.max() if positive.max() > 0 else positive)[..., None]
    gray = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    color = np.concatenate([0.5 + 0.5 * share, share**1.5, np.zeros_like(share)], axis=2)
    opaque = 0.75 * share**0.8
    mixed: NDArray[Any] = gray * (1 - opaque) + color * opaque
    return mixed


def canvas(columns: int, rows: int, side: float, height: float | None = None) -> Figure:
    """An empty figure."""
    figure = Figure(figsize=(columns * side, height or rows * side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(name: str, figure: Figure) -> None:
    """Write a picture of 96 colors."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    picture = Image.open(file).convert("RGB").quantize(96)
    picture.save(FOLDER / f"{name}.png", optimize=True)
    size = (FOLDER / f"{name}.png").stat().st_size
    if size > LARGEST:
        raise ValueError(f"{name}.png has {size} bytes, at most {LARGEST} are wanted")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
