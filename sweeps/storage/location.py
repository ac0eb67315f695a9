"""Explain why a command that needs a local folder rejects a remote URI."""

from pathlib import Path

from sweeps.storage.address import show_address


def remote_message(storage: Path) -> str | None:
    """Explain how to use a remote URI that was given as a folder; None for a folder."""
    first, *rest = storage.parts or ("",)
    if not first.endswith(":"):
        return None
    hint = f"`launch.py fetch NAME --storage {first}//… --to FOLDER` downloads a sweep into one"
    return f"{show_address(first + '//' + '/'.join(rest))}: expected a folder; {hint}"
