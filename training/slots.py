"""Which slots of a network carry a matrix: the words of `--slots`. The family builder (`facet family build --slots`) reads them alike.

What it does not know: networks, training; it is given the names of the slots that can take a matrix, in forward order.
"""
from __future__ import annotations

import re
from pathlib import Path

WORDS = ("early", "middle", "late")


def thirds(names: list[str]) -> dict[str, list[str]]:
    """Early, middle and late: thirds of n slots in forward order, cut at ceil(n / 3) and ceil(2 n / 3). Of the 25 slots of the
    paper's network these are the stem and blocks 0-3, blocks 4-7 and blocks 8-11: its three stages."""
    n = len(names)
    first, second = -(-n // 3), -(-2 * n // 3)
    return dict(zip(WORDS, (names[:first], names[first:second], names[second:])))


def chosen(text: str, names: list[str]) -> list[str]:
    """The slots that `text` names, in forward order.

    `text`: words of WORDS joined by `+` (`early+late`), or a file with a slot's name on each line (lines that begin with # and
    empty ones are left out), or a regular expression that is searched in every name. Raises ValueError where it names a slot that is
    not in `names`, or none at all.
    """
    words = text.split("+")
    if all(word in WORDS for word in words):
        parts = thirds(names)
        wanted = {name for word in words for name in parts[word]}
    elif Path(text).is_file():
        lines = (line.strip() for line in Path(text).read_text(encoding="utf-8-sig").split("\n"))
        wanted = {line for line in lines if line and not line.startswith("#")}
        unknown = sorted(wanted - set(names))
        if unknown:
            raise ValueError(f"{text} names slots that take no matrix here: {', '.join(unknown)}; known are {', '.join(names)}")
    else:
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise ValueError(f"--slots {text!r} is neither {', '.join(WORDS)} (joined by +), nor a file, nor a regular expression: {error}") from error
        wanted = {name for name in names if pattern.search(name)}
    found = [name for name in names if name in wanted]
    if not found:
        raise ValueError(f"--slots {text!r} chooses no slot; there are {', '.join(names)}")
    return found
