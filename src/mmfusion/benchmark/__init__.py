"""Comparison of methods: which runs it takes, what they say together, and the report.

Import the module you need: ``from mmfusion.benchmark import collect``.
"""
