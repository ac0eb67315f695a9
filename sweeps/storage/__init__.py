"""Results on disk: tables, row files, object stores, locks and integrity checks."""
