"""Figures, one file each: `TITLE`, `WHAT`, `NEEDS` and `draw(tables) -> Drawn`. A file added here registers itself."""
