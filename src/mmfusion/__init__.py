"""Fusion components for images and tabular data.

Parts live in their rooms (``mmfusion.tokenizers``, ``mmfusion.interactions``, ``mmfusion.losses`` and so on); this
module has what most users start from.
"""

from typing import TYPE_CHECKING, Any

from mmfusion import registry
from mmfusion.models import FusionModel, create_model
from mmfusion.spec import Classes, Columns, DataSpec, Image, Labels, Regression, Survival, Wording
from mmfusion.tokens import FusionOutput, LossInputs, Maps, Table, Tokens

if TYPE_CHECKING:
    from mmfusion.training.predictor import load

__version__ = "0.1.0"

__all__ = [
    "Classes",
    "Columns",
    "DataSpec",
    "FusionModel",
    "FusionOutput",
    "Image",
    "Labels",
    "LossInputs",
    "Maps",
    "Regression",
    "Survival",
    "Table",
    "Tokens",
    "Wording",
    "create_model",
    "load",
    "registry",
]


def __getattr__(name: str) -> Any:
    # Loading a run reads tables; pandas is imported when that is asked for, not with the package.
    if name == "load":
        from mmfusion.training.predictor import load

        return load
    raise AttributeError(f"module 'mmfusion' has no attribute {name!r}")
