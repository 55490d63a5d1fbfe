"""One planned run, in this process: begun, gone on with, or found finished; and the program that does only that."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmfusion.data import locks
from mmfusion.training import console, folder, run
from mmfusion.training.files import read_json
from mmfusion.training.reporter import Reporter
from mmfusion.training.settings import Settings

FINISHED, ELSEWHERE = 0, 75
"""Exit codes of the program: the second, sysexits' "temporary failure", where another process has the run."""


def finished(place: Path) -> bool:
    """Whether a folder holds a run that is through."""
    return (place / folder.METRICS).is_file()


def work(settings: Settings, reporter: Reporter, *, overwrite: bool = False, wait: bool = False) -> bool:
    """Bring a run to its end, from wherever it stands.

    Only one process at a time works on a folder; that is known by a lock, which the system gives back however the
    process ends.

    Args:
        settings: With ``run.out``.
        reporter: Told of the progress.
        overwrite: Begin anew.
        wait: For another process that has the run; else leave it to that one.

    Returns:
        Whether it is finished now; False where another process has it.

    Raises:
        ValueError: As :func:`mmfusion.training.run.start` and ``resume``.
    """
    place = Path(settings.run.out or "")
    with _alone(place, wait=wait) as ours:
        if not ours:
            return False
        if finished(place) and not overwrite:
            return True
        if place.is_dir():
            # A kill in the middle of the first file's writing leaves a part of it, which is nobody's.
            folder.sweep(place)
        if (place / folder.SETTINGS).is_file() and not overwrite:
            chosen = settings.run
            run.resume(place, reporter, device=chosen.device, root=chosen.root, plugins=chosen.plugins)
        else:
            run.start(settings, reporter, overwrite=overwrite)
    return True


@contextmanager
def _alone(place: Path, *, wait: bool) -> Iterator[bool]:
    if not locks.AVAILABLE:
        yield True
        return
    # Beside the run, not in it: a run's folder holds what a run writes and nothing else.
    home = place.parent / ".locks"
    home.mkdir(parents=True, exist_ok=True)
    with locks.alone(home / place.name, wait=wait) as ours:
        yield ours


def order(settings: Settings, *, overwrite: bool, wait: bool) -> dict[str, Any]:
    """What the program reads: plain values."""
    return {"settings": settings.to_dict(), "overwrite": overwrite, "wait": wait}


def main(argv: list[str] | None = None) -> int:
    """``python -m mmfusion.benchmark.work FILE``: the run that a file of :func:`order` describes.

    Ends as from Ctrl-C when its standard input does, so that nothing goes on when whoever began it was killed.
    """
    arguments = sys.argv[1:] if argv is None else argv
    packed = read_json(Path(arguments[0]))

    def command() -> int:
        settings = Settings.from_dict(packed["settings"])
        through = work(settings, console.reporter(), overwrite=packed["overwrite"], wait=packed["wait"])
        return FINISHED if through else ELSEWHERE

    _end_with_input()
    return console.guarded(command)


def _end_with_input() -> None:
    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def dump(order: dict[str, Any], path: Path) -> None:
    """Write an order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(order), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
