"""Faults on the wire, each in its provider's own form."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING

import pytest
from doors import AWS, AZURE, CAT, DOORS, PNG, UNBILLED, Door, code_of

from api_smoothing.sandbox import KINDS, Sandbox

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


STATUS = {
    "aws": {"throttle": 429, "throttle-retry-after": 429, "throttle-coded": 400, "expired-key": 400,
            "quota": 400, "bad-image": 400, "billed-400": 400},
    "azure": {"throttle": 429, "throttle-retry-after": 429, "throttle-coded": 429, "expired-key": 401,
              "quota": 403, "bad-image": 400, "billed-400": 400},
    "http": {"throttle": 429, "throttle-retry-after": 429, "throttle-coded": 400, "expired-key": 401,
             "quota": 402, "bad-image": 422, "billed-400": 400},
}  # fmt: skip
CHAT_STATUS = {**STATUS["http"], "throttle-coded": 429, "quota": 429, "bad-image": 400}
CODES = {
    "aws": {"throttle-coded": "ProvisionedThroughputExceededException", "expired-key": "ExpiredTokenException",
            "quota": "LimitExceededException", "bad-image": "InvalidImageFormatException",
            "billed-400": "InvalidParameterException", "500": "InternalServerError"},
    "azure": {"throttle": "429", "expired-key": "401", "quota": "403", "bad-image": "InvalidRequest",
              "billed-400": "InvalidRequest", "500": "InternalServerError"},
    "http": {"throttle": "rate_limited", "throttle-coded": "rate_limited", "expired-key": "invalid_key",
             "quota": "quota_exceeded", "bad-image": "bad_image", "billed-400": "invalid_request"},
}  # fmt: skip
CHAT_CODES = {
    "throttle": "rate_limit_exceeded",
    "expired-key": "invalid_api_key",
    "quota": "insufficient_quota",
}


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("reset", "timeout", "drip")])
def test_each_fault_has_the_providers_own_form(door: Door, server: Sandbox, kind: str) -> None:
    """Status, code and body of a fault are the provider's; the meter has one request, and the right bill."""
    in_batch = door is DOORS["http batch"]
    door_is_chat = door is DOORS["http chat"]
    before = server.version
    server.faults.inject(kind)
    said = door.ask(server)
    [request] = server.meter.log()
    assert (request.fault, request.images, request.billed) == (kind, 1, 0 if kind in UNBILLED else 1)
    if kind == "bad-image" and in_batch:
        assert (said.status, said.body["answers"][0]["error"]["code"]) == (200, "bad_image")
        return
    status = CHAT_STATUS if door_is_chat else STATUS[door.provider]
    assert said.status == status.get(kind, int(kind) if kind.isdigit() else 200)
    assert request.status == str(said.status)
    codes = CHAT_CODES if door_is_chat else CODES[door.provider]
    if kind in codes:
        assert code_of(door.provider, said.body) == codes[kind]
    assert ("retry-after" in said.headers) == (kind == "throttle-retry-after")
    if kind in ("502", "html"):
        assert said.headers["content-type"] == "text/html"
        assert said.raw.lstrip().startswith((b"<html", b"<!DOCTYPE"))
    if kind in ("504", "empty"):
        assert said.raw == b""
    if kind == "truncated":
        with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
            said.body  # noqa: B018
    if kind == "missing-key" or (kind == "wrong-count" and not in_batch):
        assert said.status == 200
        assert door.labels[0] not in said.body
    if kind == "wrong-count" and in_batch:
        assert said.body["answers"] == []
    assert (server.version != before) == (kind == "version")
    assert door.ask(server).status == 200


@pytest.mark.parametrize("kind", ["reset", "timeout", "drip"])
def test_silent_faults_never_give_an_answer(door: Door, server: Sandbox, kind: str) -> None:
    """The connection is reset, or nothing whole comes as long as the client waits; the request is billed."""
    server.faults.inject(kind)
    server.drip = 0.5
    with pytest.raises((ConnectionResetError, TimeoutError)) as raised:
        door.ask(server, timeout=60 if kind == "reset" else 0.2)
    while not server.meter.requests:  # what was sent is read, also when its client has gone
        time.sleep(0.01)
    assert isinstance(raised.value, ConnectionResetError) == (kind == "reset")
    assert not isinstance(raised.value, http.client.RemoteDisconnected)  # the farewell of an orderly close
    [request] = server.meter.log()
    assert (request.fault, request.status, request.images, request.billed) == (kind, kind, 1, 1)


def test_a_drip_is_a_true_answer_that_never_ends(sandbox: StartSandbox) -> None:
    """Its bytes begin with the answer's, one at a time, and a client that reads on only gets blanks."""
    server = sandbox("http", classifier=CAT)
    server.drip = 0.0001
    server.faults.inject("drip")
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=10)
    connection.request(
        "POST", "/v1/label", PNG, {"Content-Type": "image/png", "Authorization": f"Bearer {server.key}"}
    )
    response = connection.getresponse()
    start = response.read(400)
    assert json.loads(start)["labels"][0]["name"] == "cat"
    assert start.endswith(b"  ")
    assert not response.isclosed()
    connection.close()


def test_planned_faults_come_in_their_order_and_then_no_more(sandbox: StartSandbox) -> None:
    """Each request meets one fault of the plan, none is skipped, and after the plan requests succeed."""
    server = sandbox("azure", classifier=CAT)
    for kind, times in [("500", 2), ("throttle", 1), ("empty", 2)]:
        server.faults.inject(kind, times)
    for _ in range(7):
        AZURE.ask(server)
    faults = [request.fault for request in server.meter.log()]
    assert faults == ["500", "500", "throttle", "empty", "empty", None, None]


def test_a_changed_version_stays(sandbox: StartSandbox) -> None:
    """After the fault all answers carry the new version, in whichever field the operation has."""
    server = sandbox("aws", classifier=CAT)
    server.faults.inject("version")
    assert AWS.ask(server).body["LabelModelVersion"] == "3.1"
    assert AWS.ask(server).body["LabelModelVersion"] == "3.1"
    assert DOORS["aws moderation"].ask(server).body["ModerationModelVersion"] == "3.1"
    server = sandbox("azure", classifier=CAT)
    server.version = "2024-02-01"
    for name in ("azure 4.0", "azure 3.2 tag", "azure 3.2 analyze"):
        assert DOORS[name].ask(server).body["modelVersion"] == "2024-02-01"
