"""A provider's service on loopback: `with Sandbox("aws") as sandbox: …`. Free of charge, no account needed."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from api_smoothing.errors import ConfigurationError, unknown
from api_smoothing.sandbox.faults import Faults
from api_smoothing.sandbox.meter import Meter

if TYPE_CHECKING:
    from api_smoothing.adapters.provider import SandboxDeclaration
    from api_smoothing.sandbox.classifier import Classifier


class Front(Protocol):
    """A server of one provider's wire protocol. It reads the sandbox's settings anew for every request."""

    def start(self) -> int:
        """Listen on 127.0.0.1 and serve in threads; returns the port. Raises ConfigurationError if it is taken."""
        ...

    def stop(self) -> None:
        """Refuse new requests, end those in progress, held ones too, and close the port."""
        ...


def providers() -> tuple[str, ...]:
    """The providers that have a sandbox, those of plugins too."""
    from api_smoothing.adapters import registry

    return tuple(sorted(found.name for found in registry.declared() if found.sandbox is not None))


def declaration_of(provider: str) -> SandboxDeclaration:
    """What a provider declares about its sandbox. Raises ConfigurationError where there is none."""
    from api_smoothing.adapters import registry

    found = registry.find(provider)
    if found is None or found.sandbox is None:
        raise ConfigurationError(unknown("sandbox", provider, providers()))
    return found.sandbox


class Sandbox:
    """One provider's service with a classifier of ours, served by threads of this process while the `with` lasts.

    `provider` is one that declares a sandbox (`providers()`), a plugin's too. `classifier` turns images into class
    scores (None: the bundled classifier). `latency` is in seconds a request, `rate` in images a second, beyond which
    the provider's own throttle answers (None: no limit). `version` is the model version answers carry, `key` the one
    credential let in (None: a random token), `port` the one to listen on (0: any free one), `micro_usd` the price of
    an image in millionths of a dollar (None: the list price).

    `classifier`, `faults`, `latency`, `rate`, `version`, `meter` and `drip` (seconds between the bytes of a "drip")
    may be replaced while it runs. Raises ConfigurationError for settings out of range.
    """

    def __init__(
        self,
        provider: str,
        *,
        classifier: Classifier | None = None,
        faults: Faults | None = None,
        latency: float = 0.0,
        rate: float | None = None,
        version: str | None = None,
        key: str | None = None,
        port: int = 0,
        micro_usd: int | None = None,
    ) -> None:
        self.declared = declaration_of(provider)
        if not (math.isfinite(latency) and latency >= 0):
            raise ConfigurationError(f"the latency is in seconds and at least 0, not {latency}")
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ConfigurationError(f"the rate is in images a second and above 0, not {rate}")
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"a port is 0 (any free one) to 65535, not {port}")
        self.provider, self.port = provider, port
        self.faults = Faults() if faults is None else faults
        self.latency, self.rate, self.drip = latency, rate, 0.1
        self.version = self.declared.version if version is None else version
        self.key = secrets.token_hex(16) if key is None else key
        self.meter = Meter(micro_usd=self.declared.micro_usd if micro_usd is None else micro_usd)
        self._classifier = classifier
        self._front: Front | None = None
        self._port = 0

    def __repr__(self) -> str:
        return f"Sandbox({self.provider!r}, {'port=' + str(self._port) if self._front else 'stopped'})"

    @property
    def classifier(self) -> Classifier:
        """What looks at the images; the bundled classifier is loaded when first asked for."""
        if self._classifier is None:
            from api_smoothing.sandbox.classifier import bundled_classifier

            self._classifier = bundled_classifier()
        return self._classifier

    @classifier.setter
    def classifier(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def start(self) -> Self:
        """Serve until `stop`. Raises ConfigurationError if the port is taken, MissingExtraError without the SDK."""
        if self._front is not None:
            raise RuntimeError("this sandbox is running already")
        from api_smoothing.adapters.provider import resolve

        _ = self.classifier  # loaded here: the first request should take no longer than the others
        front: Front = resolve(self.declared.front)(self)
        self._port = front.start()
        self._front = front
        return self

    def stop(self) -> None:
        """End all requests and close the port; the meter stays. Does nothing when it is not running."""
        front, self._front = self._front, None
        if front is not None:
            front.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """Where it listens: "http://127.0.0.1:PORT", or "127.0.0.1:PORT" for gRPC."""
        if self._front is None:
            raise RuntimeError("the sandbox is not running; use it in a with statement, or call start()")
        address = f"127.0.0.1:{self._port}"
        return address if self.declared.rpc else f"http://{address}"

    @property
    def changed(self) -> bool:
        """Whether answers carry another version than the current one, whose words and scores are the usual ones."""
        return self.version != self.declared.version

    def options(self) -> dict[str, Any]:
        """What `load` of the provider's adapter needs to work with it: `SmoothedAPI("aws", **sandbox.options())`.

        Where `load` wants more than an address, such as the classes to offer a chat model, an example of it is there.
        """
        return {**self.declared.example, **self.options_at(self.endpoint)}

    def rehearsing(self, chosen: Mapping[str, Any], *, endpoint: str | None = None) -> dict[str, Any]:
        """What a user has `chosen` for the service, with the address and key of this one in the place of its own.

        Another `endpoint` may be given where nobody need listen.
        """
        own = self.options_at(endpoint or self.endpoint)
        if chosen.get("model") in self.declared.models:
            own.pop("model", None)
        return {"model": None, **chosen, **own}

    def options_at(self, endpoint: str) -> dict[str, Any]:
        """Address and key as the loader takes them, for an endpoint where nobody need listen."""
        return dict(self.declared.options(endpoint, self.key))

    def environment(self) -> dict[str, str]:
        """The variables by which the provider's own tools reach it and get in; no proxy stands in between."""
        return {**self.declared.environment(self.endpoint, self.key), "NO_PROXY": "127.0.0.1,localhost"}


def next_version(version: str) -> str:
    """Another version of the same form: "3.0" → "3.1", "2023-10-01" → "2023-10-02"; what the "version" fault sets."""
    found = re.search(r"\d+(?=\D*$)", version)
    if found is None:
        return f"{version}-2"
    digits = found.group()
    return version[: found.start()] + str(int(digits) + 1).zfill(len(digits)) + version[found.end() :]
