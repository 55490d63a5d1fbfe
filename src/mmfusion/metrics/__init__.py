"""Metrics, their intervals and tests, calibration: functions of labels and probabilities or of embeddings, which train
nothing.

Import the module you need: ``from mmfusion.metrics import classification, intervals``.
"""
