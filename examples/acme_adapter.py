"""A provider in one file, for a service that is made up. The package that ships it says in its pyproject.toml

    [project.entry-points."api_smoothing.adapters"]
    acme = "acme_adapter:load"

and `api-smooth certify cat.png --provider acme --radius 0.1` finds it. Acme takes POST /tag with pictures in base64,
and answers {"model": "3.1", "results": [{"tags": [["cat", 0.9], …]} or {"fault": "unreadable"}, …]}.
"""

import base64
import os

from urllib3 import PoolManager, exceptions

from api_smoothing.adapters import AdapterCard, Answer, BrokenContract, Label, Verdict  # isort: skip
from api_smoothing.adapters import is_sendable, missing_credentials, place, rate_quota, seconds_of, within  # isort: skip

URL = "https://vision.acme.example"
KINDS = {400: "refused", 413: "refused", 429: "throttled"}  # any other 4xx is fatal, any 5xx transient


def load(*, model="general", endpoint=None, endpoint_id=None, key=None, rate=None, timeout=30.0):
    where = endpoint_id or place(endpoint or URL)
    card = AdapterCard(
        name="acme", fingerprint=f"acme/{where}/{model}",  # all that can change an answer, and no secret
        quota_key=f"acme/{where}", quotas=(rate_quota(rate, 20.0),), usd_per_query=0.0015,
        batch=8, min_side=16, max_image_bytes=2_000_000, drift="version",
    )  # fmt: skip
    return Acme(card, f"{endpoint or URL}/tag", model, key, timeout)


class Acme:
    def __init__(self, card, url, model, key, timeout):
        self.card, self._url, self._model, self._key, self._timeout = card, url, model, key, timeout
        self._pool = PoolManager(maxsize=64, timeout=timeout, retries=False)  # the engine tries again

    def label(self, images, /):
        key = self._key or os.environ.get("ACME_KEY", "").strip()
        if not key or not is_sendable(key):
            raise missing_credentials("acme", "ACME_KEY holds no key; set it to one of your account")
        body = {"model": self._model, "pictures": [base64.b64encode(image.data).decode() for image in images]}
        options = {"json": body, "headers": {"X-Key": key}, "redirect": False}
        # The pool's timeout bounds the wait for each byte; an answer might still drip in for ever.
        reply = within(2 * self._timeout, lambda: self._pool.request("POST", self._url, **options))
        if reply.status != 200:
            raise Failed(reply.status, reply.headers.get("Retry-After"))
        try:
            told = reply.json()
            answers = [read(result, told["model"]) for result in told["results"]]
        except (LookupError, TypeError, ValueError):
            answers = []  # a missing key is not "no tags": it is no answer
        if len(answers) != len(images):
            raise BrokenContract("Acme's answer is not as documented")
        return answers

    def verdict(self, error, /):
        if isinstance(error, Failed):
            status, wait = error.args
            kind = KINDS.get(status, "fatal" if status < 500 else "transient")
            return Verdict(kind=kind, message=f"Acme answered {status}", retry_after=seconds_of(wait))
        if isinstance(error, (exceptions.NewConnectionError, exceptions.ConnectTimeoutError)):
            return Verdict(kind="transient", message="cannot connect to Acme; check the network", sent=False)
        if isinstance(error, (BrokenContract, exceptions.HTTPError, TimeoutError)):  # it may have cost
            return Verdict(kind="transient", message=f"no answer from Acme ({type(error).__name__})")
        return Verdict(kind="fatal", message=f"{type(error).__name__}: {error}")


class Failed(Exception):
    """Acme's answer was no success: its status and Retry-After."""


def read(result, version):
    if "fault" in result:
        return Verdict(kind="refused", message="Acme cannot read this picture")
    tags = [(str(name), float(score)) for name, score in result["tags"]]
    if not version or not all(0 <= score <= 1 for _, score in tags):
        raise ValueError
    return Answer(labels=tuple(Label(name=name, score=score) for name, score in tags), model_version=version)
