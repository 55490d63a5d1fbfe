"""What is wrong with a dataset, collected while one goes on to look, and raised all at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmfusion.data.schema.cells import ColumnFaults

_SHOWN = 10


class DatasetError(ValueError):
    """A dataset's files are not as they should be.

    Attributes:
        faults: A line for each fault, all that were found.
    """

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = f"; and {len(faults) - _SHOWN} more, all in: mmfusion check" if len(faults) > _SHOWN else ""
        n = f"{len(faults)} faults: " if len(faults) > 1 else ""
        super().__init__(f"{name}: {n}{'; '.join(faults[:_SHOWN])}{more}")


class AbsentFilesError(DatasetError, FileNotFoundError):
    """The same where nothing is wrong but that files are not there."""


class Faults(list[str]):
    """What is wrong with a dataset, a line each, noted while one goes on to look."""

    def __init__(self) -> None:
        super().__init__()
        self._lacks: set[str] = set()

    @property
    def only_lacks(self) -> bool:
        """Whether nothing is wrong but that files are not there."""
        return set(self) <= self._lacks

    def lacks(self, fault: str) -> None:
        """Note a file that is not there."""
        self.append(fault)
        self._lacks.add(fault)

    def note(self, error: Exception) -> None:
        """Note what an error says."""
        if isinstance(error, ColumnFaults):
            self += error.faults
        elif isinstance(error, FileNotFoundError):
            self.lacks(str(error))
        else:
            self.append(str(error))

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Go on after bad input or a file that cannot be read, which is noted."""
        try:
            yield
        except (OSError, ValueError) as error:
            self.note(error)


def refuse(name: str, faults: Sequence[str], absent: Sequence[str] = ()) -> None:
    """Raise all faults, if there are any.

    Args:
        name: Of the dataset.
        faults: What is wrong.
        absent: Files that are not there; where nothing else is wrong they are left to be found by the reading.

    Raises:
        DatasetError: If there is a fault; an :class:`AbsentFilesError` where all of them are files that are not there.
    """
    if faults:
        if isinstance(faults, Faults) and faults.only_lacks:
            raise AbsentFilesError(name, [*faults, *absent])
        raise DatasetError(name, [*faults, *absent])
