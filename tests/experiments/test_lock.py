"""One process at a time works on a run's folder."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmfusion.experiments import lock, run
from mmfusion.utils import locks

pytestmark = pytest.mark.skipif(not locks.AVAILABLE, reason="no locks on this system")
Start = Callable[..., Path]


@contextmanager
def elsewhere(place: Path) -> Iterator[None]:
    """Another process that has the folder."""
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()

    def have() -> None:
        with lock.held(place):
            ready.set()
            done.wait()

    process = context.Process(target=have)
    process.start()
    assert ready.wait(60)
    try:
        yield
    finally:
        done.set()
        process.join()


def test_lock_is_exclusive_and_leaves_no_file(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "run"
    with elsewhere(place):
        with pytest.raises(ValueError, match=r"another process works on .*run: wait for it, stop it first, or choose"):
            lock.check(place)
        with lock.attempt(place) as ours:
            assert not ours
        with pytest.raises(ValueError, match="another process works on"), lock.held(place):
            pass
    lock.check(place)
    with lock.held(place), lock.held(place), lock.attempt(place) as ours:
        assert ours
    assert not list(place.parent.iterdir())


@pytest.mark.slow
def test_waiting_processes_get_the_lock(tmp_path: Path) -> None:
    place = tmp_path / "run"
    context = multiprocessing.get_context("fork")
    order = context.Queue()

    def have(number: int) -> None:
        with lock.attempt(place, wait=True) as ours:
            order.put((number, ours, "in"))
            order.put((number, ours, "out"))

    processes = [context.Process(target=have, args=(number,)) for number in range(4)]
    with lock.held(place):
        for process in processes:
            process.start()
    got = [order.get(timeout=60) for _ in range(8)]
    for process in processes:
        process.join()
    assert all(ours for _, ours, _ in got)
    assert [what for *_, what in got] == ["in", "out"] * 4
    assert sorted({number for number, *_ in got}) == [0, 1, 2, 3]
    assert not list(tmp_path.iterdir())


def test_forked_process_does_not_keep_lock(tmp_path: Path) -> None:
    """Worker processes may outlive a killed run by a moment."""
    place, context = tmp_path / "run", multiprocessing.get_context("fork")
    done = context.Event()
    with lock.held(place):
        child = context.Process(target=done.wait)
        child.start()
    lock.check(place)
    with lock.held(place):
        pass
    done.set()
    child.join()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_lock_with_only_the_folder_writable(tmp_path: Path) -> None:
    place = tmp_path / "above" / "run"
    place.mkdir(parents=True)
    place.parent.chmod(0o500)
    try:
        with elsewhere(place), pytest.raises(ValueError, match="another process works on"), lock.held(place):
            pass
    finally:
        place.parent.chmod(0o700)


def test_lock_on_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "may_write", lambda folder: False)
    with elsewhere(tmp_path), pytest.raises(ValueError, match="another process works on"), lock.held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_run_holds_the_lock(start: Start) -> None:
    """Neither a second run, nor one that overwrites, nor one that resumes."""
    out = start(overrides={"train": {"epochs": 1}})
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with elsewhere(out):
        for attempt in (
            lambda: start(overrides={"train": {"epochs": 1}}),
            lambda: start(overrides={"train": {"epochs": 1}}, overwrite=True),
            lambda: run.resume(out),
        ):
            with pytest.raises(ValueError, match="another process works on"):
                attempt()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    run.resume(out)
