"""One run: a contestant with a number of domains, alone on the machine, from its start to its end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import processes
from client import compare
from contestants import Contestant
from loads import Load, Running, run_load
from networks import NEWCOMER, domain_names
from paths import data_of
from server import Server

#: Load beside which a domain is added: connections, and seconds before and in all.
ADD_CONNECTIONS, ADD_AFTER, ADD_SECONDS = 8, 1, 3


@dataclass(frozen=True)
class Lengths:
    """How long the parts of a run take, seconds; how many connections the main load has."""

    seconds: float
    warm: float
    single: float
    connections: int


def run(
    name: str, contestant: Contestant, network: str, domains: int, served: int, round: int, lengths: Lengths
) -> dict[str, object]:
    """
    The run's row. A contestant that fails has an `error` in it: its fall does not end the race.

    `served`: the domains that it really gets, where not all `domains` fit into memory.
    """
    row: dict[str, object] = {"name": name, "domains": domains, "served": served, "round": round}
    data = data_of(network)
    expected = json.loads((data / "expected.json").read_text())
    first = min((data / "images").glob("*.jpg")).read_bytes()
    with Server(name, contestant, network, domain_names(served)) as server:
        try:
            started(row, server, first)
            if round == 0:
                row["answers"] = compare(server.client, expected, server.domains, data)
                judge(row, contestant)
            loaded(row, server, lengths, round)
            added(row, server, expected[NEWCOMER])
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
    return row


def started(row: dict, server: Server, first: bytes) -> None:
    begin = time.monotonic()
    row["ready_s"] = server.start(first)
    for domain in server.domains:
        if not server.client.predict(domain, first):
            raise RuntimeError(f"no answer for {domain}")
    row["all_ready_s"] = time.monotonic() - begin


def judge(row: dict, contestant: Contestant) -> None:
    """Notes answers that are not those of the dedicated networks; the contestant runs on all the same."""
    answers, tolerance = row["answers"], contestant.tolerance
    if tolerance is not None and answers["difference"] > tolerance:
        row["wrong"] = f"scores differ by {answers['difference']:.2g}, more than {tolerance:g}"


def loaded(row: dict, server: Server, lengths: Lengths, round: int) -> None:
    many = run_load(server, Load(lengths.connections, lengths.warm, lengths.seconds, 2 + round))
    row["memory_mb"] = processes.memory(server.processes())
    row["processes"] = len(server.processes())
    for key in ("rate", "p50", "p99", "max", "answered", "failed", "failure"):
        row[key] = many[key]
    row["load_cores"] = many["cores"]
    row["cpu_s_1000"] = 1000 * many["cpu_seconds"] / max(1, many["answered"])
    if lengths.single > 0:
        single = run_load(server, Load(1, min(1, lengths.warm), lengths.single, 50 + round))
        row["single"] = {key: single[key] for key in ("p50", "p99", "rate", "failed", "failure")}


def added(row: dict, server: Server, expected: dict) -> None:
    """A domain that was not there, added under load; what that load suffered of it."""
    file, rows = next(iter(expected["exact"].items()))
    jpeg = (server.data / "exact" / file).read_bytes()
    if server.client.predict(NEWCOMER, jpeg) is not None:
        raise RuntimeError(f"{NEWCOMER} was there before it was added")
    running = Running(server, Load(ADD_CONNECTIONS, ADD_AFTER, ADD_SECONDS - ADD_AFTER, 99))
    try:
        running.wait_for("begin")
        seconds = server.add(NEWCOMER, jpeg, rows[0][0])
        others = running.rest()
    finally:
        running.stop()
    row["add"] = {"ms": 1000 * seconds, "others_failed": others["failed"], "others_p99": others["p99"], "others_max": others["max"]}
