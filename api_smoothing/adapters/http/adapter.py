"""Any JSON endpoint that a TOML file describes; `schema` lists what such a file says."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from api_smoothing.adapters import (
    AdapterCard,
    Answer,
    BrokenContract,
    Credentials,
    EncodedImage,
    OtherWords,
    Verdict,
    check_encrypted,
    is_sendable,
    missing_credentials,
    one_line,
    place,
    place_of,
    rate_quota,
    seconds_limit,
)
from api_smoothing.adapters.http.answer import parse, read
from api_smoothing.adapters.http.client import Client
from api_smoothing.adapters.http.description import describe, secrets_of, shipped, url_problem
from api_smoothing.adapters.http.errors import of_answer, of_connection
from api_smoothing.adapters.http.schema import Description
from api_smoothing.errors import ApiSmoothError, ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

#: The statuses of an answer that is whole. Another success says that it comes later, in parts, or not at all.
_ANSWERS: Final = (200, 201, 203)


def load(
    *,
    model: str | Path | None = None,
    endpoint: str | None = None,
    endpoint_id: str | None = None,
    key: str | None = None,
    usd_per_query: float | None = None,
    rate: float | None = None,
    timeout: float = 30.0,
    version_at: str | Sequence[str] | None = None,
    **variables: Any,
) -> HttpAdapter:
    """The endpoint that `model` describes: the path of a .toml file, or the name of a description that ships.

    `endpoint` takes the place of the description's url; when it has no path of its own, of scheme and host
    only, and when its path ends as the description's begins (http://host/v1), of what comes before that.
    `endpoint_id` then names it in the fingerprint. `key` stands for the one environment variable that the
    description takes its key from. `usd_per_query` replaces the description's price, and `rate` (images per
    second) its image quotas. `timeout` is in seconds, once to connect and once to wait for a byte; a call takes
    at most twice that. `version_at` are the paths of the model's version in place of the description's: without
    the part that changes where versions take turns behind one address. `variables` are those of the description.

    Raises ConfigurationError, one line with the file and the key. Needs no credentials and no network.
    """
    description = describe(model, variables, usd_per_query, version_at)
    if key is not None and len(description.secrets) != 1:
        named = ", ".join(description.secrets) or "none"
        raise ConfigurationError(
            f"key= needs a description with one environment variable, and {model} has {named}"
        )
    url = _moved(description.url, endpoint)
    where = f"http/{description.name}/{endpoint_id if endpoint and endpoint_id else place(url)}"
    quotas = description.quotas
    if rate is not None:
        quotas = (rate_quota(rate, rate), *(quota for quota in quotas if quota.unit == "request"))
    limits: Mapping[str, Any] = description.limits
    card = AdapterCard(
        name=f"http/{description.name}",
        fingerprint=f"{where} {description.digest}",
        labels=description.answer.classes,
        usd_per_query=description.usd_per_query,
        quotas=quotas,
        quota_key=where,
        drift="version" if any(not path.optional for path in description.answer.version) else "canary",
        end_of_life=description.end_of_life,
        place=endpoint_id or place_of(url, own=[urlsplit(description.url).hostname or ""]),
        **limits,
    )
    given = {} if key is None else {description.secrets[0]: key}
    return HttpAdapter(
        card=card,
        description=description,
        url=url,
        given=given,
        timeout=seconds_limit(timeout),
        model=model,
        options={
            **variables,
            "endpoint": endpoint,
            "usd_per_query": usd_per_query,
            "version_at": version_at,
        },
    )


def credentials(*, model: str | Path | None = None) -> Credentials:
    """Whether the environment variables of a description are set; without `model`, of any that ships."""
    needed = {source: secrets_of(source) for source in ([*shipped()] if model is None else [model])}
    for source, names in needed.items():
        if all(os.environ.get(name) for name in names):
            return Credentials(found=True, source=f"{' and '.join(names) or 'none needed'} ({source})")
    missing = "; ".join(f"{' and '.join(names)} for {source}" for source, names in needed.items())
    return Credentials(found=False, source=f"set what the description names: {missing}")


class Failed(Exception):
    """A request that failed, with what that means; unlike the errors of `requests`, it quotes no address."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class HttpAdapter:
    """A described endpoint. Thread-safe; every call is one request."""

    def __init__(
        self,
        *,
        card: AdapterCard,
        description: Description,
        url: str,
        given: Mapping[str, str],
        timeout: float,
        model: object,
        options: Mapping[str, Any],
    ) -> None:
        self.card = card
        self._description, self._url, self._given, self._timeout = description, url, given, timeout
        self._model, self._options = model, options
        self._secrets = _hidden(given)
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._process = 0
        #: Those of the environment that the description names.
        self.variables = tuple(description.secrets)

    def connect(self) -> None:
        """Look up the credentials and make the client, without a request. Raises CredentialsError."""
        self._connected()

    def find_credentials(self) -> None:
        """Raise CredentialsError unless every variable that the description names has a value that can be sent."""
        self._found()

    def label(self, images: Sequence[EncodedImage] | Tensor, /) -> list[Answer | Verdict]:
        queries = [image for image in images if isinstance(image, EncodedImage)]
        if len(queries) != len(images) or not 1 <= len(queries) <= self.card.batch:
            raise ConfigurationError(
                f"{self.card.name} takes 1 to {self.card.batch} encoded images a call, not {len(images)}"
            )
        client = self._connected()
        try:
            reply = client.send(queries)
        except (BrokenContract, ApiSmoothError):
            raise
        except Exception as error:
            raise self._failed(of_connection(error, urlsplit(self._url).netloc, self._timeout)) from None
        if reply.status not in _ANSWERS:
            raise self._failed(of_answer(self._description, reply, urlsplit(self._url).path))
        answers = read(self._description, parse(reply.body), len(queries), self.verdict)
        request = reply.headers.get("x-request-id")
        return [
            self._clean(answer) if isinstance(answer, Verdict) else replace(answer, request_id=request)
            for answer in answers
        ]

    def verdict(self, error: Exception, /) -> Verdict:
        if isinstance(error, Failed):
            return error.verdict
        if isinstance(error, BrokenContract):
            verdict = Verdict(
                kind="broken",
                message=f"{self.card.name}: {error}; it is no vote",
                of_image=isinstance(error, OtherWords),
            )
        elif isinstance(error, ApiSmoothError):
            verdict = Verdict(kind="fatal", message=str(error), sent=False)
        else:
            verdict = Verdict(kind="fatal", message=f"{self.card.name} failed: {type(error).__name__}")
        return self._clean(verdict)

    def _found(self) -> dict[str, str]:
        """The values of the variables that the description names."""
        secrets = {name: self._secret(name) for name in self._description.secrets}
        if secrets:
            named = "endpoint" if self._options.get("endpoint") else "url"
            check_encrypted(self._url, named=named, allowed=self._description.plain_http)
        return secrets

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None or self._process != os.getpid():  # connections do not survive a fork
                secrets = self._found()
                self._secrets = _hidden(secrets)
                self._client = Client(
                    self._description, url=self._url, secrets=secrets, timeout=self._timeout
                )
                self._process = os.getpid()
            return self._client

    def _secret(self, name: str) -> str:
        value = (self._given.get(name) or os.environ.get(name, "")).strip()
        problem = ""
        if not value:
            problem = f"{name} is not set; set it to the key of {self._description.name}"
        elif not is_sendable(value):
            problem = f"{name} has a space or a line break in it; set it anew"
        if problem:
            raise missing_credentials("http", problem, model=self._model, options=self._options)
        return value

    def _failed(self, verdict: Verdict) -> Failed:
        return Failed(self._clean(verdict))

    def _clean(self, verdict: Verdict) -> Verdict:
        return replace(verdict, message=one_line(verdict.message, secrets=self._secrets, limit=400))


def _hidden(secrets: Mapping[str, str]) -> tuple[str, ...]:
    """Secrets in every form in which they travel, to be taken out of messages."""
    return tuple(form for value in secrets.values() for form in (value, quote(value), quote(value, safe="")))


def _moved(url: str, endpoint: str | None) -> str:
    if endpoint is None:
        return url
    if problem := url_problem(endpoint):
        raise ConfigurationError(f"endpoint {problem}")
    to, usual = urlsplit(endpoint), urlsplit(url)
    given, steps = _steps(to.path), _steps(usual.path)
    shared = next((k for k in range(len(steps), -1, -1) if given[len(given) - k :] == steps[:k]), 0)
    if given and not shared:
        return endpoint
    path = "/".join(["", *given, *steps[shared:]]) if given else usual.path
    return usual._replace(scheme=to.scheme, netloc=to.netloc, path=path).geturl()


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step]
