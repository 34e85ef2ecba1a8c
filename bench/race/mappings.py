"""What a server's private memory is made of, by the kinds of its mappings. Linux only; sizes as `processes.memory`."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

#: The first line of a mapping in /proc/PID/smaps: its range, rights, and its file or name.
HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)$")
#: Kinds of mapped files, by what the path holds; the first one that fits.
FILES = (
    ("onnxruntime", "ONNX Runtime's library"),
    ("libvips", "libvips"),
    ("sharp", "libvips"),
    ("/native/build/", "the add-on"),
    ("/bin/", "Node's or Python's program"),
    (".so", "other libraries"),
    (".node", "other libraries"),
)
#: V8 takes its heap in pages of so many bytes, or somewhat less.
V8_PAGE = 256 * 1024
#: glibc's heaps of threads begin at multiples of this.
GLIBC_HEAP = 64 * 2**20


@dataclass
class Mapping:
    start: int
    end: int
    rights: str
    name: str
    #: Without huge pages, as the add-on asks for the bank, and ONNX Runtime for nothing.
    small_pages: bool = False
    dirty: int = 0
    clean: int = 0


def read(pid: int) -> list[Mapping]:
    """All mappings of a process; none once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text().split("\n")
    except OSError:
        return []
    found: list[Mapping] = []
    for line in lines:
        if head := HEAD.match(line):
            start, end, rights, name = head.groups()
            found.append(Mapping(int(start, 16), int(end, 16), rights, name))
        elif line.startswith("Private_Dirty:"):
            found[-1].dirty = 1024 * int(line.split()[1])
        elif line.startswith("Private_Clean:"):
            found[-1].clean = 1024 * int(line.split()[1])
        elif line.startswith("VmFlags:"):
            found[-1].small_pages = " nh" in line
    return found


def kind(mapping: Mapping) -> str:
    """What a mapping is, as far as it shows."""
    name = mapping.name
    if name.startswith("/"):
        return next((title for part, title in FILES if part in name), "weights and other files")
    if name == "[heap]":
        return "glibc's heap of the main thread"
    if "x" in mapping.rights:
        return "code that V8 compiled"
    if mapping.small_pages:
        return "bank and heads"
    if mapping.start % GLIBC_HEAP == 0:
        return "glibc's heaps of other threads"
    length = mapping.end - mapping.start
    if mapping.start % V8_PAGE < 64 * 1024 and length <= 2 * V8_PAGE:
        return "V8's heap"
    return "other memory: arena, stacks"


def by_kind(pids: dict[int, str], first: int) -> dict[str, dict[str, float]]:
    """
    Private MB, dirty and clean, of each kind. Children are one kind.

    `first`: the server's first process
    """
    sums: dict[str, dict[str, int]] = defaultdict(lambda: {"dirty": 0, "clean": 0})
    for pid in pids:
        for mapping in read(pid):
            entry = sums[kind(mapping) if pid == first else "child processes"]
            entry["dirty"] += mapping.dirty
            entry["clean"] += mapping.clean
    rows = {name: {key: round(size / 1e6, 1) for key, size in entry.items()} for name, entry in sums.items()}
    return dict(sorted(rows.items(), key=lambda row: -sum(row[1].values())))


def as_table(columns: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: a line a kind, a column for each server; `dirty + clean` where there are clean pages."""
    kinds = list(dict.fromkeys(name for rows in columns.values() for name in rows))
    lines = ["| private MB, written + clean | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in kinds:
        cells = [cell(rows.get(name, {"dirty": 0.0, "clean": 0.0})) for rows in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(entry: dict[str, float]) -> str:
    return f"{entry['dirty']} + {entry['clean']}" if entry["clean"] else f"{entry['dirty']}"
