"""Note of a sweep's reference, written before training, as proof that it was named beforehand."""

from collections.abc import Sequence
from pathlib import Path

from mmfusion.comparison import worker
from mmfusion.comparison.grid import Planned
from mmfusion.training.result_files import read_json, write_json

FILE = "reference.json"
"""JSON object: by reference, the addresses of the runs that were unfinished when it was named."""


def note(out: Path, reference: str, planned: Sequence[Planned], *, overwrite: bool = False) -> bool:
    """Record the runs for which a reference is named, so that it holds for a resumed sweep too.

    Args:
        out: Folder of the sweep; created if it does not exist.
        reference: Label of the method that the others are tested against.
        planned: The runs of the sweep.
        overwrite: Whether finished runs start anew.

    Returns:
        Whether it was named before any of the runs was finished, by this call or an earlier one.

    Raises:
        WriteError: If the note cannot be written.
    """
    path = out / FILE
    noted: dict[str, list[str]] = read_json(path) if path.is_file() else {}
    if not isinstance(noted, dict) or not all(isinstance(addresses, list) for addresses in noted.values()):
        raise ValueError(
            f"{path} was not written by a sweep: delete it; the reference then counts as named from now on"
        )
    known = set(noted.get(reference, ()))
    now = {run.address for run in planned if overwrite or not worker.finished(run.folder)}
    if now - known:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, noted | {reference: sorted(known | now)})
    return {run.address for run in planned} <= known | now
