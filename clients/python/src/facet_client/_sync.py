"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, cast

import httpx

from . import _requests
from ._errors import Unreachable
from ._images import Image
from ._requests import DEFAULT_RETRIES, DEFAULT_TIMEOUT, DEFAULT_URL, Images, Request
from ._types import Domain, DomainDetails, Embedding, Families, Family, ListedDomain, PredictionResult, Uploaded


class Client:
    """The API as methods. `with` closes the connections at the end.

    All methods raise `ApiProblem` where the service refuses, and `Unreachable` where no answer comes. A request for
    which there is no room now (429, 503), or that got no answer, is sent again, after the time that the service names; a
    request with a condition, or a DELETE, that got no answer is not: it may have been done.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        retries: int = DEFAULT_RETRIES,
        timeout: float = DEFAULT_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout` is in seconds, for connecting, sending and each part of the answer; `transport` is httpx's, for
        tests and proxies."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self._retries = retries

    def predict(
        self,
        domain: str,
        images: Images,
        *,
        top_k: int | None = None,
        version: str | None = None,
        timeout_ms: int | None = None,
    ) -> list[PredictionResult]:
        """A result for each image, in order. An image is bytes or the path of a file."""
        answer = self._json(_requests.predict(domain, images, top_k, version, timeout_ms))
        return cast("list[PredictionResult]", answer["results"])

    def predict_mixed(
        self, images: Iterable[tuple[str, Image]], *, top_k: int | None = None, timeout_ms: int | None = None
    ) -> list[PredictionResult]:
        """Images of several domains in one request, each with its domain."""
        answer = self._json(_requests.predict_mixed(images, top_k, timeout_ms))
        return cast("list[PredictionResult]", answer["results"])

    def embed(
        self, domain: str, images: Images, *, version: str | None = None, timeout_ms: int | None = None
    ) -> list[Embedding]:
        """The features of each image, with the domain's adapter."""
        answer = self._json(_requests.embed(domain, images, version, timeout_ms))
        return cast("list[Embedding]", answer["results"])

    def domains(self) -> Iterable[ListedDomain]:
        """All domains, in the order of their ids; pages are asked for as they are needed."""
        cursor: str | None = None
        while True:
            page = self._json(_requests.list_domains(cursor))
            for domain in page["domains"]:
                yield cast(ListedDomain, domain)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def domain(self, domain: str) -> DomainDetails:
        """One domain: its versions, and what its pack says of itself."""
        return cast(DomainDetails, self._json(_requests.get_domain(domain)))

    def card(self, domain: str) -> str:
        """What a domain is, as Markdown."""
        return self._send(_requests.get_card(domain)).text

    def put(
        self, domain: str, pack: Image, *, activate: bool = True, create: bool = False, if_version: str | None = None
    ) -> Uploaded:
        """Registers a pack (bytes, or the path of its file). `create` refuses where the domain exists."""
        return cast(Uploaded, self._json(_requests.put_domain(domain, pack, activate, create, if_version)))

    def activate(self, domain: str, version: str, *, if_version: str | None = None) -> Domain:
        """Switches a domain to one of its versions: in full, or its first digits."""
        return cast(Domain, self._json(_requests.activate(domain, version, if_version)))

    def pin(self, domain: str, pinned: bool = True, *, if_version: str | None = None) -> Domain:
        """Keeps a domain in memory, or no longer."""
        return cast(Domain, self._json(_requests.pin(domain, pinned, if_version)))

    def remove(self, domain: str, *, version: str | None = None, if_version: str | None = None) -> None:
        """Deletes a domain, or one of its versions."""
        self._send(_requests.remove(domain, version, if_version))

    def pack(self, domain: str, *, version: str | None = None) -> tuple[str, bytes]:
        """The version and the bytes of a domain's pack."""
        response = self._send(_requests.get_pack(domain, version))
        return response.headers["etag"].strip('"'), response.content

    def families(self) -> Families:
        return cast(Families, self._json(_requests.get_families()))

    def family(self, name: str | None = None) -> Family:
        """A family; the first one where no name is given."""
        return cast(Family, self._json(_requests.get_family(name)))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _json(self, request: Request) -> Any:
        return self._send(request).json()

    def _send(self, request: Request) -> httpx.Response:
        tries = 0
        while True:
            failure: Exception | None
            try:
                response = self._http.request(**request.arguments())
                failure = _requests.failure_of(response)
                if failure is None:
                    return response
            except httpx.TransportError as error:
                failure = Unreachable(f"The service at {self._http.base_url} does not answer: {error}")
                failure.__cause__ = error
            seconds = _requests.wait_before_retry(request, failure, tries, self._retries)
            if seconds is None:
                raise failure
            time.sleep(seconds)
            tries += 1
