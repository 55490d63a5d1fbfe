"""What a user of Python calls: a table to data, data to runs and comparisons, a run to predictions and pages."""
