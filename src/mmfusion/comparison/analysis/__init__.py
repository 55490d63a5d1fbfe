"""The numbers of a comparison, from the runs' predictions: :func:`analyse`, and what it gives in :mod:`.results`."""

from mmfusion.comparison.analysis.assemble import analyse

__all__ = ["analyse"]
