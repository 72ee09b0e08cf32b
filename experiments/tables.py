"""Tables of comma-separated values whose first line names the columns."""

import csv
import io


def open_table(text: str) -> "csv.DictReader[str]":
    """Open a table whose rows are looked up by the names of its columns.

    The names are in small letters, without spaces around them. Lines end as on any
    system, and empty ones do not count.

    Raises:
        csv.Error: a column is there twice; while it is read: it is no table.
    """
    table = csv.DictReader(io.StringIO(text.lstrip("\r\n"), newline=None))
    names = [name.strip().lower() for name in table.fieldnames or []]
    for name in names:
        if name and names.count(name) > 1:
            raise csv.Error(f"the column {name!r:.60} twice")
    table.fieldnames = names
    return table
