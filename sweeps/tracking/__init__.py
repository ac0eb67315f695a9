"""MLflow tracking: one run per trial, written from the tables, reconciled and read."""
