"""Single requests to a contestant: to see that it is ready and that it answers as it should."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path

PATH = "/v1/domains/{domain}/predict"
#: A connection that was idle for longer is not used again: servers close those, uvicorn after five seconds.
IDLE_SECONDS = 2


class Client:
    """One kept connection."""

    def __init__(self, port: int):
        self.port = port
        self.connection: http.client.HTTPConnection | None = None
        self.used = 0.0

    def send(self, method: str, path: str, type: str, body: bytes, timeout: float = 60) -> tuple[int, bytes]:
        if time.monotonic() - self.used > IDLE_SECONDS:
            self.close()
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            self.connection.request(method, path, body, {"Content-Type": type})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        finally:
            self.used = time.monotonic()

    def predict(self, domain: str, jpeg: bytes) -> list[tuple[int, float]] | None:
        """The best classes by index with their scores, best first; None where the answer is another than 200."""
        status, body = self.send("POST", PATH.format(domain=domain), "image/jpeg", jpeg)
        if status != 200:
            return None
        (result,) = json.loads(body)["results"]
        return [(one["index"], one["score"]) for one in result["predictions"]]

    def wait_until(self, domain: str, jpeg: bytes, patience: float, alive=lambda: True, best: int | None = None) -> int:
        """
        Asks until there is an answer, and where `best` is given until it is right; returns how often it asked.
        Raises TimeoutError after `patience` seconds, or at once where `alive` says no.
        """
        until, asked = time.monotonic() + patience, 0
        while alive():
            asked += 1
            try:
                answer = self.predict(domain, jpeg)
                if answer and best in (None, answer[0][0]):
                    return asked
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > until:
                raise TimeoutError(f"no right answer for {domain} in {patience:g} s")
            time.sleep(0.01)
        raise TimeoutError("the server ended")

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def compare(client: Client, expected: dict, domains: list[str], data: Path) -> dict[str, object]:
    """
    Answers against those of the dedicated networks on training's pixels.

    `difference`: the largest of a score, on images that no one resizes. `other_class` of those images: how many
    get another best class. `agreement`: percent of the resized images with the same best class, which shows
    what a fast decoder costs.
    """
    difference, other, exact, same, resized = 0.0, 0, 0, 0, 0
    for domain in (name for name in domains if name in expected):
        for file, rows in expected[domain]["exact"].items():
            answer = client.predict(domain, (data / "exact" / file).read_bytes()) or []
            scores = dict(answer)
            difference = max(difference, *(abs(scores.get(index, 0.0) - score) for index, score in rows[:3]))
            other += not answer or answer[0][0] != rows[0][0]
            exact += 1
        for file, rows in list(expected[domain]["images"].items())[::4]:
            answer = client.predict(domain, (data / "images" / file).read_bytes())
            same += bool(answer) and answer[0][0] == rows[0][0]
            resized += 1
    return {
        "difference": difference,
        "other_class": other,
        "exact": exact,
        "agreement": round(100 * same / resized, 1) if resized else None,
    }
