"""Loading an epoch: images decoded each time against images mapped from the cache."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mmfusion.data import FrameDataset, ImageCache, ImageSource, VolumeSource
from mmfusion.data.rows import DecodedRows, Rows
from mmfusion.data.sources import Source, find_images, load_images, n_bytes
from mmfusion.spec import DataSpec
from mmfusion.training import evaluation
from parts.timing import spread, verdict


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("data", help="loading from the cache against decoding each time")
    parser.add_argument("--images", type=int, default=512, help="JPEGs of 600x450 pixels")
    parser.add_argument("--size", type=int, default=224, help="pixels along each side that they are brought to")
    parser.add_argument("--volumes", type=int, default=64, help=".nii.gz of 128x128x24 voxels; 0: none")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where the files are written, and removed again; default: a temporary folder")
    parser.set_defaults(function=data)


def data(options: argparse.Namespace) -> None:
    """Photographs, then volumes, each without and with processes that read."""
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        size = (options.size, options.size)
        parts: list[tuple[str, int, Source, Callable[[Path, np.random.Generator], None]]] = [
            ("600x450 JPEG", options.images, ImageSource("file", size, suffix=".jpg"), _photograph),
            ("128x128x24 .nii.gz", options.volumes, VolumeSource("file", (128, 128, 24), suffix=".nii.gz"), _volume),
        ]
        for name, n, source, write in parts:
            if not n:
                continue
            rng = np.random.default_rng(0)
            for i in range(n):
                write(folder / f"{i}{source.suffix}", rng)
            compare(name, source, pd.DataFrame({"file": range(n)}), folder, options)


def compare(name: str, source: Source, frame: pd.DataFrame, folder: Path, options: argparse.Namespace) -> None:
    """One kind of files."""
    sources = {"image": source}
    cache = ImageCache(folder / "cache")
    began = time.perf_counter()
    mapped, _ = load_images(sources, frame, folder, cache=cache)
    build = time.perf_counter() - began
    began = time.perf_counter()
    mapped, _ = load_images(sources, frame, folder, cache=cache)
    again = time.perf_counter() - began
    decoded = DecodedRows(source, find_images(sources, frame, folder).paths["image"])
    some = torch.arange(0, len(frame), 7)
    if not torch.equal(decoded[some], mapped["image"][some]):
        raise RuntimeError("the cache gives other pixels than the files")
    files, pixels = sum(p.stat().st_size for p in folder.glob(f"*{source.suffix}")), len(frame) * n_bytes(source)
    print(
        f"{len(frame)} {name}, {files / 1e6:.0f} MB, to {source.spec.shape} {source.dtype}, {pixels / 1e6:.0f} MB: "
        f"first build {build:.2f} s, found again in {again * 1e3:.0f} ms"
    )
    for workers in (0, 2):
        seconds = epochs({"decoded": decoded, "cached": mapped["image"]}, source, frame, workers, options)
        ratios = [a / b for a, b in zip(seconds["decoded"], seconds["cached"], strict=True)]
        for kind, values in seconds.items():
            print(f"  {workers} workers, {kind:8s} {spread([1e3 * v for v in values], '.0f')} ms an epoch")
        ratio = statistics.median(ratios)
        print(f"  {workers} workers, pair by pair {spread(ratios, '.1f')} times; {verdict(ratio, at_least=10)}")


def epochs(
    kinds: Mapping[str, Rows], source: Source, frame: pd.DataFrame, workers: int, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Seconds of an epoch's batches of each kind in turn, as a run loads them, in random order."""
    spec = DataSpec({"image": source.spec}, n_classes=2)
    loaders = {}
    for kind, rows in kinds.items():
        labels = {"label": torch.arange(len(frame)) % 2}
        dataset = FrameDataset(spec, frame, images={"image": rows}, tables={}, targets=labels)
        sampler = torch.utils.data.RandomSampler(range(len(frame)), generator=torch.Generator().manual_seed(0))
        batches = torch.utils.data.BatchSampler(sampler, options.batch_size, drop_last=False)
        loaders[kind] = evaluation.loader(dataset, batches, workers=workers, device=torch.device("cpu"))
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(options.repeats + 1):
        for kind, loader in loaders.items():
            began = time.perf_counter()
            n = sum(len(evaluation.move(cases, torch.device("cpu")).position) for cases in loader)
            took = time.perf_counter() - began
            if n != len(frame):
                raise RuntimeError(f"an epoch of {n} cases, not {len(frame)}")
            # The first starts the processes.
            if repeat:
                seconds[kind].append(took)
    return seconds


def _photograph(path: Path, rng: np.random.Generator) -> None:
    """Smooth clouds, fine texture and some noise, as a camera sees skin; about 110 kB."""
    from PIL import Image

    def clouds(height: int, width: int, low: int, high: int) -> np.ndarray:
        coarse = Image.fromarray(rng.integers(low, high, (height, width, 3), dtype=np.uint8))
        return np.asarray(coarse.resize((600, 450), Image.Resampling.BICUBIC), dtype=np.int64)

    grain = rng.integers(0, 12, (450, 600, 1))
    pixels = clouds(9, 12, 60, 220) + clouds(150, 200, 0, 80) - 40 + grain
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def _volume(path: Path, rng: np.random.Generator) -> None:
    """Smooth tissue with noise in a dark background, int16 as scanners write it."""
    import nibabel

    coarse = torch.from_numpy(rng.random((1, 1, 8, 8, 4))).float()
    tissue = torch.nn.functional.interpolate(coarse, size=(128, 128, 24), mode="trilinear")[0, 0].numpy()
    voxels = np.where(tissue > 0.4, 1500 * tissue + rng.normal(0, 20, tissue.shape), rng.integers(0, 8, tissue.shape))
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([0.5, 0.5, 5, 1])), path)
