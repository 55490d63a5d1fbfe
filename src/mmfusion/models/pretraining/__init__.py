"""Pretraining: a phase before the supervised one, by name.

A builder takes the model and keyword-only options and gives a :class:`~mmfusion.models.phases.Pretraining`.
"""

from mmfusion.models.pretraining.contrast_pretraining import ContrastPretraining
from mmfusion.models.pretraining.corruption import Corruption
from mmfusion.models.pretraining.tip_pretraining import TipLoss, TipPretraining

__all__ = ["ContrastPretraining", "Corruption", "TipLoss", "TipPretraining"]
