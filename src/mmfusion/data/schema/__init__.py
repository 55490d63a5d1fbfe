"""Table schemas: columns with kinds inferred from their cells, fitted on the training rows."""
