"""Datasets that read files, and the check of their folders."""
