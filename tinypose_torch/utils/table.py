"""Plain-text tables that line up."""

from __future__ import annotations

from collections.abc import Sequence

from tinypose_torch.utils.messages import escaped


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows under a header, columns aligned; control characters in cells become escapes.

    Args:
        right: Columns that are aligned to the right.
    """
    rows = [tuple(map(escaped, row)) for row in rows]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
