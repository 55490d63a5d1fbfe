"""Names of settings in texts, as the arguments of the Python functions that set them."""

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SHORT = {
    "root": ("run", "root"),
    "seed": ("run", "seed"),
    "device": ("run", "device"),
    "precision": ("run", "precision"),
    "out": ("run", "out"),
    "epochs": ("train", "epochs"),
    "batch_size": ("train", "batch_size"),
    "modality_dropout": ("train", "modality_dropout"),
    "task": ("data", "task"),
    "table": ("data", "table"),
    "label": ("data", "label"),
    "images": ("data", "images"),
    "group": ("data", "group"),
    "test": ("data", "test"),
    "size": ("data", "size"),
    "window": ("data", "window"),
    "encoder": ("model", "encoder"),
    "weights": ("model", "weights"),
}
"""Setting that an argument, or a flag of the same name, is short for."""

_RENAMED = {"label": "target"}
"""Arguments of Python that are called otherwise than the option that they set."""
_KEYS = {f"{section}.{key}": _RENAMED.get(short, short) for short, (section, key) in SHORT.items()}
_DOTTED = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, _KEYS))})(?!\w|\.\w)(?P<after>=| expects\b)?")
_OPTION = re.compile(rf"(?<![\w./-])({'|'.join(_RENAMED)})(?==)")
_RESUME = re.compile(r"mmfusion run --resume (\S+)")
_by_flags: ContextVar[bool] = ContextVar("by_flags", default=False)


def translate(text: str) -> str:
    """A text with the arguments that a user of Python can give.

    ``run.out`` becomes ``out=...``, ``data.label`` and ``label='y'`` become ``target=...`` and ``target='y'``; settings
    without an argument stay as they are, to be given in ``settings``.
    """

    def of_setting(match: re.Match[str]) -> str:
        after = match["after"]
        return _KEYS[match[1]] + ("=..." if after is None else after)

    text = _DOTTED.sub(of_setting, text)
    text = _OPTION.sub(lambda match: _RENAMED[match[1]], text)
    text = _RESUME.sub(r"mmf.fit(resume='\1')", text)
    return text.replace("the same command", "the same call")


def named(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator for functions that users call: errors name its arguments, unless the command line calls it."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (ValueError, OSError, ImportError, KeyboardInterrupt) as error:
            if error.args and isinstance(error.args[0], str) and not _by_flags.get():
                error.args = (translate(error.args[0]), *error.args[1:])
            raise

    return call


@contextmanager
def by_flags() -> Iterator[None]:
    """Leave the names as they are inside: the command line puts its flags in their place."""
    token = _by_flags.set(True)
    try:
        yield
    finally:
        _by_flags.reset(token)
