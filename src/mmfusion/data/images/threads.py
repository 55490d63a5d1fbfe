"""Decoding in several threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def in_threads(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Map a function over items in several threads; results in order, computed a little ahead.

    As many threads as there are cores, at most 8: Pillow and zlib release Python's lock.
    """
    n = min(8, os.cpu_count() or 1)
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
