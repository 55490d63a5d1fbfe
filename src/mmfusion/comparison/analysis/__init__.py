"""Numbers of a comparison, from the runs' predictions: :func:`analyse`, with its results in :mod:`.results`."""

from mmfusion.comparison.analysis.assemble import analyse

__all__ = ["analyse"]
