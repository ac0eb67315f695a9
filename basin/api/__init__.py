"""The library for networks of one's own: what `import basin` gives. Each function is listed in `basin.__all__`."""
