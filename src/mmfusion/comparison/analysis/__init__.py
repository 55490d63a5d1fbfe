"""Numbers of a comparison, from the runs' predictions: :func:`analyse`, with results of ``results.py``."""

from mmfusion.comparison.analysis.assemble import analyse

__all__ = ["analyse"]
