"""Image Analysis 3.2 through its SDK, which Microsoft archived in 2024; kept from sending anything twice."""

from __future__ import annotations

import io
from typing import Any

from api_smoothing.adapters import sdk
from api_smoothing.adapters.azure.session import Ask, http_session


def connect(*, endpoint: str, key: str, model: str, language: str, timeout: float) -> Ask:
    """A client of version 3.2."""
    vision = sdk("azure.cognitiveservices.vision.computervision", extra="azure")
    authentication = sdk("msrest.authentication", extra="azure")
    session = http_session(endpoint=endpoint, tags_at=("tags",))
    session.headers["Ocp-Apim-Subscription-Key"] = key

    client = vision.ComputerVisionClient(endpoint, authentication.CognitiveServicesCredentials(key))
    # The SDK's own sessions, one a thread, retry; with urllib3 1.26 such a retry sends the request without its
    # body, and is answered. Both locks are needed: the SDK still sets up its sessions, it just does not use them.
    client.config.retry_policy.retries = 0
    client.config.session_configuration_callback = lambda *_, **options: {**options, "session": session}
    client.config.connection.timeout = timeout

    def ask(data: bytes) -> tuple[Any, Any]:
        result = client.tag_image_in_stream(io.BytesIO(data), language=language, model_version=model)
        return result.tags, result.model_version

    return ask
