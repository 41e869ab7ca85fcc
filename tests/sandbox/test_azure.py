"""Azure's part of the sandbox, both APIs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from doors import AZURE, CAT, DOORS, PNG, assert_fits

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


def test_azure_answers_in_its_recorded_shape(sandbox: StartSandbox, recorded: Path) -> None:
    """Body and headers of a success have all the fields of the recorded one, and no others in the body."""
    real = json.loads((recorded / "azure40_tags.json").read_text("utf-8"))
    said = AZURE.ask(sandbox("azure", classifier=CAT))
    assert_fits(real["body"], said.body)
    assert set(said.body) == set(real["body"])
    assert said.body["metadata"] == {"width": 96, "height": 96}
    assert said.headers["content-type"] == real["headers"]["Content-Type"]
    assert said.headers["csp-billing-usage"] == real["headers"]["CSP-Billing-Usage"]
    for name in ("apim-request-id", "request-id", "x-ms-region", "x-content-type-options"):
        assert name in said.headers


def test_azure_32_says_what_its_reference_says(sandbox: StartSandbox) -> None:
    """The older API has tags, some with a hint, request id, format and a model version of its own."""
    said = DOORS["azure 3.2 tag"].ask(sandbox("azure", classifier=CAT))
    body = said.body
    assert said.headers["csp-billing-usage"] == "CognitiveServices.ComputerVision.Transaction=1"
    assert set(body) == {"tags", "requestId", "metadata", "modelVersion"}
    assert body["metadata"] == {"width": 96, "height": 96, "format": "Png"}
    assert body["modelVersion"] == "2021-05-01"
    assert {"name": "cat", "hint": "animal"}.items() <= next(t for t in body["tags"] if "hint" in t).items()


def test_azures_sdks_read_both_apis(sandbox: StartSandbox) -> None:
    """The current SDK (4.0) and the archived one (3.2, with its chunked bodies) parse tags and versions."""
    analysis = pytest.importorskip("azure.ai.vision.imageanalysis")
    old = pytest.importorskip("azure.cognitiveservices.vision.computervision")
    credentials = pytest.importorskip("azure.core.credentials")
    authentication = pytest.importorskip("msrest.authentication")
    server = sandbox("azure", classifier=CAT)
    client = analysis.ImageAnalysisClient(
        server.endpoint, credentials.AzureKeyCredential(server.key), retry_total=0
    )
    found = client.analyze(PNG, visual_features=[analysis.models.VisualFeatures.TAGS])
    assert "cat" in [tag.name for tag in found.tags.list]
    assert (found.model_version, found.metadata.width) == ("2023-10-01", 96)
    pinned = client.analyze(
        PNG, visual_features=[analysis.models.VisualFeatures.TAGS], model_version="2023-02-01-preview"
    )
    assert pinned.model_version == "2023-02-01-preview"

    archived = old.ComputerVisionClient(
        server.endpoint, authentication.CognitiveServicesCredentials(server.key)
    )
    archived.config.retry_policy.retries = 0
    tagged = archived.tag_image_in_stream(io.BytesIO(PNG))
    assert "cat" in [tag.name for tag in tagged.tags]
    assert tagged.model_version == "2021-05-01"
    analysed = archived.analyze_image_in_stream(io.BytesIO(PNG), visual_features=["Tags"])
    assert [tag.name for tag in analysed.tags] == [tag.name for tag in tagged.tags]
    assert server.meter.requests == server.meter.billed == 4
