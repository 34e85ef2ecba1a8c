"""Where everything of the race lies. Nothing outside `WORK` is written."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PEERS = HERE / "peers"
#: What setup, preparation and runs write; ignored by git. `RACE_WORK` names another folder.
WORK = Path(os.environ.get("RACE_WORK") or HERE / ".work").resolve()
LOGS = WORK / "logs"
RESULTS = WORK / "results"


def environment_python(name: str) -> Path:
    """The interpreter of one of the race's virtual environments."""
    return WORK / f"venv-{name}" / "bin" / "python"


def data_of(network: str) -> Path:
    """What was prepared for a network: family, packs, dedicated networks, images, expected answers."""
    return WORK / "data" / network


def compiled(script: str) -> Path:
    """A script of `bench/race` as `npm run build` leaves it."""
    return REPOSITORY / "dist" / "bench" / "race" / script
