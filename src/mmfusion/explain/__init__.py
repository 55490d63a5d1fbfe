"""Explanations: where in the images, which columns and which modalities an output comes from."""

from mmfusion.explain.class_activation import class_activation_map
from mmfusion.explain.outputs import Output

__all__ = ["Output", "class_activation_map"]
