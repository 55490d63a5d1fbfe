"""MMCL as its paper evaluates it: the images alone after pretraining with tables (Hager et al., 2023)."""

import functools
from dataclasses import replace
from typing import Any

from mmfusion.models.blueprint import Blueprint
from mmfusion.models.methods.mmcl import mmcl
from mmfusion.models.registration import method
from mmfusion.spec import DataSpec


@method("mmcl_image")
@functools.wraps(mmcl.function, assigned=())
def mmcl_image(spec: DataSpec, **options: Any) -> Blueprint:
    """``image``, after a phase ``pretrain`` with the table; what MMCL's paper evaluates.

    The table is needed in pretraining alone; predictions do not read it.

    Args:
        spec: The data, with an image and a table.
        options: Those of :func:`~mmfusion.models.methods.mmcl.mmcl`.

    Raises:
        ValueError: If the spec has no image or no table.
    """
    return replace(mmcl.function(spec, **options), reads=("images",))
