"""The sandbox's endpoints that no provider owns: labels and chat."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from doors import CAT, PNG, batch, chat, picture, send

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


def test_the_label_endpoint_takes_images_in_every_documented_form(sandbox: StartSandbox) -> None:
    """Bytes, a multipart form, one base64 text and a list of them get the same labels for the same image."""
    server = sandbox("http")
    bearer = {"Authorization": f"Bearer {server.key}"}
    single = send(server, "/v1/label", PNG, {**bearer, "Content-Type": "image/png"}).body
    assert set(single) == {"labels", "model_version"}
    form = (
        b'--xyz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + PNG + b"\r\n--xyz--\r\n"
    )
    assert (
        send(server, "/v1/label", form, {**bearer, "Content-Type": "multipart/form-data; boundary=xyz"}).body
        == single
    )
    text = json.dumps({"image": base64.b64encode(PNG).decode()}).encode()
    kind = {**bearer, "Content-Type": "application/json"}
    assert send(server, "/v1/label", text, kind).body == single
    many = send(server, "/v1/label", batch(picture(seed=1), PNG, picture(seed=2)), kind).body
    assert many["model"] == {"version": "1"}
    assert many["answers"][1]["labels"] == single["labels"]
    assert len(many["answers"]) == 3
    alike = send(server, "/v1/label", PNG, {"X-API-Key": server.key, "Content-Type": "image/png"})
    assert alike.body == single
    assert send(server, "/v1/label", batch(*[PNG] * 17), kind).status == 400


def test_one_unreadable_image_spares_its_batch(sandbox: StartSandbox) -> None:
    """In a batch it has an error in the place of its labels, is not billed, and the others are answered."""
    server = sandbox("http", classifier=CAT)
    kind = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    answers = send(server, "/v1/label", batch(PNG, b"no image", PNG), kind).body["answers"]
    assert [set(answer) for answer in answers] == [{"labels"}, {"error"}, {"labels"}]
    assert (server.meter.images, server.meter.billed) == (3, 2)
    server.faults.inject("bad-image")
    answers = send(server, "/v1/label", batch(PNG, PNG, PNG, PNG), kind).body["answers"]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, None, "bad_image", None]
    server.faults.inject("wrong-count")
    assert len(send(server, "/v1/label", batch(PNG, PNG, PNG), kind).body["answers"]) == 2


def test_the_chat_endpoint_says_one_word_of_those_offered(sandbox: StartSandbox) -> None:
    """The answer is the best class among the names in the text, or the best of all when none is named."""
    server = sandbox(
        "http", classifier=lambda images: [{"cat": 0.6, "dog": 0.3, "ship": 0.1} for _ in images]
    )
    kind = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}

    def word(text: str) -> str:
        body = send(server, "/v1/chat/completions", chat(PNG, text), kind).body
        assert body["model"] == "eyes"
        assert body["system_fingerprint"].startswith("fp_")
        return str(body["choices"][0]["message"]["content"])

    assert word("What is this?") == "cat"
    assert word("One of: dog, ship") == "dog"
    assert word("ship or truck?") == "ship"
    assert word("frog, bird or other?") == "other", "as a closed list wants it"
