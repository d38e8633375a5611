"""The report of the trials: one HTML page."""
