"""Decoding by several threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def in_threads(function: Callable[[T], U], items: Iterable[T], threads: int | None) -> Iterator[U]:
    """A function's results for some items, in their order, computed by several threads a little ahead."""
    n = threads or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(n) as pool:
        ahead: deque[Future[U]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) >= 8 * n:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
