import multiprocessing
import os
import pickle

import pytest

from mmfusion.utils.locks import Hold, alone

pytest.importorskip("fcntl")


def free(path) -> bool:
    with alone(path) as ours:
        return ours


def test_shared_lock_blocks_exclusive(tmp_path):
    path = tmp_path / "lock"
    one, two = Hold(path), Hold(path)
    assert not free(path)
    one.release()
    one.release()
    assert not free(path)
    two.release()
    assert free(path)
    one.take()
    one.take()
    assert not free(path)
    del one
    assert free(path)


def test_exclusive_lock_blocks_others(tmp_path):
    path = tmp_path / "lock"
    with alone(path, wait=True) as ours:
        assert ours
        assert not free(path)
    assert free(path)


def test_copied_lock_is_held_separately(tmp_path):
    path = tmp_path / "lock"
    one = Hold(path)
    two = pickle.loads(pickle.dumps(one))
    del one
    assert not free(path)
    del two
    assert free(path)


def test_lock_is_released_when_process_dies(tmp_path):
    path = tmp_path / "lock"
    context = multiprocessing.get_context("fork")
    ready, hang = context.Event(), context.Event()

    def have() -> None:
        with alone(path, wait=True):
            ready.set()
            hang.wait()

    process = context.Process(target=have)
    process.start()
    assert ready.wait(30)
    assert not free(path)
    process.kill()
    process.join()
    assert free(path)


def test_read_only_lock_file_can_be_shared(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.touch()
    whole = os.open

    def read_only(name, flags, *rest):
        if flags != os.O_RDONLY:
            raise PermissionError("not allowed")
        return whole(name, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    one = Hold(path)
    assert not free(path)
    one.release()
    with pytest.raises(FileNotFoundError):
        Hold(tmp_path / "none")
