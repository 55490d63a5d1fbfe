"""Case-level predictions as a table."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.cases import CaseDataset, StoredCases
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.spec import Classes, DataSpec


def only_classes(spec: DataSpec) -> tuple[str, Classes]:
    """The only target, which must be one of classes.

    Raises:
        ValueError: If there are several, or it is of another kind.
    """
    name, target = spec.single_target()
    if not isinstance(target, Classes):
        raise ValueError(f"a run expects a target of classes, {name!r} is {type(target).__name__}")
    return name, target


def class_names(target: Classes) -> tuple[str, ...]:
    """Names of the classes; their indices where none were given."""
    return target.names or tuple(str(index) for index in range(target.n))


def probability_columns(target: Classes) -> list[str]:
    """``prob_<class>`` in the order of the classes."""
    return [f"prob_{name}" for name in class_names(target)]


def join(
    parts: Mapping[str, CaseDataset],
    probabilities: Mapping[str, NDArray[np.float64]],
    target: str,
    kind: Classes,
    *,
    seed: int,
    fold: int = 0,
) -> pd.DataFrame:
    """One row per case: id, group, part, label, fold, seed and the probability of each class.

    Args:
        parts: The datasets by their names, ``validation`` and ``test``.
        probabilities: By part, shape ``(n, k)``.
        target: Name of the target.
        kind: Its classes.
        seed: Of the run.
        fold: Of the dataset, whose test set it is.
    """
    names = np.asarray(class_names(kind), dtype=object)
    frames = [
        _cases(part, dataset).assign(
            label=names[dataset.labels(target).numpy()],
            fold=fold,
            seed=seed,
            **dict(zip(probability_columns(kind), probabilities[part].T)),
        )
        for part, dataset in parts.items()
    ]
    return pd.concat(frames, ignore_index=True)


def subgroups(parts: Mapping[str, CaseDataset], properties: Sequence[Subgroup]) -> pd.DataFrame | None:
    """One row per case: id, and its value of each property.

    Args:
        parts: The datasets by their names; each needs the table that its cases came from.
        properties: The subgroups.

    Returns:
        None where there are no properties, or no tables.
    """
    frames = [dataset.frame for dataset in parts.values() if isinstance(dataset, StoredCases)]
    if not properties or len(frames) < len(parts):
        return None
    table = pd.concat(frames)
    ids = [case for dataset in parts.values() for case in dataset.ids]
    # A property may be called as the cases' own column is.
    return pd.DataFrame(
        {"id": ids}
        | {
            "id_" if group_property.name == "id" else group_property.name: group_property.of(table)
            for group_property in properties
        }
    )


def splits(parts: Mapping[str, CaseDataset]) -> pd.DataFrame:
    """One row per case of every part: id, group, part."""
    return pd.concat([_cases(part, dataset) for part, dataset in parts.items()], ignore_index=True)


def _cases(part: str, dataset: CaseDataset) -> pd.DataFrame:
    return pd.DataFrame({"id": list(dataset.ids), "group": list(dataset.groups), "part": part})
