from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from api_smoothing.cli.settings import Settings, add_setting_flags, resolve_settings
from api_smoothing.errors import ConfigurationError

NAMES = tuple(Settings.__dataclass_fields__)


@pytest.fixture(autouse=True)
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts in an empty project."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def resolve(*flags: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_setting_flags(parser, NAMES)
    return resolve_settings(parser.parse_args(flags), NAMES)


def user_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "config.toml").write_text(text)


def test_a_stronger_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag > environment > api-smooth.toml > the user's file > default, one source at a time."""
    assert resolve().sigma == 0.25
    user_file("sigma = 0.1\nalpha = 0.01", tmp_path)
    assert resolve().sigma == 0.1
    Path("api-smooth.toml").write_text("sigma = 0.2")
    assert resolve().sigma == 0.2
    monkeypatch.setenv("API_SMOOTH_SIGMA", "0.3")
    assert resolve().sigma == 0.3
    assert resolve("--sigma", "0.4").sigma == 0.4
    assert resolve().alpha == 0.01, "a key only the weakest source has still counts"


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--size", "32"], "size", 32),
        (["-n", "60"], "n", 60),
        (["--n", "60"], "n", 60),
        (["--size", "24x32"], "size", (24, 32)),
        (["--denoiser", "none"], "denoiser", None),
        (["--seed", "secret"], "seed", None),
        (["--seed", "7"], "seed", 7),
        (["--no-cache"], "cache", False),
        (["--cache", "answers"], "cache", "answers"),
        (["--budget-queries", "0"], "budget_queries", 0),
        (["-n", "100"], "n", 100),
    ],
)
def test_flags_become_typed_values(flags: list[str], name: str, value: object) -> None:
    """A flag's text becomes the value the facade takes."""
    assert getattr(resolve(*flags), name) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sigma = '0.25'", ["api-smooth.toml: sigma", "number above 0", "'0.25'"]),
        ("sigma = true", ["api-smooth.toml: sigma"]),
        ("sgima = 0.25", ["api-smooth.toml: sgima", "did you mean sigma"]),
        ("n = 10.5", ["api-smooth.toml: n", "whole number", "10.5"]),
        ("n = 0", ["api-smooth.toml: n"]),
        ("alpha = nan", ["api-smooth.toml: alpha"]),
        ("method = 'clopper'", ["api-smooth.toml: method", "clopper-pearson"]),
        ("size = [32, 0]", ["api-smooth.toml: size"]),
        ("sigma = \n", ["api-smooth.toml is not TOML", "line 1"]),
    ],
)
def test_a_wrong_file_names_itself_and_the_key(text: str, says: list[str]) -> None:
    """An error in a settings file names the file, the key and what it should be, in one line."""
    Path("api-smooth.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        resolve("--sigma", "0.5")  # a stronger source does not hide the mistake
    assert "\n" not in str(caught.value)
    for words in says:
        assert words in str(caught.value)


def test_a_wrong_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt API_SMOOTH_ variable is an error: a budget that is silently ignored costs money."""
    monkeypatch.setenv("API_SMOOTH_BUDGET_USDD", "5")
    with pytest.raises(ConfigurationError, match=r"API_SMOOTH_BUDGET_USDD.*budget_usd"):
        resolve()
    monkeypatch.delenv("API_SMOOTH_BUDGET_USDD")
    monkeypatch.setenv("API_SMOOTH_BUDGET_USD", "lots")
    with pytest.raises(ConfigurationError, match=r"API_SMOOTH_BUDGET_USD must be a number.*'lots'"):
        resolve()


def test_a_command_ignores_settings_of_others() -> None:
    """A setting a command has no use for may stand in the project's file."""
    Path("api-smooth.toml").write_text("radius = 0.5\nsigma = 0.5")
    resolved = resolve_settings(argparse.Namespace(), ["sigma"])
    assert (resolved.sigma, resolved.radius) == (0.5, None)


@pytest.mark.parametrize(
    "text",
    [
        'options = { endpoint = "http://127.0.0.1:9" }',
        'options = { key = "k" }',
        'options = { secret_access_key = "k" }',
        'options = { profile = "other" }',
        'model = "mine.toml"',
    ],
)
def test_a_file_one_happens_to_stand_beside_decides_where_no_key_goes(text: str, tmp_path: Path) -> None:
    """Address, credentials and descriptions come from a flag, a variable or the user's own file alone."""
    user_file(text, tmp_path)
    resolve()
    Path("api-smooth.toml").write_text(f'provider = "http"\n{text}')
    with pytest.raises(ConfigurationError, match="where a key goes") as caught:
        resolve()
    assert "\n" not in str(caught.value)
    assert "config.toml" in str(caught.value)


def test_other_options_may_stand_in_the_folder() -> None:
    """What cannot lead a key astray is a project's to say."""
    Path("api-smooth.toml").write_text(
        'provider = "aws"\noptions = { region = "eu-west-1", max_labels = 20 }'
    )
    assert resolve().options == {"region": "eu-west-1", "max_labels": 20}
