"""External validation: a finished run on a labelled table that it was not made for, another hospital's say.

Nothing is fitted on the table: threshold and temperature are the run's own.
"""

from mmfusion.experiments.external.external_evaluation import ExternalEvaluation
from mmfusion.experiments.external.validation import evaluate

__all__ = ["ExternalEvaluation", "evaluate"]
