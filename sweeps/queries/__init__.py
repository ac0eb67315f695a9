"""Queries on finished trials: best configurations, verdicts, and metrics from stored predictions."""
