"""Error rates of transcripts: edits counted, added up, divided once.

The word error rate of speech recognition, and of digits the digit error rate: the
fewest substitutions, insertions and deletions that make the one transcript the other
(Levenshtein 1966), over all utterances, divided by the length of all references.
"""

import dataclasses
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class Edits:
    """Totals: those of two parts of the data add up to those of both.

    `length` counts the reference's symbols; `wrong` the utterances with an edit.
    """

    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0
    length: int = 0
    utterances: int = 0
    wrong: int = 0

    def __add__(self, other: "Edits") -> "Edits":
        """Totals of both."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Edits(*(mine + theirs for mine, theirs in pairs))

    @property
    def total(self) -> int:
        """All edits."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def error_rate(self) -> float:
        """Edits per symbol of the reference; may exceed 1.

        Raises:
            ZeroDivisionError: the references are empty.
        """
        return self.total / self.length


def count_edits(reference: Sequence[int], found: Sequence[int]) -> Edits:
    """The fewest edits that make the reference what was found."""
    # Row by row through the table of Wagner & Fischer (1974): (cost, s, i, d) each.
    row = [(j, 0, j, 0) for j in range(len(found) + 1)]
    for i, wanted in enumerate(reference, 1):
        diagonal, row[0] = row[0], (i, 0, 0, i)
        for j, got in enumerate(found, 1):
            cost, s, ins, d = diagonal
            miss = int(wanted != got)
            left, above = row[j - 1], row[j]
            diagonal = above
            row[j] = min(
                (cost + miss, s + miss, ins, d),
                (left[0] + 1, left[1], left[2] + 1, left[3]),
                (above[0] + 1, above[1], above[2], above[3] + 1),
            )
    cost, s, ins, d = row[-1]
    return Edits(s, ins, d, len(reference), 1, int(cost > 0))


def count_all_edits(
    references: Iterable[Sequence[int]], found: Iterable[Sequence[int]]
) -> Edits:
    """The edits of many utterances."""
    pairs = zip(references, found, strict=True)
    return sum((count_edits(*pair) for pair in pairs), Edits())
