"""Ids that stand for no symbol of a text, each defined here and nowhere else.

Those that are at least 0 have a place in a vocabulary; those below have none.
"""

IGNORED = -1  # a target of this id is not counted: padding

NO_SYMBOL = -1  # in the place of one that was never made

NO_PREDICTION = -1  # for the first symbol of a block, before which nothing was read

UNKNOWN = 0  # what a vocabulary does not have

BLANK = 0  # between the symbols of a transcript: CTC's

START = 1  # before the first symbol of a sentence

END = 2  # after the last one
