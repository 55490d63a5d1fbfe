"""Faults of a dataset, collected and raised together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from mmfusion.data.schema.cells import ColumnFaults

_SHOWN = 10


class DatasetError(ValueError):
    """Faults in the files of a dataset.

    Attributes:
        faults: One line per fault, all of them.
    """

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = f"; and {len(faults) - _SHOWN} more, all in: mmfusion check" if len(faults) > _SHOWN else ""
        n = f"{len(faults)} faults: " if len(faults) > 1 else ""
        super().__init__(f"{name}: {n}{'; '.join(faults[:_SHOWN])}{more}")


class AbsentFilesError(DatasetError, FileNotFoundError):
    """A :class:`DatasetError` if all faults are missing files."""


class Faults(list[str]):
    """Faults of a dataset, one line each."""

    def __init__(self) -> None:
        super().__init__()
        self._lacks: set[str] = set()

    @property
    def only_lacks(self) -> bool:
        """Whether all faults are missing files."""
        return set(self) <= self._lacks

    def lacks(self, fault: str) -> None:
        """Add a missing file."""
        self.append(fault)
        self._lacks.add(fault)

    def note(self, error: Exception) -> None:
        """Add an error."""
        if isinstance(error, ColumnFaults):
            self += error.faults
        elif isinstance(error, FileNotFoundError):
            self.lacks(str(error))
        else:
            self.append(str(error))

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch a ValueError or OSError, and add it."""
        try:
            yield
        except (OSError, ValueError) as error:
            self.note(error)


def refuse(name: str, faults: Sequence[str], absent: Sequence[str] = ()) -> NoReturn:
    """Raise all faults.

    Args:
        name: The dataset.
        faults: At least one fault.
        absent: Missing image files, listed only with other faults; alone they are left to the reader.

    Raises:
        DatasetError: With all of them; an :class:`AbsentFilesError` if all faults are missing files.
    """
    only_files = isinstance(faults, Faults) and faults.only_lacks
    raise (AbsentFilesError if only_files else DatasetError)(name, [*faults, *absent])
