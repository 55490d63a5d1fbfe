"""Execution of one planned run in this process, and the program for it."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from mmfusion.experiments import console, folder, lock, run, trust
from mmfusion.experiments.settings import Settings
from mmfusion.training import processes
from mmfusion.training.reporter import Reporter
from mmfusion.training.result_files import read_json, write_json

FINISHED, ELSEWHERE = 0, 75
"""Exit codes of the program; the second, sysexits' "temporary failure", if another process has the run."""


def finished(place: Path) -> bool:
    """Whether a folder holds a finished run."""
    return (place / folder.METRICS).is_file()


def work(settings: Settings, reporter: Reporter, *, overwrite: bool = False, wait: bool = False) -> bool:
    """Start or resume a run until it is finished.

    Only one process at a time works on a folder, see :mod:`mmfusion.experiments.lock`.

    Args:
        settings: Settings with ``run.out``.
        reporter: Receives the progress.
        overwrite: Start anew.
        wait: Wait for another process that has the run; else leave it to that process.

    Returns:
        Whether it is finished; False if another process has it.

    Raises:
        ValueError: As :func:`mmfusion.experiments.run.start` and ``resume``.
    """
    place = Path(settings.run.out or "")
    with lock.attempt(place, wait=wait) as ours:
        if not ours:
            return False
        state = processes.from_main(lambda: _state(place))
        if state == "finished" and not overwrite:
            return True
        if state == "begun" and not overwrite:
            chosen = settings.run
            run.resume(place, reporter, device=chosen.device, root=chosen.root, plugins=chosen.plugins)
        else:
            run.start(settings, reporter, overwrite=overwrite)
    return True


def _state(place: Path) -> str:
    if finished(place):
        return "finished"
    # A process killed while writing the first file leaves a partial file.
    folder.sweep(place)
    return "begun" if (place / folder.SETTINGS).is_file() else "new"


def write_order(path: Path, settings: Settings, *, overwrite: bool, wait: bool) -> None:
    """Write the input of the program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"settings": settings.to_dict(), "overwrite": overwrite, "wait": wait})


def command(orders: Path, n_processes: int = 1, plugins: Sequence[str] = ()) -> list[str]:
    """Command line of the program.

    Args:
        orders: File of :func:`write_order`.
        n_processes: Number of processes that train the model together; several are started by torchrun.
        plugins: Plug-ins that the user has named; no others are run.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n_processes)]
    return [
        sys.executable,
        *(launcher if n_processes > 1 else []),
        "-m",
        "mmfusion.comparison.worker",
        str(orders),
        *plugins,
    ]


def main(argv: list[str] | None = None) -> int:
    """``python -m mmfusion.comparison.worker FILE [PLUGIN ...]``: the run that a file of :func:`write_order` describes.

    Ends as from Ctrl-C when its standard input ends, if that is a pipe: it does not outlive a killed parent.
    """
    arguments = sys.argv[1:] if argv is None else argv
    content = read_json(Path(arguments[0]))

    def execute() -> int:
        settings = Settings.from_dict(content["settings"])
        trust.run_given(arguments[1:])
        trust.run_named(settings.run.plugins, Path(arguments[0]))
        done = work(settings, console.reporter(), overwrite=content["overwrite"], wait=content["wait"])
        return FINISHED if done else ELSEWHERE

    # The background jobs of a shell ignore Ctrl-C, and so would this process.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _end_with_input()
    return console.guarded(execute)


def _end_with_input() -> None:
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        # Started by hand: input is a terminal, a file or nothing, whose end means nothing.
        return

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
