"""What a worker is made of: names, the storage, and the keys of its provider alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from many_workers import asking

from api_smoothing import Budget, SmoothedAPI
from api_smoothing.adapters import labels
from api_smoothing.cluster.accounts import Account
from api_smoothing.cluster.recipe import Recipe, recipes
from api_smoothing.errors import ConfigurationError

pytest.importorskip("requests")

MAPS = Path(labels.__file__).parent / "maps"


def service(model: Any = "sandbox-json", **more: Any) -> SmoothedAPI:
    given = {"model": model, "endpoint": "http://127.0.0.1:9", "endpoint_id": "x", "key": "k"}
    return asking({**given, **more})


def test_keys_of_the_provider_go_to_workers_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names that its declaration has, and its adapter; nothing shows them."""
    monkeypatch.setenv("SANDBOX_KEY", "s3cret")
    monkeypatch.setenv("BANK_PASSWORD", "other")
    with service() as api:
        [recipe] = recipes(api, {})
    assert recipe.variables["SANDBOX_KEY"] == "s3cret"
    assert "BANK_PASSWORD" not in recipe.variables
    assert "s3cret" not in repr(recipe)


def test_accounts_share_a_budget_or_have_their_own() -> None:
    """One ledger under the run's name, or one for each; turns and days are each account's in any case."""
    with service(account="a", budget=Budget(usd=3, run="r")) as api:
        both = recipes(api, {}, [Account(name="a", rate=2.0), Account(name="b")])
        assert {recipe.arguments["budget"].run for recipe in both} == {"r"}
        assert [recipe.arguments["account"] for recipe in both] == ["a", "b"]
        assert both[0].arguments["rate"] == 2.0
    with service(account="a", budget=Budget(usd=1, run="r#a")) as api:
        own = recipes(api, {}, [Account(name="a", usd=1.0), Account(name="b", usd=2.0)])
    assert [(one.arguments["budget"].run, one.arguments["budget"].usd) for one in own] == [
        ("r#a", 1.0),
        ("r#b", 2.0),
    ]


def test_a_worker_that_would_not_ask_the_same_says_so() -> None:
    """Another version, another classifier behind an account: a line each, and nothing is asked."""
    with service() as api:
        [recipe] = recipes(api, {})
        [other] = recipes(api, {}, [Account(name="west", options={"endpoint_id": "another"})])
    assert opened(recipe)
    with pytest.raises(ConfigurationError, match="the account west reaches another classifier"):
        opened(other)
    old = Recipe(**{**{name: getattr(recipe, name) for name in Recipe.__slots__}, "version": "0.0.1"})
    with pytest.raises(ConfigurationError, match="install the same on all machines"):
        opened(old)


def opened(recipe: Recipe) -> bool:
    with recipe.opened() as api:
        return api is not None


def test_a_local_server_is_no_server_of_other_machines() -> None:
    """A sandbox is asked from its machine alone."""
    with service() as api:
        [recipe] = recipes(api, {})
    elsewhere = Recipe(**{**{name: getattr(recipe, name) for name in Recipe.__slots__}, "machine": "another"})
    with pytest.raises(ConfigurationError, match="workers of other machines"):
        opened(elsewhere)


def test_files_are_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may stand in another folder."""
    shutil.copy(MAPS / "cifar10.toml", tmp_path / "labels.toml")
    monkeypatch.chdir(tmp_path)
    with service(labels="labels.toml") as api:
        [recipe] = recipes(api, {})
    assert recipe.arguments["labels"] == str(tmp_path / "labels.toml")


def test_a_local_budget_needs_a_name() -> None:
    """Workers know it by that alone."""
    with (
        SmoothedAPI(
            "torchvision", model="cifar10", denoiser=None, device="cpu", budget=Budget(queries=5)
        ) as api,
        pytest.raises(ConfigurationError, match="give Budget"),
    ):
        recipes(api, {})
