"""Optional packages: one line when one is absent, saying what to install."""

import importlib
from types import ModuleType

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "umap": "umap-learn"}


def need(module: str, extra: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: Name to import, ``"sklearn.metrics"``.
        extra: The extra of mmfusion that brings it.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed; the message is the command that fixes it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        package = _DISTRIBUTIONS.get(top, top)
        raise ImportError(f'this needs {package}: pip install "mmfusion[{extra}]" ({error})') from error
