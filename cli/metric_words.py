"""Names of metrics in sentences and headings."""

COLUMN, SYMBOL = "q_bar", "q̄"


def metric_words(name: str) -> str:
    """Return q̄ for `q_bar` and `q_bar_reset`, `q̄ (interp)` for another BatchNorm policy; other names stay.

    Columns, options, CSV and JSON have the name itself.
    """
    if not f"{name}_".startswith(f"{COLUMN}_"):
        return name
    policy = name.removeprefix(COLUMN).removeprefix("_")
    return SYMBOL if policy in ("", "reset") else f"{SYMBOL} ({policy})"
