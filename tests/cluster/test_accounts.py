"""The file of accounts: it names variables and holds no key; what is wrong is told without a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_smoothing.cluster import Account, read_accounts
from api_smoothing.errors import ConfigurationError, CredentialsError

GOOD = """
[[accounts]]
name = "one"
variables = {VISION_KEY = "KEY_1"}
rate = 10
budget_usd = 2.5
options = {endpoint = "https://one.example", endpoint_id = "ours"}

[[accounts]]
name = "two"
budget_usd = 1
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    """In its order; what is left out is the provider's usual."""
    (tmp_path / "a.toml").write_text(GOOD)
    one, two = read_accounts(tmp_path / "a.toml")
    assert (one.name, one.rate, one.usd, one.options["endpoint_id"]) == ("one", 10.0, 2.5, "ours")
    assert two == Account(name="two", usd=1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 'x'", "begin each account"),
        ("[[accounts]", "not TOML"),
        ("[[accounts]]\nname = 'a b/c'", "name must be"),
        ("[[accounts]]\nname = 'x'\nrates = 3", "did you mean rate"),
        ("[[accounts]]\nname = 'x'\nrate = 0", "above 0"),
        ("[[accounts]]\nname = 'x'\nrate = 'fast'", "a number"),
        ("[[accounts]]\nname = 'x'\nvariables = {VISION_KEY = 'sk-s3cret!'}", "not to keys"),
        ("[[accounts]]\nname = 'x'\noptions = {secret_access_key = 's3cret!'}", "name a variable"),
        ("[[accounts]]\nname = 'x'\n[[accounts]]\nname = 'x'", "one name"),
        ("[[accounts]]\nname = 'x'\nbudget_usd = 1\n[[accounts]]\nname = 'y'", "every account"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_without_a_key(tmp_path: Path, text: str, words: str) -> None:
    """And without a value, which may be one."""
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=words) as told:
        read_accounts(tmp_path / "a.toml")
    assert "s3cret" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("key", ["AIzaSyD_s3cret", "0123abcdef", "AKIAS3CRET"])
def test_a_key_in_place_of_a_variable_is_not_shown(key: str) -> None:
    """Though it might be the name of one."""
    for variables in ({"VISION_KEY": key}, {key: "KEY_1"}):
        with pytest.raises(CredentialsError, match="names of variables, not keys") as told:
            Account(name="one", variables=variables).values()
        assert key not in str(told.value)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the account; one that is set gives its value."""
    account = Account(name="one", variables={"VISION_KEY": "KEY_1"})
    monkeypatch.delenv("KEY_1", raising=False)
    with pytest.raises(CredentialsError, match="account one takes VISION_KEY from the variable KEY_1"):
        account.values()
    monkeypatch.setenv("KEY_1", "value")
    assert account.values() == {"VISION_KEY": "value"}
    assert "value" not in repr(account)
