"""Helpers that every room may use: files, locks, optional packages, precision, process groups."""
