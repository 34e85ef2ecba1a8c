"""What went wrong with a request: the service refused it, or could not be reached."""

from __future__ import annotations

from typing import Any

import httpx


class ApiProblem(Exception):
    """An answer that is a failure.

    `code` is of the service's table of errors (`unknown` where the answer is not of this service, but of a proxy, say);
    `problems` lists everything that is wrong with the input; `index` is the position of the image, from 0;
    `retry_after` is in seconds.
    """

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None) -> None:
        super().__init__(str(problem.get("detail") or f"The answer has the status {status} and says nothing else."))
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.problems: list[str] = list(problem.get("problems", []))
        self.index: int | None = problem.get("index")
        self.request_id: str | None = problem.get("request_id")
        self.retry_after = retry_after


class Unreachable(Exception):
    """No answer came."""


def problem_of(response: httpx.Response) -> ApiProblem:
    """The failure that an answer is. Its body has been read."""
    try:
        body = response.json()
    except ValueError:
        body = None
    return ApiProblem(
        response.status_code,
        body if isinstance(body, dict) else {},
        _seconds(response.headers.get("retry-after")),
    )


def _seconds(field: str | None) -> float | None:
    try:
        seconds = float(field) if field is not None else -1.0
    except ValueError:
        return None
    return seconds if seconds >= 0 else None
