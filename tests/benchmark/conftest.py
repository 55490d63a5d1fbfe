import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FAKES = Path(__file__).parents[1] / "training" / "fakes.py"


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A model and a dataset named ``tiny``."""
    spec = importlib.util.spec_from_file_location("fakes", FAKES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(monkeypatch)
    return module


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The same for a process of its own, as a file for ``--plugin``."""
    path = tmp_path / "plugin.py"
    path.write_text(
        f"import importlib.util\n"
        f"import torch\n"
        f"from mmfusion import registry\n"
        f"spec = importlib.util.spec_from_file_location('fakes', {str(FAKES)!r})\n"
        f"fakes = importlib.util.module_from_spec(spec)\n"
        f"spec.loader.exec_module(fakes)\n"
        f"torch.set_num_threads(1)\n"
        f"registry.models.register('tiny')(fakes.model)\n"
        f"registry.datasets.register('tiny')(fakes.dataset)\n"
    )
    return path
