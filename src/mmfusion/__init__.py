"""Fusion components for images and tabular data.

Parts live in their rooms (``mmfusion.tokenizers``, ``mmfusion.fusion.tokens``, ``mmfusion.losses`` and so on); this
module has what most users start from. Everything is imported when it is asked for: a program that only prints its help,
or is stopped at once, does not wait for torch.
"""

from __future__ import annotations

# Without typing and importlib, which take as long as all that a program does before it can be stopped in one line.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mmfusion import registry
    from mmfusion.api.compare import compare
    from mmfusion.api.fit import fit
    from mmfusion.api.look_up import blueprint, check
    from mmfusion.api.predicting import RunEnsemble
    from mmfusion.api.study import Study
    from mmfusion.api.trained_run import Run, load
    from mmfusion.comparison.compact import compact
    from mmfusion.comparison.report.command import report
    from mmfusion.comparison.report.explanation_page import write_explanation
    from mmfusion.comparison.report.external_page import write_evaluation
    from mmfusion.experiments.chosen_data import Data, load_dataset, read_table
    from mmfusion.experiments.loggers import MLflowLogger, TensorBoardLogger, WandbLogger
    from mmfusion.models import Blueprint, FusionModel, ImageEncoders, ablate, create_loss, create_model
    from mmfusion.models.pretrained import from_pretrained, save_pretrained
    from mmfusion.registry import list_backbones, list_datasets, list_losses, list_models
    from mmfusion.spec import Classes, Columns, DataSpec, Image, Labels, Regression, Survival, Wording
    from mmfusion.tokens import Bag, FusionOutput, LossInputs, Maps, Table, Tokens
    from mmfusion.training.callbacks import Callback

__version__ = "0.1.0"

__all__ = [
    "Bag",
    "Blueprint",
    "Callback",
    "Classes",
    "Columns",
    "Data",
    "DataSpec",
    "FusionModel",
    "FusionOutput",
    "Image",
    "ImageEncoders",
    "Labels",
    "LossInputs",
    "MLflowLogger",
    "Maps",
    "Regression",
    "Run",
    "RunEnsemble",
    "Study",
    "Survival",
    "Table",
    "TensorBoardLogger",
    "Tokens",
    "WandbLogger",
    "Wording",
    "ablate",
    "blueprint",
    "check",
    "compact",
    "compare",
    "create_loss",
    "create_model",
    "fit",
    "from_pretrained",
    "list_backbones",
    "list_datasets",
    "list_losses",
    "list_models",
    "load",
    "load_dataset",
    "read_table",
    "registry",
    "report",
    "save_pretrained",
    "write_evaluation",
    "write_explanation",
]

_HOMES = {
    **dict.fromkeys(("Blueprint", "FusionModel", "ImageEncoders", "ablate", "create_loss", "create_model"), "models"),
    **dict.fromkeys(("list_backbones", "list_datasets", "list_losses", "list_models"), "registry"),
    **dict.fromkeys(("Classes", "Columns", "DataSpec", "Image", "Labels", "Regression", "Survival", "Wording"), "spec"),
    **dict.fromkeys(("Bag", "FusionOutput", "LossInputs", "Maps", "Table", "Tokens"), "tokens"),
    **dict.fromkeys(("Data", "load_dataset", "read_table"), "experiments.chosen_data"),
    "compact": "comparison.compact",
    "compare": "api.compare",
    "fit": "api.fit",
    **dict.fromkeys(("blueprint", "check"), "api.look_up"),
    **dict.fromkeys(("MLflowLogger", "TensorBoardLogger", "WandbLogger"), "experiments.loggers"),
    "Callback": "training.callbacks",
    **dict.fromkeys(("from_pretrained", "save_pretrained"), "models.pretrained"),
    "report": "comparison.report.command",
    "Study": "api.study",
    "write_evaluation": "comparison.report.external_page",
    "write_explanation": "comparison.report.explanation_page",
    "RunEnsemble": "api.predicting",
    **dict.fromkeys(("Run", "load"), "api.trained_run"),
}


def __getattr__(name: str) -> Any:
    import importlib
    from importlib.util import find_spec

    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module 'mmfusion' has no attribute {name!r}")
    else:
        value = importlib.import_module(f"{__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
