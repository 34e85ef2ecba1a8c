"""The FastAPI application that the Python peers share: JPEG in, the five best labels out, as the service answers."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

#: One file a domain. One that appears there later is a new domain: the peers have no call to register one.
FILES = os.environ["RACE_FILES"]
#: Requests that are worked on at once.
POOL = int(os.environ.get("RACE_POOL") or os.cpu_count())


class UnknownDomain(KeyError):
    pass


class Domains:
    """What was loaded for each domain: all files at the start, later ones when they are first asked for."""

    def __init__(
        self, suffix: str, load: Callable[[str], Any], every: int = 1, between: Callable[[], None] = lambda: None
    ):
        """
        @param load: a file's path to what is kept of it
        @param between: called at the start after each `every` files, and after the last one
        """
        self.suffix, self.load = suffix, load
        self.loaded: dict[str, Any] = {}
        self.lock = threading.Lock()
        for number, name in enumerate(sorted(os.listdir(FILES)), 1):
            if name.endswith(suffix):
                self.get(name.removesuffix(suffix))
            if number % every == 0:
                between()
        between()

    def get(self, domain: str) -> Any:
        found = self.loaded.get(domain)
        if found is not None:
            return found
        path = os.path.join(FILES, domain + self.suffix)
        if "/" in domain or not os.path.exists(path):
            raise UnknownDomain(domain)
        with self.lock:
            if domain not in self.loaded:
                self.loaded[domain] = self.load(path)
            return self.loaded[domain]


def best(domain: str, labels: list[str], scores: np.ndarray) -> dict:
    """The answer's body."""
    count = min(5, len(scores))
    top = np.argpartition(-scores, count - 1)[:count]
    predictions = [{"label": labels[k], "index": int(k), "score": float(scores[k])} for k in top[np.argsort(-scores[top])]]
    return {"results": [{"domain": domain, "predictions": predictions}]}


def application(answer: Callable[[str, bytes], dict]) -> FastAPI:
    """@param answer: a domain and a JPEG to the answer's body, in a thread of the pool"""
    app, pool = FastAPI(), ThreadPoolExecutor(POOL)

    def work(domain: str, jpeg: bytes) -> bytes:
        return orjson.dumps(answer(domain, jpeg))

    @app.post("/v1/domains/{domain}/predict")
    async def predict(domain: str, request: Request) -> Response:
        jpeg = await request.body()
        try:
            body = await asyncio.get_running_loop().run_in_executor(pool, work, domain, jpeg)
        except UnknownDomain:
            return Response('{"code": "unknown_domain"}', 404, media_type="application/json")
        return Response(body, media_type="application/json")

    return app
