"""Tables, one file each: `TITLE`, `WHAT`, `NEEDS` and `build(tables) -> Sheet`. A file added here registers itself."""
