"""Ctrl-C while modules are imported: one line, at once.

Nothing is imported here but what is there anyway, so that the handler is in its place early.
"""

from __future__ import annotations

import os
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


def _end(*_: object) -> None:
    os.write(2, b"mmfusion: interrupted; nothing was written yet\n")
    os._exit(CODE)
