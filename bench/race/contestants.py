"""
Who races. One entry here and one file in `peers/` make a contestant; a virtual environment of its own needs a
list of packages in `requirements/` too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from paths import PEERS, REPOSITORY, environment_python

#: Adapters and heads that the service keeps unless told (`--bank-memory`), less some room.
BANK_BYTES = 0.9 * 2**30


@dataclass(frozen=True)
class Place:
    """What a contestant is started with."""

    port: int
    network: str
    family: Path
    #: Folder with one file a domain, of the kind that the contestant takes.
    files: Path
    #: The trunk's convolutions, as NumPy's `.npz`.
    frozen: Path
    #: A folder that is empty at the start and removed afterwards.
    scratch: Path


@dataclass(frozen=True)
class Contestant:
    #: Settings in words, for the report.
    what: str
    command: Callable[[Place], list[str]]
    #: Files that it takes, as preparation makes them: `packs`, `nets` (dedicated networks) or `int8` (those quantised).
    files: str
    #: Name of its virtual environment; None: it runs on Node.
    environment: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    #: How a domain is added: `put`, by the service's API, or `file`, one more file in the folder.
    adds: str = "file"
    #: Networks that it can run; none named: all.
    networks: tuple[str, ...] = ()
    #: Largest difference of a score where no image is resized; None: reported and not judged.
    tolerance: float | None = 1e-5
    #: Memory of a domain over the size of its file, to see how many fit.
    memory_over_file: float = 1.0
    #: It races only where it is named.
    extra: bool = False

#: As `npm start` has it.
FACET_ENV = {"MALLOC_ARENA_MAX": "2"}


def facet(*flags: str) -> Callable[[Place], list[str]]:
    """The service of this checkout, with more flags than the race needs itself."""

    def command(place: Place) -> list[str]:
        return [
            *("node", str(REPOSITORY / "dist" / "src" / "cli.js"), "serve", "--port", str(place.port)),
            *("--family", str(place.family), "--adapters", str(place.files), "--data", str(place.scratch / "store")),
            *("--log-level", "warn", *bank_memory(place.files, flags), *flags),
        ]

    return command


def bank_memory(packs: Path, flags: tuple[str, ...]) -> list[str]:
    """Room for all packs, which are of half precision on disk and of single precision in the bank."""
    needed = 2 * sum(pack.stat().st_size for pack in packs.iterdir())
    if needed <= BANK_BYTES or "--bank-memory" in flags:
        return []
    return ["--bank-memory", f"{int(needed * 1.2 / 2**20)}MiB"]


def uvicorn(environment: str, application: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        return [
            *(str(environment_python(environment)), "-m", "uvicorn", f"{application}:app", "--app-dir", str(PEERS)),
            *("--host", "127.0.0.1", "--port", str(place.port), "--loop", "uvloop", "--http", "httptools"),
            *("--no-access-log", "--log-level", "warning"),
        ]

    return command


FASTAPI = Contestant(
    what="FastAPI, uvicorn (uvloop, httptools), one process; a dedicated onnxruntime session a domain, one thread each, no "
    "spinning, one arena for all, heap trimmed after loading; a thread pool as large as there are cores",
    command=uvicorn("fastapi", "fastapi_onnxruntime"),
    files="nets",
    environment="fastapi",
    memory_over_file=1.3,
)
TORCH = Contestant(
    what="FastAPI as above over PyTorch: frozen convolutions once, adapters of each domain beside them; one thread a request",
    command=uvicorn("torch", "fastapi_torch"),
    files="packs",
    environment="torch",
    env={"OPENBLAS_NUM_THREADS": "1"},
    networks=("half", "full"),
    memory_over_file=2.5,
)

CONTESTANTS = {
    "facet": Contestant(
        what="facet serve, defaults, with the allocator as `npm start` sets it",
        command=facet(),
        files="packs",
        env=FACET_ENV,
        adds="put",
        # The add-on's JPEG decoder rounds otherwise than libjpeg: 0.012 were found.
        tolerance=0.02,
        memory_over_file=2.5,
    ),
    "fastapi": FASTAPI,
    "torch": TORCH,
    # Other networks: faster and smaller, and their answers are not the same.
    "facet-int8": Contestant(
        what="facet serve --precision int8: the trunk's convolutions in 8 bits, adapters in float32",
        command=facet("--precision", "int8"),
        files="packs",
        env=FACET_ENV,
        adds="put",
        # Random families are drawn without graphs in 8 bits.
        networks=("half",),
        tolerance=None,
        memory_over_file=2.5,
        extra=True,
    ),
    "fastapi-int8": replace(
        FASTAPI,
        what="fastapi over dedicated networks that onnxruntime's tools quantised to 8 bits",
        files="int8",
        tolerance=None,
        memory_over_file=2.0,
        extra=True,
    ),
    # Other settings of the same, to see that each is at its best.
    "fastapi-own-arenas": replace(FASTAPI, what="fastapi with onnxruntime's default arenas", env={"RACE_ARENA": "own"}, extra=True),
    "fastapi-no-arena": replace(FASTAPI, what="fastapi without arenas", env={"RACE_ARENA": "none"}, extra=True),
    "fastapi-untrimmed": replace(FASTAPI, what="fastapi, heap not trimmed", env={"RACE_TRIM": "0"}, extra=True),
    "fastapi-defaults": replace(
        FASTAPI,
        what="fastapi with onnxruntime's default arenas, heap not trimmed",
        env={"RACE_ARENA": "own", "RACE_TRIM": "0"},
        extra=True,
    ),
    "fastapi-one-at-a-time": replace(
        FASTAPI,
        what="fastapi, one request at a time on all cores: latency first",
        env={"RACE_POOL": "1", "RACE_INTRA": str(os.cpu_count())},
        extra=True,
    ),
    "torch-channels-last": replace(
        TORCH, what="torch, channels last", env={**TORCH.env, "RACE_CHANNELS_LAST": "1"}, extra=True
    ),
}
