"""The API's requests, and what may be sent again: all that the synchronous and the asynchronous client share.

What got no answer may have been done all the same. Most requests may be sent twice, since what they change is then as it was
asked for already. Those with a condition and DELETE are not: the second answer would say that it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union
from urllib.parse import quote

import httpx

from ._errors import ApiProblem, problem_of
from ._images import Image, read

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_RETRIES = 5
DEFAULT_TIMEOUT = 60.0
"""Seconds for one try."""
FIRST_WAIT = 0.25
"""Seconds, where the service names no time; doubled with each try."""
MAX_WAIT = 30.0
LATER = (429, 503)
"""The service is full, or not ready."""
NEVER = "domain_failed"
"""Of these statuses, what no waiting mends."""
RAW = "application/octet-stream"

Images = Union[Image, Sequence[Image]]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: list[tuple[str, tuple[str, bytes]]] | None = None
    json: Any = None

    def arguments(self) -> dict[str, Any]:
        """What `httpx.Client.request` takes."""
        return {
            "method": self.method,
            "url": self.path,
            "params": {name: _text(value) for name, value in self.params.items() if value is not None},
            "headers": dict(self.headers),
            "content": self.content,
            "files": self.files,
            "json": self.json,
        }


def wait_before_retry(request: Request, failure: Exception, tries: int, retries: int) -> float | None:
    """Seconds to wait before the request is sent again; None where it is not."""
    if isinstance(failure, ApiProblem):
        later = failure.status in LATER and failure.code != NEVER
    else:
        conditional = any(name.lower() in ("if-match", "if-none-match") for name in request.headers)
        later = request.method != "DELETE" and not conditional
    if tries >= retries or not later:
        return None
    asked = failure.retry_after if isinstance(failure, ApiProblem) else None
    return min(FIRST_WAIT * 2**tries if asked is None else asked, MAX_WAIT)


def failure_of(response: httpx.Response) -> ApiProblem | None:
    return None if response.is_success else problem_of(response)


def predict(domain: str, images: Images, top_k: int | None, version: str | None, timeout_ms: int | None) -> Request:
    return _with_images(f"{_path(domain)}/predict", images, {"top_k": top_k, "version": version}, timeout_ms)


def embed(domain: str, images: Images, version: str | None, timeout_ms: int | None) -> Request:
    return _with_images(f"{_path(domain)}/embed", images, {"version": version}, timeout_ms)


def predict_mixed(images: Iterable[tuple[str, Image]], top_k: int | None, timeout_ms: int | None) -> Request:
    files = [(domain, ("image", read(image))) for domain, image in images]
    return Request("POST", "/v1/predict", {"top_k": top_k}, _deadline(timeout_ms), files=files)


def list_domains(cursor: str | None) -> Request:
    return Request("GET", "/v1/domains", {"limit": 1000, "cursor": cursor})


def get_domain(domain: str) -> Request:
    return Request("GET", _path(domain))


def get_card(domain: str) -> Request:
    return Request("GET", f"{_path(domain)}/card")


def put_domain(domain: str, pack: Image, activate: bool, create: bool, if_version: str | None) -> Request:
    headers = {**_if_match(if_version), "content-type": RAW, **({"if-none-match": "*"} if create else {})}
    return Request("PUT", _path(domain), {"activate": activate}, headers, content=read(pack))


def activate(domain: str, version: str, if_version: str | None) -> Request:
    return Request("POST", f"{_path(domain)}/activate", {}, _if_match(if_version), json={"version": version})


def pin(domain: str, pinned: bool, if_version: str | None) -> Request:
    return Request("PATCH", _path(domain), {}, _if_match(if_version), json={"pinned": pinned})


def remove(domain: str, version: str | None, if_version: str | None) -> Request:
    path = _path(domain) if version is None else f"{_path(domain)}/versions/{quote(version, safe='')}"
    return Request("DELETE", path, {}, _if_match(if_version))


def get_pack(domain: str, version: str | None) -> Request:
    return Request("GET", f"{_path(domain)}/pack", {"version": version})


def get_families() -> Request:
    return Request("GET", "/v1/families")


def get_family(name: str | None) -> Request:
    return Request("GET", "/v1/family" if name is None else f"/v1/families/{quote(name, safe='')}")


def _with_images(path: str, images: Images, params: Mapping[str, Any], timeout_ms: int | None) -> Request:
    headers = _deadline(timeout_ms)
    if isinstance(images, Sequence) and not isinstance(images, (bytes, str)):
        files = [("image", ("image", read(image))) for image in images]
        return Request("POST", path, params, headers, files=files)
    return Request("POST", path, params, {**headers, "content-type": RAW}, content=read(images))


def _path(domain: str) -> str:
    return f"/v1/domains/{quote(domain, safe='')}"


def _deadline(timeout_ms: int | None) -> dict[str, str]:
    return {} if timeout_ms is None else {"x-request-timeout": str(timeout_ms)}


def _if_match(version: str | None) -> dict[str, str]:
    return {} if version is None else {"if-match": f'"{version}"'}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
