"""The networks that are raced: where each one's family and packs come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paths import REPOSITORY, data_of

#: The domain that is added during a run.
NEWCOMER = "newcomer"


def domain_names(count: int) -> list[str]:
    return [f"d{index:04d}" for index in range(count)]


@dataclass(frozen=True)
class Network:
    what: str
    #: Random weights, drawn by bench/race/families.ts into the data folder; otherwise what the repository ships.
    random: bool
    #: Counts of domains that are raced unless others are named.
    domains: tuple[int, ...]

    def family(self, data: Path) -> Path:
        return data / "family" if self.random else REPOSITORY / "models" / "resnet26-half"

    def sources(self, data: Path) -> Path:
        """Packs of which more domains are made."""
        return data / "sources" if self.random else REPOSITORY / "adapters" / "resnet26-half"


NETWORKS = {
    "half": Network("ResNet-26 at 64x64, half width: the shipped family and its trained packs", False, (10, 50)),
    "full": Network("ResNet-26 at 64x64, the paper's full width, random weights", True, (10,)),
    "resnet50": Network("ResNet-50 at 224x224, random weights", True, (1,)),
}


def family_folder(network: str) -> Path:
    return NETWORKS[network].family(data_of(network))
