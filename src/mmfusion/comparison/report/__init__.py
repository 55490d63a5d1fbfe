"""Report of a comparison: one self-contained page, the same as Markdown, and the numbers as CSV."""

from mmfusion.comparison.report.writing import write

__all__ = ["write"]
