"""A frozen encoder's maps, computed once and kept on disk.

Nothing that the encoder would see changes from epoch to epoch where it is frozen and nothing is augmented. So its maps
are computed once, in evaluation mode, written to arrays that are mapped into memory, and read in place of the images.
They are found again by what they were made from: the encoder's weights and the pixels after decoding and resizing. A
file or a weight that changed is another name, and is computed anew. So is what was computed in another precision:
maps made in TF32 are never read as those of float32.
"""

import hashlib
import math
import shutil
import tempfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmfusion.data.cases import ByModality, CaseDataset, Cases, StoredCases, first_case, without_images
from mmfusion.data.images.rows import MappedRows
from mmfusion.spec import DataSpec
from mmfusion.tokens import Bag, Maps
from mmfusion.training import inference
from mmfusion.training.arithmetic import in_use
from mmfusion.training.reporter import Bar
from mmfusion.training.result_files import read_json, write_json
from mmfusion.utils.cache_folders import make_private, private_folder

FORMAT = 3
_AT_ONCE = 256
"""Images whose pixels are looked at together."""


class MapsDataset:
    """The cases of another dataset with :class:`~mmfusion.tokens.Maps` in place of the images.

    Args:
        dataset: The cases.
        maps: By image modality the rows of each stage, shape ``(n, c, *spatial)``, in the order of the cases.
    """

    def __init__(self, dataset: CaseDataset, maps: Mapping[str, Sequence[MappedRows]]) -> None:
        # Where a dataset can leave the images alone, nothing is read to be thrown away.
        self._cases = without_images(dataset, maps)
        self._maps = dict(maps)

    @property
    def spec(self) -> DataSpec:
        """Modalities and targets."""
        return self._cases.spec

    @property
    def ids(self) -> Sequence[str]:
        """The name of each case."""
        return self._cases.ids

    @property
    def groups(self) -> Sequence[str]:
        """The patient or lesion of each case."""
        return self._cases.groups

    def labels(self, target: str) -> Tensor:
        """All values of one target."""
        return self._cases.labels(target)

    def without(self, images: Collection[str]) -> "MapsDataset":
        """The same cases, whose inputs leave the maps of some image modalities out."""
        return MapsDataset(self._cases, {name: stages for name, stages in self._maps.items() if name not in images})

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> Cases:
        """One case, without a batch axis."""
        return first_case(self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> Cases:
        """A batch."""
        cases = self._cases.__getitems__(indices)
        read = {name: Maps(tuple(stage[cases.position] for stage in stages)) for name, stages in self._maps.items()}
        return cases._replace(inputs=ByModality({**cases.inputs, **read}))


def precompute(
    model: nn.Module,
    dataset: CaseDataset,
    folder: Path,
    *,
    batch_size: int,
    device: torch.device,
    bar: Bar | None = None,
) -> MapsDataset:
    """The dataset with the maps of a model's encoders, from disk where they are there already.

    Args:
        model: A :class:`~mmfusion.models.FusionModel`; its encoders are run in evaluation mode, without gradient.
        dataset: The cases.
        folder: Where maps are kept, a folder in it for each set; created if it does not exist.
        batch_size: Cases at a time.
        device: Where the model is.
        bar: Receives the progress.

    Returns:
        The same cases with maps in place of images.
    """
    home = folder / f"{_weights_digest(model, in_use(device))}-{_images_digest(model, dataset)}"
    sums = _checksums(home)
    if sums is None:
        sums = _compute(model, dataset, home, batch_size=batch_size, device=device, bar=bar)
    elif bar is not None:
        bar.at(len(dataset), len(dataset))
    files = {name: [f"{name}.{s}.npy" for s in range(len(shapes))] for name, shapes in _shapes(model).items()}
    return MapsDataset(
        dataset, {name: [_rows(home / stage, sums[stage]) for stage in stages] for name, stages in files.items()}
    )


def _rows(path: Path, sums: NDArray[np.uint32]) -> MappedRows:
    """A stage, read by position from its file, with rows checked now and then while they are read."""
    verified = np.ones(len(sums), dtype=np.bool_)
    array = np.load(path, mmap_mode="r")
    return MappedRows(array, sums=sums, checked=verified, repair=_damaged)


def _damaged(slot: int, checksum: int, damage: str) -> NDArray[Any]:
    """Raise an error for maps that change during a run: the process that reads them has no encoder."""
    raise ValueError(f"{damage}. Start again with the same command, or resume the run: the maps are computed anew")


def _shapes(model: Any) -> dict[str, tuple[tuple[int, ...], ...]]:
    shapes: dict[str, tuple[tuple[int, ...], ...]] = model.encoders.map_shapes
    return shapes


def _compute(
    model: Any, dataset: CaseDataset, home: Path, *, batch_size: int, device: torch.device, bar: Bar | None
) -> dict[str, NDArray[np.uint32]]:
    """Write the maps of all cases; returns the checksum of each row by file."""
    private_folder(home.parent)
    needed = 4 * len(dataset) * sum(math.prod(shape) for shapes in _shapes(model).values() for shape in shapes)
    free = shutil.disk_usage(home.parent).free
    if needed > 0.95 * free:
        # A full disk under a mapped array ends the process without a word.
        raise OSError(
            f"the maps of {len(dataset)} cases take {needed / 1e9:.1f} GB, {home.parent} has {free / 1e9:.1f} GB free: "
            "make room, give another folder (run.cache), or train without precompute"
        )
    # Built beside its place and moved there whole: a kill leaves nothing that looks finished, and of two processes
    # that build the same at once the later one finds it done.
    scratch = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
    training = model.training
    model.eval()
    try:
        arrays = {
            (name, s): np.lib.format.open_memmap(
                scratch / f"{name}.{s}.npy", mode="w+", dtype=np.float32, shape=(len(dataset), *shape)
            )
            for name, shapes in _shapes(model).items()
            for s, shape in enumerate(shapes)
        }
        done = 0
        with torch.no_grad():
            for cases in inference.in_order(dataset, batch_size, workers=0, device=device):
                encoded = model.encode(inference.move(dict(cases.inputs), device))
                for name, maps in encoded.items():
                    for s, stage in enumerate(maps.stages):
                        arrays[name, s][done : done + len(stage)] = stage.float().cpu().numpy()
                done += len(cases.position)
                if bar is not None:
                    bar.at(done, len(dataset))
        for array in arrays.values():
            array.flush()
        sums = {path.name: _of_rows(path) for path in sorted(scratch.glob("*.npy"))}
        packed = {name: of_rows.tolist() for name, of_rows in sums.items()}
        write_json(scratch / "maps.json", {"format": FORMAT, "crc32": packed})
        for file in scratch.iterdir():
            make_private(file)
        try:
            scratch.rename(home)
        except OSError:
            if not (home / "maps.json").is_file():
                raise
    finally:
        model.train(training)
        shutil.rmtree(scratch, ignore_errors=True)
    return sums


def _checksums(home: Path) -> dict[str, NDArray[np.uint32]] | None:
    """The checksum of each row by file; None if there are no maps as they were written: damaged ones are removed."""
    try:
        packed = read_json(home / "maps.json")["crc32"]
        sums = {name: np.array(of_rows, dtype=np.uint32) for name, of_rows in packed.items()}
        if all(np.array_equal(_of_rows(home / name), of_rows) for name, of_rows in sums.items()):
            return sums
    except (OSError, EOFError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        pass
    # Whoever reads them still has the files open.
    shutil.rmtree(home, ignore_errors=True)
    return None


def _of_rows(path: Path) -> NDArray[np.uint32]:
    """CRC-32 of each row of a file."""
    return np.array([zlib.crc32(row) for row in np.load(path, mmap_mode="r")], dtype=np.uint32)


def _weights_digest(model: Any, precision: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(
        repr((FORMAT, precision, sorted(model.encoders.routes.items()), sorted(_shapes(model).items()))).encode()
    )
    for route, encoder in sorted(model.encoders.backbones.items()):
        digest.update(f"{route}:{type(encoder).__name__}:{getattr(encoder, 'name', '')}".encode())
        for name, value in sorted(encoder.state_dict().items()):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _images_digest(model: Any, dataset: CaseDataset) -> str:
    """Of the pixels as the model would get them: whatever file, folder or transform they are from."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(len(dataset)).encode())
    for name in _shapes(model):
        if isinstance(dataset, StoredCases):
            if name in dataset.intensities:
                digest.update(repr(dataset.intensities[name]).encode())
            for start in range(0, len(dataset), _AT_ONCE):
                rows = slice(start, start + _AT_ONCE)
                if dataset.spec.images[name].bag > 1:
                    digest.update(repr((model.encoders.bag, dataset.n_images(name, rows).tolist())).encode())
                _feed(digest, dataset.pixels(name, rows))
            continue
        for cases in inference.in_order(dataset, 64, workers=0, device=torch.device("cpu")):
            content = cases.inputs[name]
            if isinstance(content, Bag):
                digest.update(repr((model.encoders.bag, content.mask.sum(1).tolist())).encode())
                content = content.x[content.mask]
            _feed(digest, content)
    return digest.hexdigest()


def _feed(digest: Any, pixels: Any) -> None:
    digest.update(f"{pixels.dtype}:{tuple(pixels.shape[1:])}".encode())
    digest.update(np.ascontiguousarray(pixels.numpy()).data)
