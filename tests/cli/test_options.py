"""The provider's own options, from a shell to its loader."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from api_smoothing.adapters.http.description import describe
from api_smoothing.cli.options import as_meant
from api_smoothing.cli.setting_kinds import KINDS
from api_smoothing.cli.settings import Settings
from api_smoothing.cli.smoothing import open_adapter


@pytest.mark.parametrize(
    ("provider", "text", "meant"),
    [
        ("azure", "api=3.2", {"api": "3.2"}),
        ("azure", "key=0012345,timeout=5,rate=2.5", {"key": "0012345", "timeout": 5, "rate": 2.5}),
        ("clarifai", "user_id=007,version=1e5,max_labels=7", {"user_id": "007", "version": "1e5", "max_labels": 7}),
        ("aws", "profile=true,only=1|2,min_confidence=0.5",
         {"profile": "true", "only": ["1", "2"], "min_confidence": 0.5}),
        ("torchvision", "mean=0.5|0.4|0.3,top=3", {"mean": [0.5, 0.4, 0.3], "top": 3}),
        ("http", "vision_model=4,usd_per_query=0.1", {"vision_model": "4", "usd_per_query": 0.1}),
        ("aws", "max_labels=many", {"max_labels": "many"}),
    ],
)  # fmt: skip
def test_an_option_is_what_the_loader_takes(provider: str, text: str, meant: dict[str, Any]) -> None:
    """Text stays text, digit for digit, where the parameter is text; numbers are numbers where it is a number."""
    found = as_meant(provider, KINDS["options"].check(KINDS["options"].read(text)))
    assert found == meant
    assert [type(value) for value in found.values()] == [type(value) for value in meant.values()]


def test_a_number_in_a_file_is_text_where_text_is_meant() -> None:
    """A version without quotes in TOML is the version."""
    assert as_meant("azure", {"api": 3.2, "timeout": 5}) == {"api": "3.2", "timeout": 5}


def test_the_older_azure_can_be_asked_for() -> None:
    """`--options api=3.2` reaches the adapter, which is about that version."""
    options = KINDS["options"].read("api=3.2,endpoint=https://me.cognitiveservices.azure.com")
    with open_adapter(Settings(provider="azure", options=options), sends=False) as adapter:
        assert adapter.card.price == "azure/tags-3.2"


def test_a_description_reads_its_own_variables() -> None:
    """A variable is a number, a truth value or text as its default in the description is."""
    found = describe("openai", {"vision_model": "4", "classes": ["a", "b"], "seed": "7"}, 0.1)
    assert (found.variables["vision_model"], found.variables["seed"]) == ("4", 7)


def test_the_options_of_local_models_are_those_of_their_loader() -> None:
    """The names that are told without its module, which brings torch, are its own."""
    from api_smoothing.adapters.local.torchvision import load
    from api_smoothing.cli.options import LOCAL

    assert {*LOCAL, "device"} == {*inspect.signature(load).parameters}
