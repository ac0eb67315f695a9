"""Execution of trials: Tune, workers, stages, early stopping, retries, signals and plans."""
