"""Figures and tables on disk: the registry, the house style and the file formats."""
