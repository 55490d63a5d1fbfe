"""Output and errors of the command line.

An error that a user can cause ends in one line on standard error and exit code 2; ``MMFUSION_DEBUG=1`` shows the
traceback.
"""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from mmfusion.utils.optional import need

if TYPE_CHECKING:
    from mmfusion.training.reporter import Reporter

# What bad input, a full disk or a package that is not installed can raise. Anything else is a fault of the package
# and keeps its traceback.
_CAUSED_BY_USERS = (ValueError, OSError, ImportError)


def guarded(command: Callable[[], int | None], translate: Callable[[str], str] = str) -> int:
    """Call a command; write an error as one line.

    Args:
        command: Returns an exit code; None is 0.
        translate: Puts flags in the place of options' names in an error text.

    Returns:
        Its exit code; 2 for what the user can fix; 130 after Ctrl-C; 141 where nobody reads the output any more.
    """
    try:
        with _together():
            code = command()
    except KeyboardInterrupt as stop:
        _complain(str(stop) or "interrupted")
        return 130
    except (MemoryError, RuntimeError) as error:
        from mmfusion.training.memory import is_out_of_memory, message

        if os.environ.get("MMFUSION_DEBUG") == "1" or not is_out_of_memory(error):
            raise
        _complain(f"error: {translate(message(error))}")
        return 2
    except BrokenPipeError:
        # Its reader has what it wanted, as in `mmfusion list | head`; nothing more can be written, also at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except _CAUSED_BY_USERS as error:
        if os.environ.get("MMFUSION_DEBUG") == "1":
            raise
        _complain(f"error: {translate(' '.join(str(error).split())) or type(error).__name__}")
        return 2
    return code or 0


def reporter(translate: Callable[[str], str] = str) -> Any:
    """A reporter that writes to standard output.

    Args:
        translate: As for :func:`guarded`.
    """
    from mmfusion.training.reporter import Rich

    console = need("rich.console", "bench").Console()
    if not console.is_terminal:
        # Without a terminal rich assumes 80 columns and would break the table's cells.
        console.width = 140
    return Rich(console, translate)


def reporter_of(verbose: "bool | Reporter") -> "Reporter":
    """The reporter of a function that a user calls.

    Args:
        verbose: True for one that fits the place, a terminal, a notebook or a file; False for silence; or a reporter.
    """
    from mmfusion.experiments import argument_names
    from mmfusion.training.notebook import Notebook
    from mmfusion.training.reporter import Silent

    if not isinstance(verbose, bool):
        return verbose
    if not verbose:
        return Silent()
    if not _in_notebook():
        return reporter(argument_names.translate)  # type: ignore[no-any-return]  # rich is imported by name
    return Notebook(need("rich.console", "bench").Console(), argument_names.translate)


def _in_notebook() -> bool:
    """Whether a notebook's kernel runs this process: no terminal, but HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


def _together() -> AbstractContextManager[None]:
    """Where a launcher started several processes, only one writes the error."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return nullcontext()
    from mmfusion.training import processes

    return processes.together()


def _complain(text: str) -> None:
    sys.stderr.write(f"mmfusion: {text}\n")
