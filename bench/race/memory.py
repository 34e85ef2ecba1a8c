"""
`--memory`: what each contestant takes with each number of domains, and what one more domain takes; with `--mappings`,
what that memory is made of.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import mappings
import processes
from client import Client
from loads import Load, run_load
from networks import domain_names
from paths import data_of
from race import Race, say
from server import Server

#: Requests to each domain before the load: what a session allocates at its first runs belongs to it.
ASKED = 2
#: A short load behind them, so that what requests in flight take is counted too: seconds before, and in all.
WARM, SECONDS = 0.5, 3.0

Points = dict[int, dict[str, float]]


def measure_memory(race: Race, with_mappings: bool) -> int:
    """Prints tables and a JSON line; the exit code."""
    table: dict[str, Points] = {}
    columns: dict[str, dict[str, dict[str, float]]] = {}
    for name, contestant in race.contestants.items():
        table[name] = {}
        for count in sorted({race.served[name, count] for count in race.counts}):
            with Server(name, contestant, race.network, domain_names(count)) as server:
                taken = settled(server, race.lengths.connections)
                columns[f"{name}, {count}"] = mappings.by_kind(server.processes(), server.process.pid)
            table[name][count] = taken
            race.write({"name": name, "domains": count, "memory_mb": taken, "mappings_mb": columns[f"{name}, {count}"]})
            say(f"{name}, {count} domains: {taken['private']:.1f} MB private, {taken['dirty']:.1f} dirty")
    print(as_table(table))
    if with_mappings:
        print("\n" + mappings.as_table(columns))
    print(json.dumps({"memory": {name: {**points, "each": each(points)} for name, points in table.items()}}))
    return 0


def settled(server: Server, connections: int) -> dict[str, float]:
    """Memory once every domain has been asked, two at a time, and under load."""
    jpeg = min((data_of(server.place.network) / "images").glob("*.jpg")).read_bytes()
    server.start(jpeg)

    def ask(domains: list[str]) -> None:
        client = Client(server.place.port)
        for domain in domains * ASKED:
            if not client.predict(domain, jpeg):
                raise RuntimeError(f"{server.name}: no answer for {domain}")
        client.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, (server.domains[0::2], server.domains[1::2])))
    run_load(server, Load(connections, WARM, SECONDS, 1))
    return processes.memory(server.processes())


def each(points: Points) -> dict[str, float] | None:
    """MB of one more domain between the smallest and the largest number; None with one number."""
    few, many = min(points), max(points)
    if few == many:
        return None
    return {kind: round((points[many][kind] - points[few][kind]) / (many - few), 2) for kind in points[many]}


def as_table(table: dict[str, Points]) -> str:
    lines = ["| contestant | domains | private MB | dirty MB | proportional MB |", "|---|---|---|---|---|"]
    for name, points in table.items():
        rows = {**{str(count): taken for count, taken in points.items()}, "one more": each(points)}
        for title, taken in rows.items():
            if taken:
                lines.append(f"| {name} | {title} | {taken['private']} | {taken['dirty']} | {taken['proportional']} |")
    return "\n".join(lines)
