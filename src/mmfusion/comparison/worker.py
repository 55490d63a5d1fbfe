"""One planned run, in this process: begun, gone on with, or found finished; and the program that does only that."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmfusion.experiments import console, folder, lock, run, trust
from mmfusion.experiments.settings import Settings
from mmfusion.training import processes
from mmfusion.training.reporter import Reporter
from mmfusion.training.result_files import read_json, write_json

FINISHED, ELSEWHERE = 0, 75
"""Exit codes of the program: the second, sysexits' "temporary failure", where another process has the run."""


def finished(place: Path) -> bool:
    """Whether a folder holds a run that is through."""
    return (place / folder.METRICS).is_file()


def work(settings: Settings, reporter: Reporter, *, overwrite: bool = False, wait: bool = False) -> bool:
    """Bring a run to its end, from wherever it stands.

    Only one process at a time works on a folder, see :mod:`mmfusion.experiments.lock`.

    Args:
        settings: With ``run.out``.
        reporter: Told of the progress.
        overwrite: Begin anew.
        wait: For another process that has the run; else leave it to that one.

    Returns:
        Whether it is finished now; False where another process has it.

    Raises:
        ValueError: As :func:`mmfusion.experiments.run.start` and ``resume``.
    """
    place = Path(settings.run.out or "")
    with lock.attempt(place, wait=wait) as ours:
        if not ours:
            return False
        stands = processes.from_main(lambda: _stands(place))
        if stands == "finished" and not overwrite:
            return True
        if stands == "begun" and not overwrite:
            chosen = settings.run
            run.resume(place, reporter, device=chosen.device, root=chosen.root, plugins=chosen.plugins)
        else:
            run.start(settings, reporter, overwrite=overwrite)
    return True


def _stands(place: Path) -> str:
    if finished(place):
        return "finished"
    # A kill in the middle of the first file's writing leaves a part of it, which is nobody's.
    folder.sweep(place)
    return "begun" if (place / folder.SETTINGS).is_file() else "new"


def order(settings: Settings, *, overwrite: bool, wait: bool) -> dict[str, Any]:
    """What the program reads: plain values."""
    return {"settings": settings.to_dict(), "overwrite": overwrite, "wait": wait}


def command(orders: Path, n_processes: int = 1, plugins: Sequence[str] = ()) -> list[str]:
    """The program, for a shell.

    Args:
        orders: A file of :func:`order`.
        n_processes: That train the model together; several are started by torchrun.
        plugins: That the user has named; the file alone has none run.
    """
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n_processes)]
    return [
        sys.executable,
        *(several if n_processes > 1 else []),
        "-m",
        "mmfusion.comparison.worker",
        str(orders),
        *plugins,
    ]


def main(argv: list[str] | None = None) -> int:
    """``python -m mmfusion.comparison.worker FILE [PLUGIN ...]``: the run that a file of :func:`order` describes.

    Ends as from Ctrl-C when its standard input does, where that is a pipe: nothing goes on when whoever began it was
    killed.
    """
    arguments = sys.argv[1:] if argv is None else argv
    packed = read_json(Path(arguments[0]))

    def bring() -> int:
        settings = Settings.from_dict(packed["settings"])
        trust.run_given(arguments[1:])
        trust.run_named(settings.run.plugins, Path(arguments[0]))
        through = work(settings, console.reporter(), overwrite=packed["overwrite"], wait=packed["wait"])
        return FINISHED if through else ELSEWHERE

    # A shell's background job ignores Ctrl-C, and so do all that it begins; nobody could end this one then.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _end_with_input()
    return console.guarded(bring)


def _end_with_input() -> None:
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        # Begun by hand: a terminal, a file or nothing, whose end says nothing.
        return

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def dump(order: dict[str, Any], path: Path) -> None:
    """Write an order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, order)


if __name__ == "__main__":
    sys.exit(main())
