"""A table on stdout for people."""

from collections.abc import Sequence


def print_table(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    """Print `columns` as the head, and the rows below it."""
    lines = [dict(zip(columns, columns, strict=True)), *rows]
    widths = {name: max(len(line[name]) for line in lines) for name in columns}
    for line in lines:
        print("  ".join(line[name].ljust(widths[name]) for name in columns).rstrip())
