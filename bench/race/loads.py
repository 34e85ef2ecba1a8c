"""The load generator's process, and the server's CPU time over the window in which answers count."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import processes
from client import PATH
from paths import compiled
from server import Server

#: A request that is not answered in this time has failed, seconds.
TIMEOUT = 20


@dataclass(frozen=True)
class Load:
    connections: int
    warm: float
    seconds: float
    seed: int


class Running:
    """A load in progress."""

    def __init__(self, server: Server, load: Load):
        self.server = server
        job = {
            "url": f"http://127.0.0.1:{server.place.port}",
            "path": PATH,
            "domains": server.domains,
            "connections": load.connections,
            "warmSeconds": load.warm,
            "seconds": load.seconds,
            "seed": load.seed,
            "timeoutSeconds": TIMEOUT,
        }
        command = ["node", str(compiled("load-process.js")), str(server.data / "images"), json.dumps(job)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def wait_for(self, event: str) -> dict:
        """The next line, which must be of this event."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended with {self.process.wait()} before `{event}`")
        said = json.loads(line)
        if said["event"] != event:
            raise RuntimeError(f"the load generator said {said['event']} where {event} comes")
        return said

    def rest(self) -> dict:
        """The result, with the server's `cpu_seconds` over the window. Call it after `wait_for("begin")`."""
        before = processes.cpu_seconds(self.server.processes())
        self.wait_for("end")
        after = processes.cpu_seconds(self.server.processes())
        result = self.wait_for("result")
        self.process.wait()
        return {**result, "cpu_seconds": processes.cpu_between(before, after)}

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdout.close()
        self.process.wait()


def run_load(server: Server, load: Load) -> dict:
    running = Running(server, load)
    try:
        running.wait_for("begin")
        return running.rest()
    finally:
        running.stop()
