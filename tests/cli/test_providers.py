"""`api-smooth providers`: the list costs nothing and imports nothing; a check sends one image, with consent."""

from __future__ import annotations

import io
import json
import os
import shlex
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PLUGIN, Terminal
from PIL import Image

from api_smoothing.adapters import AdapterCard, Answer, Credentials, EncodedImage, Label, Quota, Verdict
from api_smoothing.adapters.registry import BUILT_IN
from api_smoothing.cli import main
from api_smoothing.cli.overview import has_package
from api_smoothing.home import home

CARD = AdapterCard(name="fake", fingerprint="1", usd_per_query=0.0015, min_side=300)
CAT = Answer(labels=(Label(name="Cat", score=0.97, id="c1"), Label(name="Animal")), model_version="7")


class Fake:
    """A service that answers, fails, or breaks its contract, as told."""

    def __init__(self, card: AdapterCard, outcome: object, verdict: Verdict) -> None:
        self.card = card
        self._outcome, self._verdict = outcome, verdict
        self.images: list[EncodedImage] = []

    def label(self, images: Sequence[EncodedImage], /) -> Any:
        self.images += images
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def verdict(self, error: Exception, /) -> Verdict:
        return self._verdict


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fake]:
    """Puts a provider called "fake" among the built-in ones."""

    def make(card: AdapterCard = CARD, outcome: object = (CAT,), verdict: Verdict = Verdict.FATAL) -> Fake:
        fake = Fake(card, outcome, verdict)
        module = types.ModuleType("fake_provider")
        module.load = lambda **options: fake  # type: ignore[attr-defined]
        module.credentials = lambda: Credentials(found=False, source="set FAKE_KEY")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fake_provider", module)
        monkeypatch.setitem(BUILT_IN, "fake", "fake_provider:load")
        return fake

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection would fail the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main(["providers", "--json"]) == 0
    return {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


# the list


def test_the_list_has_every_provider(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    """Built-in providers and plugins are listed with card, price and credentials, without a connection."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    found = rows(capsys)
    assert [*BUILT_IN, "toy"] == [name for name in found if name in BUILT_IN or name == "toy"]
    for name, key in [
        ("aws", "aws/detect-labels"),
        ("google", "google/label-detection"),
        ("azure", "azure/tags-4.0"),
    ]:
        assert found[name]["card"]["price"] == found[name]["price"]["key"] == key
        assert found[name]["price"]["micro_usd"] > 0
        assert found[name]["card"]["quotas"]
        assert found[name]["credentials"]["source"]
    assert found["azure"]["card"]["end_of_life"] == "2028-09-25"
    assert found["toy"]["card"]["labels"] == ["cat", "dog"]
    assert found["toy"]["installed"] is None
    assert main(["providers"]) == 0
    table = capsys.readouterr().out
    for words in [*BUILT_IN, "toy", "2028-09-25", "$1.50/1,000", "unconfirmed:", "model="]:
        assert words in table


def test_the_list_imports_no_package_of_a_provider() -> None:
    """Looking at the providers loads no SDK, no torch and no numpy."""
    code = "from api_smoothing.cli import main; import sys; main(['providers']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "torchvision",
        "numpy",
        "boto3",
        "botocore",
        "google",
        "azure",
        "clarifai_grpc",
        "grpc",
        "requests",
    }
    assert not heavy & {name.split(".")[0] for name in done.stderr.split()}


def test_credentials_are_looked_for_and_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    """A variable that is set is named as found; its value appears nowhere."""
    secret = "planted-9f2c"
    for name in ("VISION_KEY", "CLARIFAI_PAT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("VISION_ENDPOINT", "https://example.org")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert main(["providers", "--json"]) == 0
    printed = capsys.readouterr()
    found = {row["name"]: row["credentials"] for row in map(json.loads, printed.out.splitlines())}
    assert found["azure"] == {"found": True, "source": "VISION_ENDPOINT and VISION_KEY"}
    assert found["clarifai"]["found"]
    assert found["aws"]["found"]
    assert main(["providers"]) == 0
    assert secret not in printed.out + printed.err + capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "provider", "told"),
    [
        ({}, "aws", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; and AWS_REGION"),
        ({"AWS_REGION": "eu-west-1"}, "aws", "found region eu-west-1; set AWS_ACCESS_KEY_ID"),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
            "aws",
            "SECRET_ACCESS_KEY; set AWS_REGION",
        ),
        ({}, "azure", "set VISION_ENDPOINT and VISION_KEY"),
        ({"VISION_KEY": "a"}, "azure", "found VISION_KEY; set VISION_ENDPOINT"),
        ({}, "google", "GOOGLE_APPLICATION_CREDENTIALS"),
        ({}, "clarifai", "set CLARIFAI_PAT"),
        ({}, "http", "SANDBOX_KEY for sandbox-json"),
        ({}, "openai", "OPENAI_API_KEY for openai"),
    ],
)
def test_every_variable_a_first_call_needs_is_named(
    given: dict[str, str],
    provider: str,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What is missing is told whole, beside what is there: nobody is sent from one variable to the next."""
    for name in [*os.environ]:
        if name.startswith(("AWS_", "VISION_", "AZURE_", "GOOGLE_", "CLARIFAI_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["providers", "--json"]) == 0
    found = rows(capsys)[provider]["credentials"]
    assert not found["found"]
    assert told in found["source"]


def test_one_broken_provider_hides_no_other(
    provide: Callable[..., Fake], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that cannot be set up is listed with the reason, in one line."""
    provide()
    monkeypatch.setattr(sys.modules["fake_provider"], "load", lambda **_: 1 / 0)
    found = rows(capsys)
    assert found["fake"]["card"] is None
    assert "ZeroDivisionError" in found["fake"]["remark"]
    assert found["aws"]["card"]["name"] == "aws"
    provide(AdapterCard(name="fake", fingerprint="1", price="fake/unknown"))
    assert "fake/unknown" in rows(capsys)["fake"]["remark"]


def test_packages_are_found_without_importing_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dotted name is followed through packages without code, and nothing on its way is imported."""
    (tmp_path / "outer_space" / "inner" / "core").mkdir(parents=True)
    (tmp_path / "outer_space" / "inner" / "core" / "__init__.py").write_text("raise AssertionError\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert has_package("outer_space.inner.core")
    assert not has_package("outer_space.inner.other")
    assert not has_package("outer_space.missing.core")
    assert not has_package("no_such_package_anywhere")
    assert not [name for name in sys.modules if name.startswith("outer_space")]


def test_a_missing_package_is_told_with_its_pip_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a provider's package is missing, the list says so and how to install it."""
    monkeypatch.setattr("api_smoothing.cli.overview.has_package", lambda name: name != "clarifai_grpc")
    assert main(["providers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("clarifai")).split()[1] == "missing"
    assert [line for line in lines if "pip install" in line] == [
        "clarifai     pip install 'api-smooth[clarifai]'"
    ]


# the check


def test_without_consent_nothing_is_sent(
    provide: Callable[..., Fake], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can be asked, the check says what it costs, refuses with exit 2, and sends nothing."""
    fake = provide()
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["providers", "check", "fake"]) == 2
    error = capsys.readouterr().err
    assert "$0.0015" in error
    assert "--yes" in error
    assert error.count("\n") == 1
    assert not fake.images


@pytest.mark.parametrize(("answer", "sent"), [("y", 1), ("yes", 1), ("n", 0), ("", 0), ("sure", 0)])
def test_the_user_is_asked(
    answer: str,
    sent: int,
    provide: Callable[..., Fake],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At a terminal the price is shown first, and only a clear yes sends the image."""
    fake = provide()
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    assert main(["providers", "check", "fake"]) == 0
    assert len(fake.images) == sent
    printed = capsys.readouterr()
    assert "one query to fake costs $0.0015" in printed.err
    assert ("nothing was sent" in printed.err) == (not sent)
    assert bool(printed.out) == bool(sent)


def test_a_check_sends_one_image_and_shows_the_answer(
    provide: Callable[..., Fake], capsys: pytest.CaptureFixture[str]
) -> None:
    """One image goes out, a picture of at least the provider's least side; labels, version and time come back."""
    fake = provide()
    assert main(["providers", "check", "fake", "--yes"]) == 0
    shown = capsys.readouterr().out
    for words in ["fake answered in", " s, for $0.0015", "version  7", "0.970  Cat  c1", "Animal"]:
        assert words in shown
    [image] = fake.images
    pixels = np.asarray(Image.open(io.BytesIO(image.data)))
    assert pixels.shape == (image.height, image.width, 3)
    assert min(pixels.shape[:2]) >= 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100, "a photograph has many colours"


def test_json_is_one_object(provide: Callable[..., Fake], capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints what came back as one object, and nothing else."""
    provide()
    assert main(["providers", "check", "fake", "--yes", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["labels"][0] == {"name": "Cat", "score": 0.97, "id": "c1"}
    assert (found["provider"], found["model_version"], found["usd"]) == ("fake", "7", 0.0015)
    assert found["seconds"] >= 0


@pytest.mark.parametrize(
    "limits", [{"max_side": 64, "min_side": 1}, {"max_image_bytes": 20_000, "min_side": 1}, {"min_side": 1}]
)
def test_the_image_fits_the_card(
    limits: dict[str, int], provide: Callable[..., Fake], capsys: pytest.CaptureFixture[str]
) -> None:
    """The image keeps to the most pixels and bytes the provider takes."""
    fake = provide(AdapterCard(name="fake", fingerprint="1", **limits))
    assert main(["providers", "check", "fake", "--yes"]) == 0
    [image] = fake.images
    assert max(image.height, image.width) <= limits.get("max_side", 224)
    assert len(image.data) <= limits.get("max_image_bytes", 10**6)


SECRET = "sk-planted"


@pytest.mark.parametrize(
    ("outcome", "verdict", "says"),
    [
        (
            RuntimeError(SECRET),
            Verdict(kind="fatal", message="the key is not valid; set FAKE_KEY"),
            "set FAKE_KEY",
        ),
        (RuntimeError(SECRET), Verdict.TRANSIENT, "RuntimeError; it may work the next time"),
        (RuntimeError(SECRET), Verdict(kind="throttled", retry_after=7.0), "try again in 7 s"),
        ((Verdict(kind="refused", message="too dark"),), Verdict.FATAL, "this image: too dark"),
        ((), Verdict.FATAL, "0 answers to one query"),
    ],
)
def test_a_failure_is_explained_in_one_line(
    outcome: object,
    verdict: Verdict,
    says: str,
    provide: Callable[..., Fake],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever goes wrong: exit 4, one request, one line that says what it means, and no secret."""
    fake = provide(outcome=outcome, verdict=verdict)
    assert main(["providers", "check", "fake", "--yes"]) == 4
    printed = capsys.readouterr()
    *_, line = printed.err.splitlines()
    assert line.startswith("api-smooth: error: fake")
    assert says in line
    assert printed.out == ""
    assert SECRET not in printed.err
    assert len(fake.images) == 1


def test_a_check_takes_its_turn(provide: Callable[..., Fake]) -> None:
    """The image counts in the account's quota, which other processes share."""
    quota = Quota(unit="image", count=3, seconds=0.1)
    provide(AdapterCard(name="fake", fingerprint="1", quotas=(quota,), quota_key="account"))
    assert main(["providers", "check", "fake", "--yes"]) == 0
    assert (home() / "rate.db").is_file()


def test_a_model_that_runs_here_is_checked_without_asking(capsys: pytest.CaptureFixture[str]) -> None:
    """The bundled classifier costs nothing and is sent nowhere, so nobody is asked."""
    assert main(["providers", "check", "torchvision", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usd"] == 0.0
    assert found["labels"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("providers check", "NAME"),
        ("providers check gogle --yes", "google"),
        ("providers chek aws", "chek"),
        ("providers check aws --yes --rate 0", "--rate"),
        ("providers --model m", "--model"),
        ("providers --yes", "--yes"),
    ],
)
def test_a_wrong_command_is_one_line(command: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the fingers is exit 2 and one line that names it."""
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_provider_options_reach_the_loader(
    provide: Callable[..., Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model, rate and the provider's own options are those of certify."""
    fake, given = provide(), {}
    monkeypatch.setattr(sys.modules["fake_provider"], "load", lambda **options: given.update(options) or fake)
    flags = ["--model", "m", "--rate", "5", "--options", "region=eu-west-1"]
    assert main(["providers", "check", "fake", "--yes", *flags]) == 0
    assert given == {"model": "m", "rate": 5.0, "region": "eu-west-1"}


@pytest.mark.usefixtures("project")
def test_the_test_command_of_an_endpoint_can_be_pasted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command a message names to test a key checks the endpoint that refused it."""
    pytest.importorskip("requests")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    endpoint = ["--model", "openai", "--options", "vision_model=m,usd_per_query=0,classes=cat|dog"]
    command = ["certify", "a.png", "--provider", "http", *endpoint, "--denoiser", "none", "-n", "20"]
    assert main(command) == 4
    advice = capsys.readouterr().err.split("test it with: api-smooth ")[1].split(";")[0]
    assert main([*shlex.split(advice), "--yes"]) == 4
    assert "OPENAI_API_KEY" in capsys.readouterr().err
