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
from mmfusion.data.images.rows import DecodedRows, Rows
from mmfusion.data.images.source import Source, n_bytes
from mmfusion.data.images.sources import find_images, load_images
from mmfusion.spec import DataSpec
from mmfusion.training import inference
from speed.timing import spread, verdict


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("data", help="loading from the cache against decoding each time")
    parser.add_argument("--images", type=int, default=512, help="JPEGs of 600x450 pixels")
    parser.add_argument("--size", type=int, default=224, help="pixels along each side that they are brought to")
    parser.add_argument("--volumes", type=int, default=64, help=".nii.gz of 128x128x24 voxels; 0: none")
    parser.add_argument("--batch-size", type=int, default=32, help="of photographs; volumes come eight at a time")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where the files are written, and removed again; default: a temporary folder")
    parser.set_defaults(function=data)


def data(options: argparse.Namespace) -> None:
    """Photographs, then volumes, each without and with processes that read.

    Loading ends with a batch in the training process, its pixels as they are stored. To make them floats takes as long
    wherever they come from, and is timed apart, beside the transforms; the last line of each has it included.
    """
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        size = (options.size, options.size)
        volume = VolumeSource("file", (128, 128, 24), suffix=".nii.gz")
        parts: list[tuple[str, int, int, Source, Callable[[Path, np.random.Generator], None]]] = [
            ("600x450 JPEG", options.images, options.batch_size, ImageSource("file", size, suffix=".jpg"), _photograph),
            ("128x128x24 .nii.gz", options.volumes, 8, volume, _volume),
        ]
        for name, n, batch_size, source, write in parts:
            if not n:
                continue
            rng = np.random.default_rng(0)
            for i in range(n):
                write(folder / f"{i}{source.suffix}", rng)
            compare(name, source, pd.DataFrame({"file": range(n)}), folder, batch_size, options.repeats)


def compare(name: str, source: Source, frame: pd.DataFrame, folder: Path, batch_size: int, repeats: int) -> None:
    """One kind of files."""
    sources = {"image": source}
    cache = ImageCache(folder / "cache")
    began = time.perf_counter()
    mapped, _ = load_images(sources, frame, folder, cache=cache)
    build = time.perf_counter() - began
    began = time.perf_counter()
    mapped, _ = load_images(sources, frame, folder, cache=cache)
    again = time.perf_counter() - began
    decoded = DecodedRows(source, [path for _, path in find_images(sources, frame, folder).each("image")])
    some = torch.arange(0, len(frame), 7)
    if not torch.equal(decoded[some], mapped["image"][some]):
        raise RuntimeError("the cache gives other pixels than the files")
    files, pixels = sum(p.stat().st_size for p in folder.glob(f"*{source.suffix}")), len(frame) * n_bytes(source)
    print(
        f"{len(frame)} {name}, {files / 1e6:.0f} MB, to {source.spec.shape} {source.dtype}, {pixels / 1e6:.0f} MB: "
        f"first build {build:.2f} s, found again in {again * 1e3:.0f} ms"
    )
    for workers in (0, 2):
        found = epochs({"decoded": decoded, "cached": mapped["image"]}, source, frame, workers, batch_size, repeats)
        for kind, values in found.items():
            load, floats = ([1e3 * value for value in part] for part in zip(*values, strict=True))
            print(
                f"  {workers} workers, {kind:8s} {spread(load, '.0f')} ms an epoch, made floats "
                f"{statistics.median(floats):.0f} ms"
            )
        pairs = list(zip(found["decoded"], found["cached"], strict=True))
        ratios = [slow[0] / fast[0] for slow, fast in pairs]
        whole = [sum(slow) / sum(fast) for slow, fast in pairs]
        line = f"  {workers} workers, pair by pair {spread(ratios, '.1f')} times; with floats {spread(whole, '.1f')}"
        # The target is for photographs.
        target = verdict(statistics.median(ratios), at_least=10) if len(source.spec.size) == 2 else ""
        print(f"{line}; {target}" if target else line)


def epochs(
    kinds: Mapping[str, Rows], source: Source, frame: pd.DataFrame, workers: int, batch_size: int, repeats: int
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of loading an epoch's batches, and of making them floats; each kind in turn, in random order."""
    spec = DataSpec({"image": source.spec}, n_classes=2)
    loaders = {}
    for kind, rows in kinds.items():
        labels = {"label": torch.arange(len(frame)) % 2}
        dataset = FrameDataset(spec, frame, images={"image": rows}, tables={}, targets=labels)
        sampler = torch.utils.data.RandomSampler(range(len(frame)), generator=torch.Generator().manual_seed(0))
        batches = torch.utils.data.BatchSampler(sampler, batch_size, drop_last=False)
        loaders[kind] = inference.loader(dataset, batches, workers=workers, device=torch.device("cpu"))
    seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for repeat in range(repeats + 1):
        for kind, loader in loaders.items():
            n, load, floats = 0, 0.0, 0.0
            asked = time.perf_counter()
            for cases in loader:
                came = time.perf_counter()
                n += len(inference.move(cases, torch.device("cpu")).position)
                load, floats = load + came - asked, floats + time.perf_counter() - came
                asked = time.perf_counter()
            if n != len(frame):
                raise RuntimeError(f"an epoch of {n} cases, not {len(frame)}")
            # The first starts the processes.
            if repeat:
                seconds[kind].append((load + time.perf_counter() - asked, floats))
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
