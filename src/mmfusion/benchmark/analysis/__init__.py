"""The numbers of a comparison, from the runs' predictions.

Import the module you need: ``from mmfusion.benchmark.analysis import results``.
"""
