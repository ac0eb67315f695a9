"""Reading results: tables, configurations, per-image outcomes and predictions."""
