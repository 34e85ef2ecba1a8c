"""One contestant's server: its folder of domains, start, stop, and what it takes meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import processes
from client import Client
from contestants import Contestant, Place
from networks import family_folder
from paths import LOGS, PEERS, WORK, data_of

#: Kinds of files that preparation makes, one a domain.
SUFFIX = {"packs": ".safetensors", "nets": ".onnx", "int8": ".onnx"}
#: Seconds until the first answer, and from SIGTERM until a server is killed.
READY_PATIENCE, STOP_PATIENCE = 300, 15


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A context: `with Server(...) as server` starts nothing yet; leaving it ends all that was started."""

    def __init__(self, name: str, contestant: Contestant, network: str, domains: list[str]):
        self.name, self.contestant, self.domains = name, contestant, domains
        self.data = data_of(network)
        scratch = WORK / "run"
        shutil.rmtree(scratch, ignore_errors=True)
        self.place = Place(
            port=free_port(),
            network=network,
            family=family_folder(network),
            files=scratch / "files",
            frozen=self.data / "frozen.npz",
            scratch=scratch,
        )
        self.place.files.mkdir(parents=True)
        for domain in domains:
            os.link(self.prepared(domain), self.place.files / self.prepared(domain).name)
        self.client = Client(self.place.port)
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()
        shutil.rmtree(self.place.scratch, ignore_errors=True)

    def prepared(self, domain: str) -> Path:
        """The domain's file, of the kind that this contestant takes."""
        kind = self.contestant.files
        return self.data / kind / f"{domain}{SUFFIX[kind]}"

    def start(self, jpeg: bytes) -> float:
        """Seconds from the start of the process to the first answer."""
        LOGS.mkdir(parents=True, exist_ok=True)
        place, log = self.place, LOGS / f"{self.name}.log"
        env = {
            **os.environ,
            "RACE_FILES": str(place.files),
            "RACE_FAMILY": str(place.family),
            "RACE_FROZEN": str(place.frozen),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.contestant.env,
        }
        begin = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self.contestant.command(place),
                cwd=PEERS,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self.client.wait_until(self.domains[0], jpeg, READY_PATIENCE, alive=lambda: self.process.poll() is None)
        except TimeoutError as error:
            raise RuntimeError(f"{error}; its output is in {log}") from None
        return time.monotonic() - begin

    def processes(self) -> dict[int, str]:
        return processes.server_processes(self.process.pid)

    def add(self, domain: str, jpeg: bytes, best: int) -> float:
        """Seconds from a new domain's bytes in hand to its first right answer."""
        source = self.prepared(domain)
        data = source.read_bytes()
        begin = time.monotonic()
        if self.contestant.adds == "put":
            status, body = self.client.send("PUT", f"/v1/domains/{domain}", "application/octet-stream", data)
            if status not in (200, 201):
                raise RuntimeError(f"PUT of {domain}: {status} {body[:300].decode(errors='replace')}")
        else:
            part = self.place.files / "part"
            part.write_bytes(data)
            part.rename(self.place.files / source.name)
        self.client.wait_until(domain, jpeg, 30, best=best)
        return time.monotonic() - begin

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left of this server's own processes after a while."""
        if self.process is None:
            return
        started = self.processes()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                pass
        for pid, start in started.items():
            if processes.is_still(pid, start):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
