"""The columns of a table: what they hold, decided from their cells and fitted on the training rows."""
