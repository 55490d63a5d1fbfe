"""Whether a reference was named before the numbers were seen: a note that a sweep leaves before it trains anything."""

from collections.abc import Sequence
from pathlib import Path

from mmfusion.comparison import worker
from mmfusion.comparison.grid import Planned
from mmfusion.training.result_files import read_json, write_json

FILE = "reference.json"
"""By reference, the addresses of the runs for which it was named while they were not finished."""


def note(out: Path, reference: str, planned: Sequence[Planned], *, overwrite: bool = False) -> bool:
    """Write down for which runs a reference is named, so that a sweep that is killed may go on with it.

    Args:
        out: Folder of the sweep; made where it is not there.
        reference: Label of the method that the others are tested against.
        planned: The runs of the sweep.
        overwrite: Whether finished ones begin anew.

    Returns:
        Whether it was named before any of them was finished, by this call or an earlier one.

    Raises:
        WriteError: If the note cannot be written.
    """
    path = out / FILE
    noted: dict[str, list[str]] = read_json(path) if path.is_file() else {}
    if not isinstance(noted, dict) or not all(isinstance(one, list) for one in noted.values()):
        raise ValueError(f"{path} is not what a sweep writes: delete it, and the reference counts as named from now on")
    known = set(noted.get(reference, ()))
    now = {one.address for one in planned if overwrite or not worker.finished(one.folder)}
    if now - known:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, noted | {reference: sorted(known | now)})
    return {one.address for one in planned} <= known | now
