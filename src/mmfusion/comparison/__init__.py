"""Comparisons of methods: planned runs, their execution, and their common analysis and report."""
