"""Roles of a sweep's trials, as the column `role` names them."""

SEARCH_SEEDS = ("search", "replicate")
"""Searched configurations, on the seeds of the search."""
REPORTED = ("fresh", "reference", "grid")
"""Trials that enter reported means: their seeds took no part in the selection."""
