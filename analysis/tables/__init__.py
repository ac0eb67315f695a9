"""One file a table: `TITLE`, `WHAT`, `NEEDS` and `build(tables) -> Sheet`; a file dropped here registers itself."""
