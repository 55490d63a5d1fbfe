"""Explanations of a run's cases: sheets, and a cohort."""

from mmfusion.experiments.explaining.explaining import explain
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.experiments.explaining.options import ExplainOptions

__all__ = ["ExplainOptions", "Explanation", "explain"]
