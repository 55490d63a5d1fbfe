from pathlib import Path

import pytest

FAKES = Path(__file__).parents[1] / "helpers" / "fakes.py"


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
