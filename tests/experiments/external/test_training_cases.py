"""The cases of a run, read again by the settings in its folder."""

import shutil
from pathlib import Path
from types import ModuleType

import pytest

from mmfusion.experiments import folder
from mmfusion.experiments.external import training_cases
from mmfusion.training.result_files import read_json, write_json


@pytest.mark.slow
def test_cache_that_folder_names_is_not_made(
    trained: Path, fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's folder says nowhere to write to; the cache of the user's own run is used again."""
    caches = []
    build = training_cases.build_dataset
    monkeypatch.setattr(
        training_cases, "build_dataset", lambda settings, say: caches.append(settings.run.cache) or build(settings, say)
    )
    out, cache = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(trained, out)
    packed = read_json(out / folder.SETTINGS)
    packed["run"]["cache"] = str(cache)
    write_json(out / folder.SETTINGS, packed)
    assert not isinstance(training_cases.reach(out), str)
    assert not cache.exists()
    (cache / "images").mkdir(parents=True)
    assert not isinstance(training_cases.reach(out), str)
    assert caches == [None, str(cache)]
