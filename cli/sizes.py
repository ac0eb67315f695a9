"""Sizes of files in words."""


def describe_size(size: float) -> str:
    """Bytes in the largest unit of which there is one."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"
