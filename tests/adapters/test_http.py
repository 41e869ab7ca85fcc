"""The adapter for described JSON endpoints, against a small server that says exactly what a test wants."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_smoothing import SmoothedAPI, adapters
from api_smoothing.adapters._transport.deadline import LONGEST_BODY
from api_smoothing.adapters._transport.service import BrokenContract
from api_smoothing.adapters.base import Answer, EncodedImage, Label, Quota, Verdict
from api_smoothing.adapters.http.adapter import HttpAdapter, credentials, load
from api_smoothing.adapters.http.path import Path as Route
from api_smoothing.engine.sending.outcome import reason_of
from api_smoothing.errors import ConfigurationError, CredentialsError, MissingExtraError

pytest.importorskip("requests")

SECRET = "k3y-pl4nted-1n-tests"
IMAGES = [EncodedImage(data=f"picture {i}".encode(), height=8, width=8) for i in range(3)]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What the server says. `then` is "close" (after the body), "reset", "hang" or "drip" instead of the body."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    then: str = ""


class Server:
    """Answers every request with `reply`, and remembers it."""

    def __init__(self) -> None:
        self.reply: Reply | Callable[[Seen], Reply] = Reply()
        self.seen: list[Seen] = []
        self.connections = 0
        self.closing = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                owner.seen.append(seen)
                owner.answer(self, owner.reply(seen) if callable(owner.reply) else owner.reply)

            do_PUT = do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.then == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
        elif reply.then == "hang":
            self.closing.wait(60)
        if reply.then in ("reset", "hang"):
            handler.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        try:
            while reply.then == "drip" and not self.closing.wait(0.02):
                handler.wfile.write(b" ")
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True
        handler.close_connection = handler.close_connection or bool(reply.then)

    def stop(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SANDBOX_KEY", "OPENAI_API_KEY", "ACME_KEY"):
        monkeypatch.setenv(name, SECRET)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


PLAIN = """
name = "acme"
url = "https://acme.example/v1/tag"
[headers]
X-Key = "${ACME_KEY}"
[request]
image = "bytes"
[answer]
name = "labels[*].name"
score = "labels[*].score"
"""


@pytest.fixture
def describe(tmp_path: Path, server: Server) -> Callable[..., HttpAdapter]:
    """An adapter from the text of a description, pointed at the server."""

    def build(text: str = PLAIN, **options: Any) -> HttpAdapter:
        path = tmp_path / "acme.toml"
        path.write_text(textwrap.dedent(text), "utf-8")
        return load(**{"model": path, "endpoint": server.url, "timeout": 60.0, **options})

    return build


def failure(adapter: HttpAdapter, images: list[EncodedImage] = IMAGES[:1]) -> Verdict:
    """The verdict on what `label` raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is, the adapter must know it
        adapter.label(images)
    return adapter.verdict(caught.value)


# Paths


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("answers[*].labels[*].n", [["a", "b"], []]),
        ("answers[0].labels[-1].s?", None),
        ("answers[0].labels[*].s?", [0.5, None]),
        ("scores[~]", ["cat", "dog"]),
        ("scores[*]", [0.9, 0.1]),
        ('["odd key"].v', "1"),
        ("gone?.deeper", None),
        ("$", ...),
    ],
)
def test_paths_lead_to_values(path: str, value: object) -> None:
    """A path gives the value it names, with one list for each [*], and None where a ? allows it."""
    document = {
        "answers": [{"labels": [{"n": "a", "s": 0.5}, {"n": "b"}]}, {"labels": []}],
        "scores": {"cat": 0.9, "dog": 0.1},
        "odd key": {"v": "1"},
    }
    assert Route.parse(path)(document, document) == (document if value is ... else value)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": None},
        {"a": "text"},
        {"a": {"b": 1}},
        {"a": [{}]},
        {"a": [{"b": None}]},
        {"a": [1]},
        [],
        None,
    ],
)
def test_paths_are_strict(document: object) -> None:
    """What is absent, null or of another kind breaks the contract; it is never skipped."""
    with pytest.raises(BrokenContract):
        Route.parse("a[*].b")(document, document)


# Descriptions


def test_what_ships_can_be_loaded() -> None:
    """Each description in the package is sound, and needs neither key nor network to be loaded."""
    assert load(model="sandbox-json").card.batch == 16
    openai = load(model="openai", vision_model="m", classes=["cat", "dog"], usd_per_query=0.001)
    assert (openai.card.labels, openai.card.drift) == (("cat", "dog"), "version")
    assert adapters.load("http", model="sandbox-json").card == load(model="sandbox-json").card


IMAGE, NAME, SCORE = 'image = "bytes"', 'name = "labels[*].name"', 'score = "labels[*].score"'
LIMITS, ERRORS = f"{IMAGE}\n[limits]\n", f"{IMAGE}\n[errors]\n"
BODY = 'image = "base64"\nbody = '


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "acme"', "", "name is missing"),
        ('name = "acme"', "name = acme", "is not valid TOML"),
        ('name = "acme"', 'name = "acme"\nprice = 1', "price is unknown"),
        ('name = "acme"', 'name = "acme"\nusd_per_query = -1', "usd_per_query must be a number"),
        ('name = "acme"', 'name = "acme"\nusd_per_query = "unknown"', "usd_per_query must be given"),
        ('name = "acme"', 'name = "acme"\nplain_http = "host"', "plain_http must be a list of hosts"),
        ('name = "acme"', 'name = "acme"\nend_of_life = "soon"', "end_of_life must be a date"),
        ('url = "https://acme.example/v1/tag"', 'url = "acme.example"', "url must be an address"),
        ("v1/tag", "v1/tag?key=abc", "url must end before the ?"),
        ("https://acme", "https://me:pw@acme", "url must not hold a user"),
        ("v1/tag", "v1/${ACME_KEY}", "url must not hold a ${NAME}"),
        ("v1/tag", "v1/{lang}", "url has {lang}, which is no variable"),
        ('"${ACME_KEY}"', '"abc"', "headers.X-Key must not stand in the file"),
        ('"${ACME_KEY}"', "7", "headers must be a table of texts"),
        (IMAGE, f'{IMAGE}\n[variables]\nimage = "x"', "variables.image needs another name"),
        (IMAGE, 'image = "jpeg"', "request.image must be one of"),
        (IMAGE, f"{IMAGE}\nresize = 3", "request.resize is unknown"),
        (IMAGE, f'{IMAGE}\nform = {{ a = "b" }}', "request.form does not go with"),
        (IMAGE, f'{IMAGE}\nbody = "{{}}"', "request.body does not go with"),
        (IMAGE, 'image = "base64"', "request.body is missing"),
        (IMAGE, BODY + "'{image}'", "request.body is not JSON"),
        (IMAGE, BODY + "'{}'", "request.body must hold {image}"),
        (IMAGE, BODY + """'["{image}", "{top}"]'""", "request.body has {top}"),
        (IMAGE, BODY + """'["x {images}"]'""", "request.body must hold {images} as a text of its own"),
        (IMAGE, BODY + """'["{image}"]'\nitem = '1'""", "request.item must hold"),
        (IMAGE, LIMITS + "batch = 0", "limits.batch must be a whole number"),
        (IMAGE, LIMITS + "batch = 2", 'request.image = "bytes" sends one image'),
        (IMAGE, LIMITS.replace("bytes", "multipart") + "batch = 2", "answer.answers is missing"),
        (IMAGE, LIMITS + "min_side = 9\nmax_side = 8", "limits.max_side must not be below"),
        (IMAGE, LIMITS + "quotas = [{ seconds = 2 }]", "limits.quotas[0].count is missing"),
        (IMAGE, ERRORS + "fatal = 400", "errors.fatal must be a list"),
        (
            IMAGE,
            ERRORS + "fatal = [400]\nrefused = [400]",
            "errors.fatal lists 400, which is refused already",
        ),
        (NAME, "", "answer.name is missing"),
        (NAME, 'name = "labels[*].name["', "answer.name must be a path"),
        (NAME, 'name = "a[*].b[*].c"', "answer.name = 'a[*].b[*].c' must have 0 or 1"),
        (SCORE, 'score = "score"', "answer.score = 'score' must have 1"),
        (SCORE, 'text = "x"', "answer.text does not go with name"),
        (f"{NAME}\n{SCORE}", 'text = "x"', "answer.classes is missing"),
        (SCORE, 'ending = "why"\nunfinished = ["cut"]', "answer.ending goes with text"),
        (SCORE, 'unfinished = ["cut"]', "answer.unfinished goes with ending"),
        (SCORE, 'ending = "why"\nunfinished = "cut"', "answer.unfinished must be a list of texts"),
        (SCORE, "classes = []", "answer.classes must be a list"),
        (SCORE, 'classes = ["Cat", "cat."]', "answer.classes has two names that differ only in case"),
        (SCORE, "score_scale = 0", "answer.score_scale must be a number above 0"),
    ],
)
def test_a_mistake_names_file_and_key(
    describe: Callable[..., HttpAdapter], old: str, new: str, says: str
) -> None:
    """Whatever a description gets wrong is one line with the file and the key, before anything is sent."""
    assert old in PLAIN
    with pytest.raises(ConfigurationError, match=rf"acme\.toml:? {re.escape(says)}") as caught:
        describe(PLAIN.replace(old, new))
    assert "\n" not in str(caught.value)
    assert not {"abc", "pw"} & set(re.findall(r"\w+", str(caught.value))), (
        "a secret in the file is not repeated"
    )


def test_a_description_must_be_there(tmp_path: Path) -> None:
    """No model, an unknown one, and a file that cannot be read are told apart, with what ships."""
    with pytest.raises(ConfigurationError, match=r"model=.*openai, sandbox-json"):
        load()
    with pytest.raises(ConfigurationError, match="unknown endpoint 'opanai'"):
        load(model="opanai")
    with pytest.raises(ConfigurationError, match=r"cannot read .*none\.toml"):
        load(model=tmp_path / "none.toml")


def test_options_must_be_variables(describe: Callable[..., HttpAdapter]) -> None:
    """An option the description does not know, or of another kind, is refused; a needed one is asked for."""
    text = PLAIN + "[variables]\ntop = 5\nclasses = []\n"
    for options, says in [
        ({"colour": 1, "classes": ["a"]}, "variables.colour is unknown"),
        ({"top": "many", "classes": ["a"]}, "variables.top must be like 5"),
        ({}, "variables.classes must be given"),
    ]:
        with pytest.raises(ConfigurationError, match=says):
            describe(text, **options)


def test_the_fingerprint_names_what_can_change_an_answer(
    describe: Callable[..., HttpAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs with description, variables and place; not with price, quotas, comments or the key's value."""
    text = PLAIN + "[variables]\ntop = 5\n"
    print_ = describe(text).card.fingerprint
    limits = "[limits]\nquotas = [{ count = 5 }]\n"
    monkeypatch.setenv("ACME_KEY", "another")
    same = [
        describe(text),
        describe("# note\nusd_per_query = 2" + text),
        describe(text + limits),
        describe(text, rate=3),
    ]
    assert {adapter.card.fingerprint for adapter in same} == {print_}
    other = [
        describe(text, top=6),
        describe(text.replace("labels[*].name", "labels[*].id")),
        describe(text, endpoint="https://other.example"),
        describe(text, endpoint_id="sandbox"),
    ]
    assert len({adapter.card.fingerprint for adapter in other} | {print_}) == 5
    for adapter in [*same, *other]:
        assert SECRET not in adapter.card.fingerprint
    moved = describe(text, endpoint="http://127.0.0.1:1", endpoint_id="sandbox").card
    assert (moved.fingerprint, moved.quota_key) == (other[-1].card.fingerprint, other[-1].card.quota_key)


def test_limits_price_and_quotas_are_on_the_card(describe: Callable[..., HttpAdapter]) -> None:
    """The card repeats the description; rate= replaces the image quotas and usd_per_query= the price."""
    text = (
        "usd_per_query = 0.5\nend_of_life = 2030-01-01\n"
        + PLAIN
        + (
            "[limits]\nmin_side = 50\nmax_side = 900\nmax_labels = 3\nmax_image_bytes = 1000\n"
            'quotas = [{ count = 5, seconds = 2 }, { unit = "request", count = 9 }]\n'
        )
    )
    card = describe(text).card
    assert (card.min_side, card.max_side, card.max_labels, card.max_image_bytes) == (50, 900, 3, 1000)
    assert (card.usd_per_query, card.end_of_life, card.drift) == (0.5, "2030-01-01", "canary")
    assert card.quotas == (Quota(unit="image", count=5, seconds=2.0), Quota(unit="request", count=9))
    card = describe(text, rate=2.5, usd_per_query=0.25).card
    assert card.quotas == (Quota(unit="image", count=2, seconds=0.8), Quota(unit="request", count=9))
    assert card.usd_per_query == 0.25


# Requests


def test_an_image_travels_as_bytes(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """The PNG is the body, headers and query are filled from the environment and the variables."""
    server.reply = Reply({"labels": []})
    text = PLAIN.replace(
        "[request]", '[query]\nlang = "{lang}"\nsig = "${ACME_KEY}"\n[request]\nmethod = "PUT"'
    )
    describe(text + '[variables]\nlang = "e n"\n').label(IMAGES[:1])
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("PUT", f"/v1/tag?lang=e+n&sig={SECRET}")
    assert (seen.body, seen.headers["content-type"]) == (IMAGES[0].data, "image/png")
    assert seen.headers["x-key"] == SECRET


def test_an_answer_has_the_id_that_the_service_gives_its_request(
    describe: Callable[..., HttpAdapter], server: Server
) -> None:
    """The header X-Request-Id, in any case, for evidence; most services that have one call it that."""
    for headers, request in (({"X-Request-Id": "req_0123"}, "req_0123"), ({}, None)):
        server.reply = Reply({"labels": []}, headers=headers)
        (answer,) = describe().label(IMAGES[:1])
        assert isinstance(answer, Answer)
        assert answer.request_id == request


def test_images_travel_in_json(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """{images} is the list of all images, each as `item` says; placeholders keep the type of what they stand for."""
    server.reply = Reply([{"labels": []}, {"labels": []}])
    adapter = describe(
        PLAIN.replace('image = "bytes"', """
        image = "base64"
        body = '{"requests": "{images}", "top": "{top}", "note": "{top} of {tags}", "tags": "{tags}"}'
        item = '{"image": {"content": "{image}"}, "kind": "{top}"}'
        """).replace("[answer]", '[answer]\nanswers = "[*]"')
        + '[variables]\ntop = 5\ntags = ["a", "b"]\n[limits]\nbatch = 2\n',
        tags="{image}, ${HOME}",
    )  # fmt: skip
    assert adapter.label(IMAGES[:2]) == [Answer(labels=()), Answer(labels=())]
    body = json.loads(server.seen[0].body)
    assert [item["image"]["content"] for item in body["requests"]] == [
        base64.b64encode(image.data).decode() for image in IMAGES[:2]
    ]
    assert (body["top"], body["requests"][0]["kind"]) == (5, 5)
    assert body["tags"] == ["{image}", "${HOME}"], "what is put in is not filled again"
    assert body["note"] == "5 of {image}, ${HOME}"
    assert server.seen[0].headers["content-type"] == "application/json"


def test_an_image_is_encoded_once_and_by_no_json_encoder(
    describe: Callable[..., HttpAdapter], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its base64 is put into the finished text: an encoder that looks at every letter keeps all threads waiting."""
    server.reply = Reply({"labels": []})
    encoded: list[str] = []
    dumps = json.dumps
    monkeypatch.setattr(
        json, "dumps", lambda *given, **how: encoded.append(dumps(*given, **how)) or encoded[-1]
    )
    adapter = describe(
        PLAIN.replace('image = "bytes"', """
        image = "data-url"
        body = '{"one": "{image}", "text": "{note}: {image}", "note": "{note}"}'
        """)
        + '[variables]\nnote = "ä \\"0-0-1\\""\n',
    )  # fmt: skip
    adapter.label(IMAGES[:1])
    url = f"data:image/png;base64,{base64.b64encode(IMAGES[0].data).decode()}"
    body = json.loads(server.seen[0].body)
    assert body == {"one": url, "text": f'ä "0-0-1": {url}', "note": 'ä "0-0-1"'}
    assert url[-100:] not in "".join(encoded)


def test_images_travel_in_a_form(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """Each image is a file of the same field, beside the other fields."""
    server.reply = Reply({"all": [{"labels": []}] * 3})
    adapter = describe(
        PLAIN.replace('image = "bytes"', 'image = "multipart"\nfield = "file"\nform = { token = "${ACME_KEY}" }')
        .replace("[answer]", '[answer]\nanswers = "all"') + "[limits]\nbatch = 3\n"
    )  # fmt: skip
    assert len(adapter.label(IMAGES)) == 3
    seen = server.seen[0]
    message = BytesParser().parsebytes(
        b"Content-Type: " + seen.headers["content-type"].encode() + b"\n\n" + seen.body
    )
    parts = [
        (p.get_param("name", header="content-disposition"), p.get_payload(decode=True))
        for p in message.get_payload()
    ]  # type: ignore[union-attr]
    assert parts == [("token", SECRET.encode()), *(("file", image.data) for image in IMAGES)]


def test_more_images_than_a_batch_are_not_sent(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """A call with no image, or with more than the description allows, is refused before sending."""
    for images in ([], IMAGES[:2]):
        with pytest.raises(ConfigurationError, match="1 to 1 encoded images"):
            describe().label(images)
    assert not server.seen


def test_the_endpoint_moves_host_or_address(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """An endpoint without a path replaces scheme and host, one with a path the whole address."""
    server.reply = Reply({"labels": []})
    describe(endpoint=server.url + "/").label(IMAGES[:1])
    describe(endpoint=server.url + "/other/tag").label(IMAGES[:1])
    assert [seen.path for seen in server.seen] == ["/v1/tag", "/other/tag"]
    for endpoint in (
        "127.0.0.1:80",
        "http://me:pw@host",
        "http://host/?key=abc",
        "ftp://host",
        "http://ho st/",
    ):
        with pytest.raises(ConfigurationError, match="endpoint must") as caught:
            describe(endpoint=endpoint)
        assert not {"pw", "abc"} & set(str(caught.value).replace("=", " ").split())


def test_connections_are_kept_and_cookies_are_not(
    describe: Callable[..., HttpAdapter], server: Server
) -> None:
    """Calls one after another share a connection, and no answer can depend on what an earlier one set."""
    server.reply = Reply({"labels": []}, headers={"Set-Cookie": "bucket=b"})
    adapter = describe()
    for _ in range(3):
        adapter.label(IMAGES[:1])
    assert server.connections == 1
    assert not any("cookie" in seen.headers for seen in server.seen)


def test_a_forked_process_connects_anew(
    describe: Callable[..., HttpAdapter], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes never share a connection: each would read the other's answers."""
    server.reply = Reply({"labels": []})
    adapter = describe()
    adapter.label(IMAGES[:1])
    monkeypatch.setattr(os, "getpid", lambda: -1)
    adapter.label(IMAGES[:1])
    assert server.connections == 2


def test_nothing_on_this_machine_replaces_the_key_or_the_way(
    describe: Callable[..., HttpAdapter], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password in ~/.netrc does not replace the Authorization header, nor a proxy the way to loopback."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pw\ndefault login me password pw\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.reply = Reply({"labels": []})
    text = PLAIN.replace('X-Key = "${ACME_KEY}"', 'Authorization = "Bearer ${ACME_KEY}"')
    adapter = describe(text)
    adapter.label(IMAGES[:1])
    assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"
    monkeypatch.setenv(
        "HTTP_PROXY", server.url
    )  # the proxy gets what is meant for elsewhere, with the right key
    describe(text, endpoint="http://elsewhere.example").label(IMAGES[:1])
    assert server.seen[1].headers["authorization"] == f"Bearer {SECRET}"
    assert server.seen[1].path == "http://elsewhere.example/v1/tag"


def test_a_key_does_not_travel_unencrypted(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """Over plain http a key goes to this machine only, unless the description says so for that host."""
    elsewhere = {"endpoint": "http://tagger.invalid/v1"}
    with pytest.raises(ConfigurationError, match=r"endpoint .* tagger\.invalid unencrypted") as caught:
        describe(**elsewhere).label(IMAGES[:1])
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigurationError, match="unencrypted"):
        describe('plain_http = ["other.invalid"]\n' + PLAIN, **elsewhere).label(IMAGES[:1])
    allowed = describe('plain_http = ["tagger.invalid"]\n' + PLAIN, **elsewhere)
    keyless = describe(PLAIN.replace('X-Key = "${ACME_KEY}"', ""), **elsewhere)
    for adapter in (allowed, keyless):
        assert "cannot connect" in failure(adapter).message
    assert allowed.card.fingerprint == describe(**elsewhere).card.fingerprint
    server.reply = Reply({"labels": []})
    assert describe().label(IMAGES[:1]) == [Answer(labels=())]


def test_redirects_are_not_followed(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """A redirect is an error that says what to do; the key goes nowhere else."""
    server.reply = Reply(status=307, headers={"Location": server.url + "/elsewhere?token=abc"})
    verdict = failure(describe())
    assert (verdict.kind, len(server.seen)) == ("fatal", 1)
    assert "give that address as url" in verdict.message
    assert "abc" not in verdict.message


# Answers


@pytest.mark.parametrize(
    ("shape", "body", "labels"),
    [
        (
            'name = "l[*].n"\nscore = "l[*].s"\nid = "l[*].id?"\nparents = "l[*].up?[*].n"\nscore_scale = 100',
            {"l": [{"n": "a", "s": 100, "id": 7, "up": [{"n": "b"}]}, {"n": "c", "s": 0.5}]},
            [Label(name="a", score=1.0, id="7", parents=("b",)), Label(name="c", score=0.005)],
        ),
        ('name = "labels[*]"\nscore = "scores[*]"', {"labels": ["a"], "scores": [0.5]}, [Label(name="a", score=0.5)]),
        ('name = "[~]"\nscore = "[*]"', {"a": 0.25, "b": 1}, [Label(name="a", score=0.25), Label(name="b", score=1.0)]),
        ('name = "top"\nscore = "p"\nparents = "up[*]"', {"top": "a", "p": 0.5, "up": ["b", "c"]},
         [Label(name="a", score=0.5, parents=("b", "c"))]),
        ('name = "top?"\nscore = "p?"', {"top": None}, []),
        ('name = "l?[*]"', {}, []),
        ('name = "l[*]"', {"l": []}, []),
        ('name = "l[*]"', {"l": ["a"]}, [Label(name="a")]),
        ('name = "l[*].n"\nscore = "l[*].s"', {"l": [{"n": "a", "s": 1.0000001}]}, [Label(name="a", score=1.0)]),
        ('name = "l[*]"\nerror = "error?"', {"l": ["a"], "error": False}, [Label(name="a")]),
    ],
)  # fmt: skip
def test_labels_are_read_where_they_stand(
    describe: Callable[..., HttpAdapter], server: Server, shape: str, body: object, labels: list[Label]
) -> None:
    """Objects, parallel lists, an object of scores and a single label are read; an honest empty list is empty."""
    server.reply = Reply(body)
    text = PLAIN[: PLAIN.index("[answer]")] + "[answer]\n" + shape
    assert describe(text).label(IMAGES[:1]) == [Answer(labels=tuple(labels))]


JUNK = [
    b"", b"null", b"{", b'{"model": {"version": "1"}, "answers": [{"lab', b"<html>Sign in</html>", b"[]", b'"text"',
    b"17", {}, {"answers": None}, {"answers": {}}, {"answers": [{"labels": []}]},
    {"model": {}, "answers": [{"labels": []}]},
    {"model": None, "answers": [{"labels": []}]}, {"model": {"version": ""}, "answers": [{"labels": []}]},
    {"model": {"version": "1"}, "answers": []}, {"model": {"version": "1"}, "answers": [{"labels": []}] * 2},
    {"model": {"version": "1"}, "answers": [None]}, {"model": {"version": "1"}, "answers": [{}]},
    *({"model": {"version": "1"}, "answers": [{"labels": labels}]} for labels in (
        None, "cat", {}, {"name": "cat"}, [None], ["cat"], [{}], [{"name": "cat"}], [{"name": None, "score": 0.5}],
        [{"name": "", "score": 0.5}], [{"name": "cat", "score": None}], [{"name": "cat", "score": "0.5"}],
        [{"name": "cat", "score": True}], [{"name": "cat", "score": -0.1}], [{"name": "cat", "score": 1.1}],
        [{"name": "cat", "score": 10**400}], [{"name": "cat", "score": float("nan")}],
        [{"name": "cat", "score": float("inf")}], [{"name": "cat", "score": 0.5, "parents": [1]}],
        [{"name": "cat", "score": 0.5, "id": {}}], [{"name": "cat", "score": 0.5}] * 11)),
]  # fmt: skip


@pytest.mark.parametrize("body", JUNK, ids=[str(i) for i in range(len(JUNK))])
def test_junk_is_never_an_answer(server: Server, body: object) -> None:
    """Status 200 with anything but the described answer breaks the contract, and can be no vote."""
    server.reply = Reply(body)
    adapter = load(model="sandbox-json", endpoint=server.url)
    with pytest.raises(BrokenContract) as caught:
        adapter.label(IMAGES[:1])
    verdict = adapter.verdict(caught.value)
    assert (verdict.kind, verdict.sent, len(server.seen)) == ("broken", True, 1)
    assert "\n" not in verdict.message


def test_no_labels_is_an_answer(server: Server) -> None:
    """An empty list of labels is an answer, with the version of the model."""
    server.reply = Reply({"model": {"version": "1"}, "answers": [{"labels": []}]})
    adapter = load(model="sandbox-json", endpoint=server.url)
    assert adapter.label(IMAGES[:1]) == [Answer(labels=(), model_version="1")]


def test_one_image_may_fail_among_others(server: Server) -> None:
    """An error in the place of an image's labels is a verdict there, of the kind its code has."""
    labels = [{"name": "cat", "score": 0.5, "id": "c3", "parents": ["animal"]}]
    errors = [
        {"code": "bad_image", "message": f"unreadable\n{SECRET}"},
        {"code": "rate_limited", "message": "later"},
    ]
    answers = [{"labels": labels}, *({"error": error} for error in errors)]
    server.reply = Reply({"model": {"version": "1"}, "answers": answers})
    answer, bad, later = load(model="sandbox-json", endpoint=server.url).label(IMAGES)
    assert answer == Answer(
        labels=(Label(name="cat", score=0.5, id="c3", parents=("animal",)),), model_version="1"
    )
    assert isinstance(bad, Verdict)
    assert isinstance(later, Verdict)
    assert (bad.kind, later.kind) == ("refused", "throttled")
    assert bad.message.endswith("unreadable [secret]")


def test_one_unreadable_answer_fails_alone(server: Server) -> None:
    """The neighbours of an answer that breaks the contract are answers; only where none can be read it raises."""
    labels = [{"name": "cat", "score": 0.5}]
    for bad in ({}, {"labels": {}}, {"labels": [{"name": "cat"}]}, None):
        server.reply = Reply(
            {"model": {"version": "1"}, "answers": [{"labels": labels}, bad, {"labels": labels}]}
        )
        first, broken, last = load(model="sandbox-json", endpoint=server.url).label(IMAGES)
        assert first == last == Answer(labels=(Label(name="cat", score=0.5),), model_version="1")
        assert isinstance(broken, Verdict)
        assert (broken.kind, broken.sent) == ("broken", True)


@pytest.mark.parametrize("status", [202, 204, 206, 207])
def test_an_answer_that_is_still_to_come_is_none(
    describe: Callable[..., HttpAdapter], server: Server, status: int
) -> None:
    """A success that says "later", "in parts" or "nothing" is no vote for "no labels", whatever its body."""
    server.reply = Reply(b"" if status == 204 else {"status": "pending", "labels": []}, status=status)
    verdict = failure(describe())
    assert (verdict.kind, verdict.sent) == ("broken", True)
    assert str(status) in verdict.message


def test_an_empty_object_is_not_an_empty_list(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """`{}` where `[*]` looks for a list is no answer; where the names are its keys it is one without labels."""
    server.reply = Reply({"labels": {}})
    assert failure(describe()).kind == "broken"
    assert failure(describe(PLAIN.replace(SCORE, ""))).kind == "broken"
    keyed = PLAIN.replace(NAME, 'name = "labels[~]"').replace(SCORE, 'score = "labels[*]"')
    assert describe(keyed).label(IMAGES[:1]) == [Answer(labels=())]
    server.reply = Reply({"labels": []})
    assert describe().label(IMAGES[:1]) == [Answer(labels=())]
    assert failure(describe(keyed)).kind == "broken"


@pytest.mark.parametrize("score", [{}, {"score": None}, {"score": True}])
def test_a_label_without_its_score_is_no_label_of_score_0(
    describe: Callable[..., HttpAdapter], server: Server, score: dict[str, Any]
) -> None:
    """Where the description says where scores stand, a label without a number there is no answer, ? or not."""
    server.reply = Reply({"labels": [{"name": "cat", "score": 0.9}, {"name": "dog", **score}]})
    for text in (PLAIN, PLAIN.replace(SCORE, 'score = "labels[*].score?"')):
        assert failure(describe(text)).kind == "broken"


def openai(
    server: Server, content: object, finish: str | None = None, **extra: object
) -> list[Answer | Verdict]:
    message = {"role": "assistant", "content": content, **extra}
    choice = {"index": 0, "message": message} | ({"finish_reason": finish} if finish else {})
    server.reply = Reply({"model": "m-1", "system_fingerprint": "fp_1", "choices": [choice]})
    options = {"vision_model": "m", "classes": "cat, Great Dane", "usd_per_query": 0}
    return load(model="openai", endpoint=server.url, **options).label(IMAGES[:1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "label"),
    [("cat", "cat"), (" Cat.\n", "cat"), ('"GREAT DANE"', "Great Dane")],
)
def test_free_text_is_a_label_if_it_is_a_class(server: Server, said: str, label: str) -> None:
    """What a chat model writes counts when, trimmed and in any case, it is one of the classes."""
    assert openai(server, said) == [Answer(labels=(Label(name=label),), model_version="m-1+fp_1")]


@pytest.mark.parametrize(
    "said", ["a cat", "dog", "cat, Great Dane", "I think this is a cat.", "It's “a” cat"]
)
def test_a_text_in_place_of_a_class_is_no_vote(server: Server, said: str) -> None:
    """A model that does not keep to the list has not said that none of it is there; such answers have one reason."""
    with pytest.raises(BrokenContract, match="none of answer") as broken:
        openai(server, said)
    verdicts = [
        Verdict(kind="broken", message=str(error))
        for error in (broken.value, "the answer “x” is none of answer.classes")
    ]
    assert reason_of(verdicts[0]) == reason_of(verdicts[1])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a photograph of a cat that sits on a mat", False),
        ("猫" * 101, False),
        (
            "dragonfly, darning needle, devil's darning needle, sewing needle, snake feeder, snake doctor",
            True,
        ),
    ],
)
def test_a_name_in_an_open_vocabulary_is_not_a_text(
    describe: Callable[..., HttpAdapter], server: Server, name: str, kept: bool
) -> None:
    """A label of more words than a name has is no label; a list of synonyms is one."""
    server.reply = Reply({"labels": [{"name": name, "score": 0.9}]})
    if kept:
        assert describe().label(IMAGES[:1]) == [Answer(labels=(Label(name=name, score=0.9),))]
    else:
        assert failure(describe()).kind == "broken"


def test_no_absence_is_certified_from_sentences(server: Server) -> None:
    """Whoever is told of a cat in a sentence, now and then or always, is not told that there is none."""

    def reply(seen: Seen) -> Reply:
        odd = hashlib.sha256(seen.body).digest()[0] % 2
        said = "I think this is a cat." if odd or always else "dog"
        message = {"role": "assistant", "content": said}
        return Reply({"model": "m", "choices": [{"index": 0, "message": message}]})

    server.reply = reply
    options = {"vision_model": "m", "classes": ["cat", "dog"], "usd_per_query": 0, "key": SECRET}
    pixels, named = np.full((8, 8, 3), 128, np.uint8), {"cat": 0.5, "dog": 0.5}
    always = False
    with SmoothedAPI("http", model="openai", endpoint=server.url, denoiser=None, **options) as api:  # type: ignore[arg-type]
        found = api.certify_labels(pixels, thresholds=named, absent=["cat"], n=30)
    assert {(certificate.label, certificate.stopped) for certificate in found} == {(None, "failed")}
    always, before = True, len(server.seen)
    with SmoothedAPI("http", model="openai", endpoint=server.url, denoiser=None, **options) as api:  # type: ignore[arg-type]
        found = api.certify_labels(pixels + np.uint8(1), thresholds=named, absent=["cat"], n=30)
    assert {(certificate.label, certificate.stopped) for certificate in found} == {(None, "failed")}
    assert "“I think this is a cat.” is none of answer.classes" in found[0].reason
    assert len(server.seen) - before <= 30  # none is asked twice; of another image it may name a class


@pytest.mark.parametrize(
    ("said", "finish"),
    [("", None), ("", "stop"), (" .", "stop"), *((said, finish) for said in ("", "cat", "The", "dog")
     for finish in ("length", "content_filter"))],
)  # fmt: skip
def test_a_text_that_is_empty_or_cut_off_is_no_vote(server: Server, said: str, finish: str | None) -> None:
    """A chat model that said nothing, or was stopped before its end, has not said that there is no label."""
    with pytest.raises(BrokenContract, match=finish if finish in ("length", "content_filter") else "empty"):
        openai(server, said, finish)


def test_how_a_text_ends_changes_no_fingerprint(tmp_path: Path) -> None:
    """What keeps a text from being read is not in the fingerprint: answers that were kept before stay."""
    text = 'name = "a"\nurl = "https://a.example"\n[request]\nimage = "bytes"\n[answer]\ntext = "t"\nclasses = ["b"]\n'
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(text + 'ending = "end"\nunfinished = ["length"]\n')
    assert load(model=tmp_path / "a.toml").card == load(model=tmp_path / "b.toml").card


def test_chat_completions_are_asked_as_their_protocol_says(server: Server) -> None:
    """The request has the model, temperature 0, a seed, the classes and the image as a data URL."""
    openai(server, "cat")
    (seen,) = server.seen
    body = json.loads(seen.body)
    assert (seen.path, seen.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {SECRET}")
    assert (body["model"], body["temperature"], body["seed"]) == ("m", 0, 0)
    assert body["messages"][0]["content"].endswith("cat, Great Dane")
    url = body["messages"][1]["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == IMAGES[0].data


def test_a_chat_model_may_refuse(server: Server) -> None:
    """A refusal is a verdict about the image, and content that is neither text nor refusal breaks the contract."""
    (verdict,) = openai(server, None, refusal="I cannot help with that")
    assert isinstance(verdict, Verdict)
    assert verdict.kind == "refused"
    with pytest.raises(BrokenContract):
        openai(server, None, refusal=None)


def test_a_name_outside_the_classes_breaks_the_contract(
    describe: Callable[..., HttpAdapter], server: Server
) -> None:
    """Where the description closes the list of labels, another name is no answer."""
    adapter = describe(PLAIN + 'classes = ["cat", "dog"]\n')
    assert adapter.card.labels == ("cat", "dog")
    server.reply = Reply({"labels": [{"name": "cow", "score": 0.5}]})
    with pytest.raises(BrokenContract, match="cow"):
        adapter.label(IMAGES[:1])


# Failures


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b"", "refused"), (413, b"", "refused"), (422, b"", "refused"), (401, b"", "fatal"), (403, b"", "fatal"),
        (404, b"", "fatal"), (408, b"", "transient"), (429, b"", "throttled"), (500, b"<html>", "transient"),
        (502, b"<html>", "transient"), (503, b"", "transient"), (504, b"", "transient"), (529, b"", "transient"),
        (400, {"error": {"code": "rate_limited"}}, "throttled"), (429, {"error": {"code": "quota_exceeded"}}, "fatal"),
        (400, {"error": {"code": "invalid_key"}}, "fatal"), (500, {"error": {"code": "bad_image"}}, "refused"),
        (400, {"error": {"code": []}}, "refused"), (400, {"error": None}, "refused"),
    ],
)  # fmt: skip
def test_what_a_failure_means(server: Server, status: int, body: object, kind: str) -> None:
    """The code in a failure's body decides, else its status; either way it was one request, and one line."""
    server.reply = Reply(body, status=status)
    verdict = failure(load(model="sandbox-json", endpoint=server.url))
    assert (verdict.kind, verdict.sent, len(server.seen)) == (kind, True, 1)
    assert str(status) in verdict.message
    assert "\n" not in verdict.message
    if kind == "fatal":
        assert "api-smooth providers check http" in verdict.message


def test_retry_after_is_passed_on(server: Server, describe: Callable[..., HttpAdapter]) -> None:
    """The wait the provider asks for is in the verdict, from the header the description names."""
    server.reply = Reply(status=429, headers={"Retry-After": "7", "X-Wait": "2.5"})
    assert failure(describe()).retry_after == 7
    assert failure(describe(PLAIN + '[errors]\nretry_after = "X-Wait"\n')).retry_after == 2.5


@pytest.mark.parametrize("status", [202, 400, 403, 408, 409, 423, 425, 429, 500, 503, 529])
def test_a_time_to_come_back_is_passed_on_whatever_the_status(
    describe: Callable[..., HttpAdapter], server: Server, status: int
) -> None:
    """From the header, else from the words of the body."""
    server.reply = Reply(status=status, headers={"Retry-After": "7"})
    verdict = failure(describe())
    assert (verdict.retry_after, verdict.kind == "fatal") == (7, False)
    server.reply = Reply({"error": "busy; try again in 2.5s"}, status=status)
    assert failure(describe(PLAIN + '[errors]\nmessage = "error"\n')).retry_after == 2.5


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("", "/v1/tag"),
        ("/", "/v1/tag"),
        ("/v1", "/v1/tag"),
        ("/v1/", "/v1/tag"),
        ("/api/v1", "/api/v1/tag"),
        ("/v1/tag", "/v1/tag"),
        ("/other", "/other"),
        ("/v1/other", "/v1/other"),
    ],
)
def test_a_base_address_is_completed(
    describe: Callable[..., HttpAdapter], server: Server, endpoint: str, path: str
) -> None:
    """The address as servers print it (http://host/v1) leads to the description's path; another is used as it is."""
    server.reply = Reply(b"", status=404)
    verdict = failure(describe(endpoint=server.url + endpoint))
    assert [seen.path for seen in server.seen] == [path]
    assert f"the path asked was {path}:" in verdict.message


def test_a_part_of_the_version_may_be_left_out(server: Server) -> None:
    """version_at= names what the version is made of, where another part flaps; it is another stream of answers."""
    options = {"vision_model": "m", "classes": ["cat"], "usd_per_query": 0, "endpoint": server.url}
    message = {"role": "assistant", "content": "cat"}
    server.reply = Reply({"model": "m-1", "system_fingerprint": "fp_1", "choices": [{"message": message}]})
    usual, chosen = (load(model="openai", **options, version_at=given) for given in (None, "model"))  # type: ignore[arg-type]
    versions = [adapter.label(IMAGES[:1])[0].model_version for adapter in (usual, chosen)]  # type: ignore[union-attr]
    assert versions == ["m-1+fp_1", "m-1"]
    assert usual.card.fingerprint != chosen.card.fingerprint
    with pytest.raises(ConfigurationError, match=r"answer\.version must be a path"):
        load(model="openai", **options, version_at="a[")  # type: ignore[arg-type]


def test_a_key_in_the_place_of_a_model_is_not_shown() -> None:
    """Whoever gives the key as the model does not find it in a log."""
    for model in ("sk-proj-planted-0123", "sk-proj-planted-0123.toml"):
        with pytest.raises(ConfigurationError) as caught:
            load(model=model)
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize("then", ["reset", "hang", "drip", "close"])
def test_a_broken_connection_is_transient_and_may_have_cost(
    describe: Callable[..., HttpAdapter], server: Server, then: str
) -> None:
    """A reset, silence, an answer that never ends or ends too soon: one request, which may have been billed."""
    server.reply = Reply(b'{"labels": []}', then=then, headers={"Content-Length": "999"})
    verdict = failure(describe(timeout=0.3))
    while not server.seen:  # what was sent is read, also when its client has gone
        time.sleep(0.01)
    assert (verdict.kind, verdict.sent, len(server.seen)) == ("transient", True, 1)


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Encoding": "br"}])
def test_a_body_that_cannot_be_unpacked_is_no_answer(
    describe: Callable[..., HttpAdapter], server: Server, headers: dict[str, str]
) -> None:
    """An answer in a broken encoding is no answer."""
    server.reply = Reply(b"\x1f\x8b not gzip", headers=headers)
    assert failure(describe()).kind in ("transient", "broken")


def test_an_endless_body_is_cut_off(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """An answer longer than any answer is not read to its end, whether it comes packed or not."""
    endless = b" " * (LONGEST_BODY + 2**21)
    for reply in (Reply(endless), Reply(gzip.compress(endless), headers={"Content-Encoding": "gzip"})):
        server.reply = reply
        verdict = failure(describe())
        assert verdict.kind == "broken"
        assert "longer than" in verdict.message


def test_what_never_left_has_not_cost(describe: Callable[..., HttpAdapter], server: Server) -> None:
    """Where nobody listens, or the name does not exist, nothing was sent; the key in the query stays hidden."""
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    text = PLAIN.replace("[request]", '[query]\nsig = "${ACME_KEY}"\n[request]')
    for endpoint in (f"http://127.0.0.1:{port}", "https://no-such-host.invalid"):
        verdict = failure(describe(text, endpoint=endpoint))
        assert (verdict.kind, verdict.sent) == ("transient", False)
        assert SECRET not in verdict.message
        assert "cannot connect" in verdict.message


def test_a_certificate_nobody_signed_is_fatal(tmp_path: Path, describe: Callable[..., HttpAdapter]) -> None:
    """An untrusted certificate ends the run before anything is sent, and says what to set."""
    ssl = pytest.importorskip("ssl")
    openssl = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")],
        capture_output=True, check=False,
    )  # fmt: skip
    if openssl.returncode:
        pytest.skip("openssl cannot make a certificate here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            try:
                context.wrap_socket(listener.accept()[0], server_side=True).close()
            except OSError:
                return

        thread = threading.Thread(target=greet)
        thread.start()
        verdict = failure(describe(endpoint=f"https://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()
    assert (verdict.kind, verdict.sent) == ("fatal", False)
    assert "REQUESTS_CA_BUNDLE" in verdict.message


def test_a_missing_key_names_its_variable(
    describe: Callable[..., HttpAdapter], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its key, or with one no header can carry, a call fails before sending and says what to set."""
    for value, says in [
        ("", "ACME_KEY is not set"),
        (f"{SECRET}\nX-Other: 1", "ACME_KEY has a space or a line break"),
    ]:
        monkeypatch.setenv("ACME_KEY", value)
        with pytest.raises(CredentialsError, match=says) as caught:
            describe().label(IMAGES[:1])
        assert "api-smooth providers check http" in str(caught.value)
        assert SECRET not in str(caught.value)
    monkeypatch.setenv("ACME_KEY", f" {SECRET}\n")  # as a shell pastes it
    server.reply = Reply({"labels": []})
    describe().label(IMAGES[:1])
    describe(key="given").label(IMAGES[:1])
    assert [seen.headers["x-key"] for seen in server.seen] == [SECRET, "given"]
    with pytest.raises(ConfigurationError, match="one environment variable"):
        describe(PLAIN.replace('X-Key = "${ACME_KEY}"', ""), key="given")


def test_credentials_are_looked_up_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whether a description's variables are set is told without a request."""
    (tmp_path / "acme.toml").write_text(PLAIN)
    assert credentials(model=tmp_path / "acme.toml").found
    assert credentials().source == "OPENAI_API_KEY (openai)"
    for name in ("SANDBOX_KEY", "OPENAI_API_KEY", "ACME_KEY"):
        monkeypatch.delenv(name)
    assert not credentials(model=tmp_path / "acme.toml").found
    assert "OPENAI_API_KEY for openai" in credentials().source


def test_an_echoed_key_is_taken_out(
    describe: Callable[..., HttpAdapter], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that quotes the key, as it is or percent-encoded, does not get it into a message."""
    monkeypatch.setenv("ACME_KEY", "k/3y+pl4nted=")
    server.reply = Reply({"error": "bad key k/3y+pl4nted= in\n?sig=k%2F3y%2Bpl4nted%3D"}, status=401)
    adapter = describe(PLAIN + '[errors]\nmessage = "error"\n')
    with pytest.raises(Exception) as caught:  # noqa: PT011
        adapter.label(IMAGES[:1])
    for text in (str(caught.value), repr(caught.value), adapter.verdict(caught.value).message, repr(adapter)):
        assert "pl4nted" not in text
        assert "\n" not in text


def test_building_imports_nothing_heavy(tmp_path: Path) -> None:
    """An adapter is built without `requests`, torch or any SDK, and `api-smooth` can list what ships."""
    code = """
    import sys
    from api_smoothing import adapters
    adapters.load("http", model="sandbox-json")
    print({"requests", "urllib3", "torch", "numpy", "PIL"} & set(sys.modules))
    """
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout.strip() == "set()"


def test_requests_missing_says_what_to_install(
    describe: Callable[..., HttpAdapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `requests` the first call says how to install it."""
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[http\]'"):
        describe().label(IMAGES[:1])


def test_openai_by_its_own_name_is_http_with_its_description(server: Server) -> None:
    """The same card, so the same answers: `--provider openai --model M` asks as `http --model openai` does."""
    options: dict[str, Any] = {"classes": ["cat", "dog"], "usd_per_query": 0, "endpoint": server.url}
    own = adapters.load("openai", model="m", **options)
    assert own.card == load(model="openai", vision_model="m", **options).card
    with SmoothedAPI("openai", model="m", denoiser=None, **options) as api:
        assert api.settings()["provider"] == own.card.provider
    with pytest.raises(ConfigurationError, match=r"vision_model.*classes.*usd_per_query"):
        adapters.load("openai")
