"""Training, evaluation and use of a model: settings, loop, checkpoints, metrics, statistics, report, predictor.

Import the module you need: ``from mmfusion.training import metrics, statistics``.
"""
