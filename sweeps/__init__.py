"""Sweeps of trials over a cluster: search, stages, Arrow tables, MLflow."""
