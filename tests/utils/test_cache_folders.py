from pathlib import Path

from mmfusion.utils.cache_folders import cache_folder


def test_cache_folder_follows_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder("maps") == Path("/somewhere/mmfusion/maps")
    assert cache_folder("maps", "/mine") == Path("/mine/maps")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("images") == Path.home() / ".cache" / "mmfusion" / "images"
