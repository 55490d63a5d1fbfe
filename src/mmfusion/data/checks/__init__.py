"""Checks of a dataset before training: what in its table, files and split could mislead a model or its reader."""
