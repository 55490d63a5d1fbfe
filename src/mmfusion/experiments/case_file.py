"""``case.json`` of a run: the spec of its cases and their reader."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmfusion.data.reader import CaseReader
from mmfusion.packed import entries
from mmfusion.spec import Columns, DataSpec, Image


def read(case: Mapping[str, Any], path: Path) -> tuple[DataSpec, CaseReader]:
    """The spec that the model was built for, and the reader of new cases.

    Args:
        case: The file's content.
        path: The file, for messages.

    Raises:
        ValueError: If a key is missing, a value is of another kind, or the reader gives other inputs than the spec
            says; names the file and the key.
    """
    try:
        parts = entries(case, "the file", "spec", "reader")
        spec, reader = DataSpec.from_dict(parts["spec"]), CaseReader.from_dict(parts["reader"])
        _check_same(spec, reader, _spec_of(reader))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return spec, reader


def _spec_of(reader: CaseReader) -> DataSpec:
    try:
        return reader.spec
    except ValueError as error:
        raise ValueError(f"reader.images, schema, table_name and targets: {error}") from error


def _check_same(spec: DataSpec, reader: CaseReader, read: DataSpec) -> None:
    """Raise an error if the reader's cases do not fit the model.

    Raises:
        ValueError: Naming the modality or target.
    """
    if spec.names != read.names:
        raise ValueError(
            f"spec.modalities does not fit reader.images, schema and table_name: {', '.join(spec.names)} against "
            f"{', '.join(read.names)}"
        )
    if list(spec.targets) != list(read.targets):
        raise ValueError(
            f"spec.targets does not fit reader.targets: {', '.join(spec.targets)} against {', '.join(read.targets)}"
        )
    for name, modality in spec.modalities.items():
        expected, actual = _width(modality), _width(read[name])
        if expected != actual:
            where = f"images.{name}" if name in reader.images else "schema"
            raise ValueError(
                f"spec.modalities.{name} does not fit reader.{where}: {expected or 'none'} against {actual or 'none'}"
            )
    for name, target in spec.targets.items():
        if target != read.targets[name]:
            raise ValueError(f"spec.targets.{name} does not fit reader.targets.{name}: {target}, {read.targets[name]}")
    for name, intensity in reader.intensities.items():
        channels = spec.images[name].channels
        if intensity.standardize == "sequence" and len(intensity.mean) != channels:
            raise ValueError(
                f"reader.intensities.{name}.mean expects a number for each of {channels} channel(s), got "
                f"{len(intensity.mean)}"
            )


def _width(modality: Image | Columns) -> str:
    """Width of a model's inputs, for messages."""
    if isinstance(modality, Image):
        several = f", up to {modality.bag} per case" if modality.bag > 1 else ""
        return f"{modality.channels} x {' x '.join(map(str, modality.size))}{several}"
    categories = (f"{name} of {n} categories" for name, n in modality.categorical)
    return ", ".join([*modality.numerical, *categories])
