"""The race: rounds of runs, in each round every contestant with every number of domains."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import processes
from contestants import Contestant
from environments import missing_environments, versions
from networks import NEWCOMER
from paths import HERE, REPOSITORY, data_of, environment_python
from report import Report, progress
from run import Lengths, run
from server import SUFFIX

#: Part of the available memory that a contestant's domains may take.
MEMORY_SHARE = 0.75


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def build() -> None:
    """Compiles this checkout: the service and the load generator."""
    say("building the service ...")
    subprocess.run(["npm", "run", "--silent", "build"], cwd=REPOSITORY, check=True)


def prepare(network: str, counts: dict[str, int]) -> None:
    """Makes what is missing on disk, for so many domains of each kind of file."""
    say(f"preparing {network}: {', '.join(f'{kind} of {count} domains' for kind, count in counts.items() if count)} ...")
    command = [str(environment_python("fastapi")), str(HERE / "prepare.py"), "--network", network]
    subprocess.run([*command, *(f"--{kind}={count}" for kind, count in counts.items())], check=True)


def file_bytes(network: str, kind: str) -> int:
    """Size of one domain's file."""
    (file,) = (data_of(network) / kind).glob(f"{NEWCOMER}.*")
    return file.stat().st_size


def fitting(contestant: Contestant, network: str, domains: int, available: int) -> int:
    """How many of so many domains a contestant can hold in the memory that is there."""
    each = contestant.memory_over_file * file_bytes(network, contestant.files)
    return min(domains, max(1, int(MEMORY_SHARE * available / each)))


def order(names: list[str], counts: list[int], rounds: int) -> Iterator[tuple[int, int, str]]:
    """Round, domains and contestant of each run. Each round begins with another contestant."""
    for round in range(rounds):
        turn = round % len(names)
        for count in counts:
            for name in names[turn:] + names[:turn]:
                yield round, count, name


def machine() -> dict[str, object]:
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_available_gb": round(processes.available_bytes() / 1e9, 1),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "node": subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip(),
    }


def commit() -> str:
    """The commit that races, with a plus where the checkout has changes."""
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout.strip()
    return head + ("+" if changed else "")


class Race:
    """The contestants by name, and where the rows go as they come."""

    def __init__(
        self, contestants: dict[str, Contestant], network: str, counts: list[int], lengths: Lengths, results: Path
    ):
        self.contestants = {
            name: one for name, one in contestants.items() if not one.networks or network in one.networks
        }
        for name in contestants.keys() - self.contestants.keys():
            say(f"{name} is left out: it cannot run {network}")
        self.network, self.counts, self.lengths = network, counts, lengths
        self.file = results / f"{time.strftime('%Y%m%d-%H%M%S')}-{network}.jsonl"
        self.rows: list[dict] = []
        #: Domains that a contestant really gets where so many are asked for, by its name and their number.
        self.served: dict[tuple[str, int], int] = {}

    def prepare(self) -> None:
        """
        @raise SystemExit: an environment is missing
        """
        needed = {one.environment for one in self.contestants.values() if one.environment} | {"fastapi"}
        if missing := missing_environments(needed):
            raise SystemExit(
                f"There is no virtual environment for {', '.join(missing)}. Make it with npm run race -- --setup, "
                "or name the contestants that need none of it with --peers."
            )
        build()
        # One domain of each kind shows how large they are.
        most = {kind: int(any(one.files == kind for one in self.contestants.values())) for kind in SUFFIX}
        prepare(self.network, {**most, "packs": 1})
        available = processes.available_bytes()
        for name, one in self.contestants.items():
            for count in self.counts:
                served = self.served[name, count] = fitting(one, self.network, count, available)
                most[one.files] = max(most[one.files], served)
        prepare(self.network, {**most, "packs": max(most.values())})

    def run(self, rounds: int, minutes: float) -> Report:
        """
        All runs, each written to the results' file when it ends.

        @param minutes: no round begins that would probably end later
        """
        begin = time.monotonic()
        about = {"commit": commit(), "network": self.network, "machine": machine(), "versions": versions()}
        settings = {name: one.what for name, one in self.contestants.items()}
        self.write({**about, "lengths": vars(self.lengths), "contestants": settings})
        took, round_began = 0.0, begin
        for round, count, name in order(list(self.contestants), self.counts, rounds):
            at = time.monotonic()
            if self.rows and round > self.rows[-1]["round"]:
                took, round_began = at - round_began, at
                if at - begin + took > 60 * minutes:
                    say(f"no time is left for round {round + 1} (--minutes {minutes:g})")
                    break
            contestant = self.contestants[name]
            served = self.served[name, count]
            row = run(name, contestant, self.network, count, served, round, self.lengths)
            row["load_average"] = os.getloadavg()[0]
            self.rows.append(row)
            self.write(row)
            elapsed = f"{(time.monotonic() - begin) / 60:4.1f} min"
            say(f"[{elapsed}] round {round + 1}, {count} domains, {name}: {progress(row)}")
        return Report(self.rows)

    def write(self, line: dict) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
