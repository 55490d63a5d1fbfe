"""The preprocessing of a run as plain values, for :mod:`mmfusion.experiments.exporting.stand_alone`."""

from dataclasses import MISSING, asdict, fields
from typing import Any

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import pieces
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.schema.columns import CategoricalColumn, NumericalColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.experiments import predictions
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predicted_table import calibrated_columns, free_name
from mmfusion.experiments.predictor import Predictor
from mmfusion.models.export import ExportError
from mmfusion.models.selective import modalities_of

_OF_PHOTOGRAPHS = {
    "column", "size", "channels", "folders", "suffix", "endings", "range", "bits", "order", "max_bytes",
    "bag",
}  # fmt: skip
"""Options of photographs that the script knows."""


def described(predictor: Predictor) -> dict[str, Any]:
    """All that turns a table's rows and its image files into a model's inputs, and its outputs into labels.

    Args:
        predictor: Of the run.

    Returns:
        JSON-able.

    Raises:
        ExportError: If images are read in a way that the script cannot; names the modality.
    """
    reader, locked = predictor.reader, predictor.locked or Locked()
    read = modalities_of(predictor.model, predictor.spec)
    images = {name: _image(name, source) for name, source in reader.images.items() if name in read}
    for name, image in images.items():
        intensity = reader.intensities.get(name)
        image["intensity"] = None if intensity is None or intensity.idle else asdict(intensity)
    tables = {}
    if reader.schema is not None and reader.table_name in read:
        tables[reader.table_name] = _table(reader.schema)
    columns = [column for name in read for column in reader.columns_of(name)]
    taken = {
        *predictions.probability_columns(predictor.kind),
        *(calibrated_columns(predictor.kind) if locked.temperature is not None else ()),
        "label", "missing", "outside",
    }  # fmt: skip
    return {
        "format": 1,
        "target": predictor.target,
        "classes": list(predictions.class_names(predictor.kind)),
        "threshold": locked.threshold,
        "temperature": locked.temperature,
        "id_column": reader.id_column,
        "id_name": free_name(reader.id_column or "id", "id", taken),
        "columns": columns,
        "images": images,
        "tables": tables,
    }


def _table(schema: TableSchema) -> dict[str, Any]:
    return {
        "sources": list(schema.sources),
        "sizes": [len(schema.columns.numerical), len(schema.columns.categorical)],
        "numerical": [_numbers(column) for column in schema.numerical],
        "categorical": [_categories(column) for column in schema.categorical],
    }


def _numbers(column: NumericalColumn) -> dict[str, Any]:
    return {
        "source": column.source,
        "kind": column.kind,
        "formats": [column.date_format, *column.more_formats],
        "notation": asdict(column.notation),
        "missing": list(column.missing),
        "units": column.units,
        "part": column.part,
        "words": column.words,
        "invalid": column.invalid,
        "holds": column.expected(2),
        "censored": column.censored,
        "outside": column.outside,
        "limits": list(column.limits),
        "mean": column.mean,
        "std": column.std,
    }


def _categories(column: CategoricalColumn) -> dict[str, Any]:
    return {
        "source": column.source,
        "codes": column.spellings(),
        "other": len(column.categories) - 1 if column.rare else -1,
        "missing": list(column.missing),
        "numbers_only": column.numbers_only,
    }


def _image(name: str, source: Source) -> dict[str, Any]:
    found = pieces(source.column)
    about: dict[str, Any] = {
        "kind": source.kind,
        "shape": list(source.spec.shape),
        "pieces": [list(piece) for piece in found],
        "columns": list(dict.fromkeys(column for _, column in found if column is not None)),
        "folders": list(source.folders),
        "bag": source.bag,
    }
    if isinstance(source, ImageSource):
        defaults = {entry.name: entry.default for entry in fields(source) if entry.default is not MISSING}
        unknown = sorted(
            key for key in defaults if key not in _OF_PHOTOGRAPHS and getattr(source, key) != defaults[key]
        )
        if unknown:
            raise ExportError(f"the images {name!r} have {unknown} set, which the exported script cannot do")
        keys = ("suffix", "endings", "range", "bits", "order", "max_bytes")
        return about | {key: getattr(source, key) for key in keys}
    if isinstance(source, VolumeSource):
        return about | {"suffix": source.suffix, "parts": None}
    if isinstance(source, StackSource):
        return about | {"suffix": source.volume.suffix, "parts": list(source.parts)}
    raise ExportError(
        f"the images {name!r} are read as {source.kind!r}, which the exported script cannot do: it reads photographs "
        "and volumes. Export the model alone with format='torch'"
    )
