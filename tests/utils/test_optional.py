import json
import sys

import pytest

from mmfusion.utils.optional import need


def test_need_returns_installed_module() -> None:
    assert need("json", "bench") is json


@pytest.mark.parametrize(
    ("module", "package"),
    [("nowhere_to_be_found", "nowhere_to_be_found"), ("sklearn.nowhere", "scikit-learn"), ("PIL.nowhere", "pillow")],
)
def test_need_missing_module_raises(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    with pytest.raises(
        ImportError, match=rf'^this needs {package}: pip install "mmfusion\[bench\]" \((import of|No module)'
    ):
        need(module, "bench")
