"""One file a figure: `TITLE`, `WHAT`, `NEEDS` and `draw(tables) -> Drawn`; a file dropped here registers itself."""
