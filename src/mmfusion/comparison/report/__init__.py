"""The report of a comparison: one page that needs nothing else, the same as Markdown, and the numbers as CSV."""

from mmfusion.comparison.report.writing import write

__all__ = ["write"]
