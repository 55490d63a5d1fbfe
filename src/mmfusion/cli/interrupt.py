"""Ctrl-C while modules are imported, and when all is done: one line, at once, or nothing.

Nothing is imported here but what is there anyway, so that the handler is in its place early.
"""

from __future__ import annotations

import os
import sys

try:
    # The public module imports enum, which takes as long as all the rest.
    import _signal as signal  # type: ignore[import-not-found]  # typeshed has the public module alone
except ImportError:
    import signal

CODE = 130
"""The exit code of a program that Ctrl-C ended."""


class at_once:  # reads as contextlib's, which takes too long to import
    """Have Ctrl-C end the process where there is nothing to save yet.

    An import that is interrupted by an exception ends in a traceback, or goes on as if nothing were: foreign modules
    catch more than they mean to, and what runs in a callback has no caller. Where somebody else handles Ctrl-C, or a
    launcher started several processes, which then tell each other, nothing changes.
    """

    def __enter__(self) -> None:
        self._ours = False
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 or signal.getsignal(signal.SIGINT) is not _usual:
            return
        try:
            signal.signal(signal.SIGINT, _end)
        except ValueError:  # not the main thread, which alone is interrupted
            return
        self._ours = True

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, _usual)


_usual = signal.default_int_handler


def say(what: str = "interrupted; nothing was written yet") -> int:
    """Say what happened, in one line.

    Returns:
        The exit code.
    """
    os.write(2, f"mmfusion: {what}\n".encode())
    return CODE


def done(code: int) -> int:
    """Have Ctrl-C end the process with its exit code from now on: only the interpreter is left to be taken down.

    Returns:
        The exit code.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and signal.getsignal(signal.SIGINT) is _usual:
        try:
            sys.stdout.flush()
            signal.signal(signal.SIGINT, lambda *_: os._exit(code))
        except (OSError, ValueError):  # nobody reads any more, or not the main thread
            pass
    return code


def _end(*_: object) -> None:
    os._exit(say())
