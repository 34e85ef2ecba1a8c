"""A server's processes as the kernel counts them: which they are, their CPU time, their memory. Linux only."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: Fields of /proc/PID/stat behind the program's name: state, parent, session, user and system time, start.
STATE, PARENT, SESSION, USER, SYSTEM, START = 0, 1, 3, 11, 12, 19


def stat(pid: int) -> list[str] | None:
    """The fields of a process behind its name, which is in brackets and may hold anything; None once it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[STATE] == "Z" else fields


def server_processes(first: int) -> dict[int, str]:
    """Start times of all processes of a server by their ids: the descendants of its first process, and its session."""
    stats = {int(name): stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    alive = {pid: fields for pid, fields in stats.items() if fields}
    found = {pid for pid, fields in alive.items() if pid == first or int(fields[SESSION]) == first}
    while True:
        more = {pid for pid, fields in alive.items() if int(fields[PARENT]) in found} - found
        if not more:
            return {pid: alive[pid][START] for pid in found}
        found |= more


def is_still(pid: int, start: str) -> bool:
    """Whether the process that started then still runs; its id may belong to another one by now."""
    fields = stat(pid)
    return fields is not None and fields[START] == start


def cpu_seconds(pids: dict[int, str]) -> dict[int, float]:
    """User and system time of each process, all its threads."""
    seconds = {}
    for pid in pids:
        if fields := stat(pid):
            seconds[pid] = (int(fields[USER]) + int(fields[SYSTEM])) / os.sysconf("SC_CLK_TCK")
    return seconds


def cpu_between(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds between two readings; a process that came in between counts from its start."""
    return sum(seconds - before.get(pid, 0) for pid, seconds in after.items())


def memory(pids: dict[int, str]) -> dict[str, float]:
    """
    Memory of the processes together, MB (10^6 bytes).

    `private`: pages that no other process shares, clean and dirty. `dirty`: those of them that were written to,
    which the kernel cannot drop. `proportional`: each shared page counted by its share (PSS).
    """
    kib = {"private": 0, "dirty": 0, "proportional": 0}
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        sizes = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}
        kib["private"] += sizes["Private_Clean"] + sizes["Private_Dirty"]
        kib["dirty"] += sizes["Private_Dirty"]
        kib["proportional"] += sizes["Pss"]
    return {name: round(size * 1024 / 1e6, 1) for name, size in kib.items()}


def available_bytes() -> int:
    """Memory that new processes can have without swapping."""
    text = Path("/proc/meminfo").read_text()
    return int(re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.M)[1]) * 1024
