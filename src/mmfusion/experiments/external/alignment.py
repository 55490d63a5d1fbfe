"""Another table under the run's headings: spellings matched, and what is lacking defined and noted."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from mmfusion.data.reader import CaseReader
from mmfusion.data.schema.cells import key, texts
from mmfusion.experiments.predictor import Predictor


@dataclass(frozen=True)
class Aligned:
    """A table under the run's headings.

    Attributes:
        frame: The rows; cells of columns that the table lacks are empty.
        notes: What was matched, and what is lacking, one sentence each.
        lacking: Columns that the run reads and the table lacks.
        labelled: Whether the table has the column of labels.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    lacking: tuple[str, ...]
    labelled: bool


def lenient(member: Predictor, group: str | None = None) -> Predictor:
    """The predictor, for which a cell that is no number counts as missing, and is remarked on.

    Args:
        member: The run's.
        group: Column of patients or lesions, for a run that has none.
    """
    reader = replace(member.reader, group_column=member.reader.group_column or group)
    if (schema := reader.schema) is not None:
        numerical = tuple(replace(column, invalid="missing") for column in schema.numerical)
        reader = replace(reader, schema=replace(schema, numerical=numerical))
    return Predictor(member.model, reader, device=member.device, batch_size=member.batch_size, locked=member.locked)


def align(
    frame: pd.DataFrame,
    members: Sequence[Predictor],
    *,
    label: str | None = None,
    group: str | None = None,
    rename: Mapping[str, str] | None = None,
) -> Aligned:
    """Bring a table under the run's headings.

    A heading that differs from the run's only in case, blanks, hyphens or underscores is taken for it. A column of the
    run that the table still lacks counts as missing in all cases.

    Args:
        frame: The table.
        members: The runs' predictors, from :func:`lenient`, which read the same columns.
        label: The table's column of labels; None: that of the run.
        group: The table's column of patients or lesions; None: that of the run.
        rename: The run's heading by the table's.

    Raises:
        ValueError: If a heading occurs twice, or a named column is not in the table or not of the run; all faults at
            once.
    """
    reader = members[0].reader
    frame = frame.rename(columns=str)
    target = reader.targets[members[0].target].column
    read = list(dict.fromkeys(c for one in members for name in one.seen for c in one.reader.columns_of(name)))
    roles = [column for column in (target, reader.id_column, reader.group_column) if column is not None]
    given = dict(rename or {}) | ({label: target} if label is not None else {})
    if group is not None:
        given[group] = reader.group_column or group
    _check(frame, given, [*read, *roles])
    # What is named takes the place of a column that has the heading already.
    displaced = [ours for theirs, ours in given.items() if theirs != ours and ours in frame.columns]
    frame = frame.drop(columns=displaced).rename(columns=given)
    notes = [f"The column {ours!r} is read from {theirs!r}." for theirs, ours in given.items() if theirs != ours]
    notes += [f"The table's own column {ours!r} is not read." for ours in displaced]
    found = _matched(frame, [column for column in (*roles, *read) if column not in frame.columns])
    notes += [f"The column {ours!r} is read from {theirs!r}, spelt almost the same." for theirs, ours in found.items()]
    frame = frame.rename(columns=found)
    lacking = [column for column in read if column not in frame.columns]
    for column in lacking:
        close = difflib.get_close_matches(column, [name for name in frame.columns if name not in read], n=1)
        hint = f" Is it {close[0]!r}? Then give rename={{{close[0]!r}: {column!r}}}." if close else ""
        notes.append(f"The table has no column {column!r}: it counts as missing in all cases.{hint}")
    frame, repeated = _with_unique_names(_filled(frame, members, lacking), reader)
    if reader.group_column is not None and reader.group_column not in frame.columns:
        notes.append(
            f"The table has no column {reader.group_column!r} of patients or lesions: every row counts as another one, "
            "so that intervals are too narrow if some have several rows."
        )
    return Aligned(frame, (*notes, *repeated), tuple(lacking), target in frame.columns)


def _check(frame: pd.DataFrame, given: Mapping[str, str], known: Sequence[str]) -> None:
    faults = []
    if twice := sorted({name for name in frame.columns if list(frame.columns).count(name) > 1}):
        faults.append(f"the table has several columns called {', '.join(map(repr, twice))}: rename all but one of each")
    for theirs, ours in given.items():
        if theirs not in frame.columns:
            faults.append(f"the table has no column {theirs!r}; its columns are: {', '.join(frame.columns)}")
        if ours not in known:
            faults.append(f"the run reads no column {ours!r}; it reads: {', '.join(known)}")
    if several := sorted({ours for ours in given.values() if list(given.values()).count(ours) > 1}):
        faults.append(f"two columns of the table are given for {', '.join(map(repr, several))}")
    if faults:
        raise ValueError("; ".join(faults))


def _matched(frame: pd.DataFrame, wanted: Sequence[str]) -> dict[str, str]:
    """The run's heading by the table's, for those that differ only in spelling, each from one column alone."""
    headings: dict[str, list[str]] = {}
    for name in frame.columns:
        headings.setdefault(_folded(name), []).append(name)
    found = {ours: headings.get(_folded(ours), []) for ours in wanted}
    return {theirs[0]: ours for ours, theirs in found.items() if len(theirs) == 1}


def _folded(heading: str) -> str:
    return key(heading.replace("_", " ").replace("-", " "))


def _filled(frame: pd.DataFrame, members: Sequence[Predictor], lacking: Sequence[str]) -> pd.DataFrame:
    """Empty cells for lacking columns, unless a whole modality lacks: that is absent, not a row of missing cells."""
    whole = {
        column
        for one in members
        for name in one.seen
        for column in one.reader.columns_of(name)
        if set(one.reader.columns_of(name)) <= set(lacking)
    }
    return frame.assign(**{column: None for column in lacking if column not in whole})


def _with_unique_names(frame: pd.DataFrame, reader: CaseReader) -> tuple[pd.DataFrame, list[str]]:
    """Rows whose names occur once; else their numbers name them, and their names their patients."""
    name = reader.id_column
    if name is None or name not in frame.columns:
        return frame.reset_index(drop=True), []
    frame = frame.reset_index(drop=True)
    named = [cell for cell in texts(frame, name) if cell is not None]
    if len(set(named)) == len(named):
        return frame, []
    note = f"Names in the column {name!r} occur several times: rows are called by their numbers"
    if reader.group_column is not None and reader.group_column not in frame.columns:
        note += ", and rows of one name count as one patient."
        return frame.rename(columns={name: reader.group_column}), [note]
    return frame.drop(columns=name), [f"{note}."]
