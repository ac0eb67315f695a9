"""A storage that is no folder, and commands that read folders."""

from pathlib import Path


def away(storage: Path) -> str | None:
    """What to say of an address that is taken for a folder; None of a folder."""
    first, *rest = storage.parts or ("",)
    if not first.endswith(":"):
        return None
    copies = f"`launch.py fetch NAME --storage {first}//… --to FOLDER` copies a sweep into one"
    return f"{first}//{'/'.join(rest)}: expected a folder; {copies}"
