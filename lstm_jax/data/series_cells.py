"""What cells beside or below each other look like: words, dates, numbers that count."""

import itertools
import re
from collections.abc import Sequence

from lstm_jax.data.date_notations import looks_like_date
from lstm_jax.data.table_numbers import (
    is_missing,
    is_number,
    plain_numbers,
    quantity_of,
)


def decimals_of(cell: str) -> int:
    """How many digits stand after the last point or comma."""
    return len(re.split(r"[.,]", cell)[-1]) if re.search(r"[.,]", cell) else 0


def steps_evenly(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers, several, each the next or so after the last."""
    if len(cells) < 2 or not all(cell.isdecimal() for cell in cells):
        return False
    steps = {int(b) - int(a) for a, b in itertools.pairwise(cells)}
    return len(steps) == 1 and steps.pop() > 0


def is_far(cell: str, below: Sequence[str]) -> bool:
    """Whether a number is of another size than those below it, if these are several."""
    found = [quantity.value for each in below if (quantity := quantity_of(each))]
    if len(found) < 3:
        return False
    low, high, value = min(found), max(found), float(cell)
    away = 9 * (high - low) + abs(high) + abs(low)
    return value < low - away or value > high + away


def are_digit_dates(cells: Sequence[str]) -> bool:
    """Whether cells are dates of nothing but digits, each after the one before."""
    if len(cells) < 3 or not all(cell.isdecimal() for cell in cells):
        return False
    if len(cells[0]) == 4 and not steps_evenly(cells):
        return False
    rising = all(int(a) < int(b) for a, b in itertools.pairwise(cells))
    return (
        rising and len(cells[0]) in (4, 6, 8) and all(map(looks_like_date, cells[:99]))
    )


def are_words(cells: Sequence[str]) -> bool:
    """Whether most cells of a column are no numbers; a bad cell alone is no label."""
    if plain_numbers([cell for cell in cells if cell]) is not None:
        return False
    there = [cell for cell in cells if not is_missing(cell)]
    return sum(not is_number(cell) for cell in there) > len(there) / 2


def are_dates(cells: Sequence[str]) -> bool:
    """Whether cells are dates, judged by the first few, most of them."""
    there = [cell for cell in cells if cell][:9]
    return bool(there) and sum(map(looks_like_date, there)) > len(there) / 2


def rises(cells: Sequence[str]) -> bool:
    """Whether cells are numbers that rise."""
    found = [quantity_of(cell) for cell in cells]
    values = [each.value for each in found if each]
    return len(values) == len(found) > 1 and all(
        a < b for a, b in itertools.pairwise(values)
    )


def counts_up(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2 and so on, or 1, 2, 3."""
    if not all(cell.isdecimal() for cell in cells):
        return False
    return [int(cell) for cell in cells] in (
        list(range(len(cells))),
        list(range(1, len(cells) + 1)),
    )


def are_numbered(cells: Sequence[str], stems: frozenset[str] | None = None) -> bool:
    """Whether cells are one word with rising numbers, or rising numbers alone."""
    found = [re.fullmatch(r"(.*?)[ _.-]?(\d+)", cell.casefold()) for cell in cells]
    parts = [(each[1].strip(), int(each[2])) for each in found if each]
    if len(parts) < max(2, len(cells)) or len({stem for stem, _ in parts}) > 1:
        return False
    if stems is not None and parts[0][0] not in stems:
        return False
    return all(b - a == 1 for (_, a), (_, b) in itertools.pairwise(parts))


def shape_of(text: str) -> str:
    """A label with a for letters and 9 for digits, of whatever number."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", text))
