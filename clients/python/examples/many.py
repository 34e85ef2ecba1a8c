"""Classifies the images of a folder, eight at a time, and prints the answers in order.

    python clients/python/examples/many.py eurosat samples/eurosat
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from facet_client import AsyncClient

AT_ONCE = 8


async def main(domain: str, folder: str) -> None:
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    places = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(os.environ.get("FACET_CLIENT_URL", "http://127.0.0.1:8080")) as facet:

        async def label(file: Path) -> str:
            async with places:
                [result] = await facet.predict(domain, file, top_k=1)
            return result["predictions"][0]["label"]

        for file, found in zip(files, await asyncio.gather(*map(label, files))):
            print(file, found)


asyncio.run(main(sys.argv[1], sys.argv[2]))
