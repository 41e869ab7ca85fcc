"""Several accounts at one provider, whose quotas add up: a TOML file that names keys and has none.

    [[accounts]]
    name = "one"                                # in messages, and in the names of its ledger and limiter
    variables = {VISION_KEY = "VISION_KEY_1"}   # the provider's variable, and the one here that has its value
    rate = 10                                   # images a second that this account may send
    budget_usd = 2.5                            # most dollars of the run that it may spend
    options = {endpoint = "https://one.example", endpoint_id = "ours"}

All but the name may be left out. `options` are the provider's, such as `profile` and `region` of AWS. All accounts must
reach the same classifier: where the address is a part of its name, `endpoint_id` says that they do.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from api_smoothing.errors import ConfigurationError, CredentialsError, nearest

_KEYS: Final = ("name", "variables", "rate", "budget_usd", "options")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: As variables are usually called, and no key is: VISION_KEY_1.
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
#: Options that would be keys themselves.
_SECRET: Final = re.compile(r"key|secret|token|password|\bpat\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account: `variables` maps the provider's variables to those that have their values; `usd` None: no own limit.

    `rate` is in images a second; None is the provider's usual quota.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    rate: float | None = None
    usd: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, str]:
        """The provider's variables with their values. Raises CredentialsError for one that is not set."""
        found = {}
        for name, source in self.variables.items():
            if not (value := os.environ.get(source, "").strip()):
                raise CredentialsError(
                    f"the account {self.name} takes {_unless_a_key(name)} from the variable {_unless_a_key(source)}, "
                    "which is not set: variables has the names of variables, not keys"
                )
            found[name] = value
        return found


def read_accounts(path: str | Path) -> tuple[Account, ...]:
    """The accounts of a file. Raises ConfigurationError, one line, which repeats no value."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}): check path and permissions"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigurationError(f"{path} is not TOML: begin each account with [[accounts]]") from None
    entries = table.pop("accounts", None)
    if table or not isinstance(entries, list) or not entries:
        raise ConfigurationError(f"{path}: begin each account with [[accounts]], and have nothing else")
    return checked(
        [_read(entry, f"{path}: account {number}") for number, entry in enumerate(entries, 1)], str(path)
    )


def checked(accounts: Sequence[Account], where: str = "accounts") -> tuple[Account, ...]:
    """`accounts`, if they go together. Raises ConfigurationError."""
    names = [account.name for account in accounts]
    if len({*names}) < len(names):
        raise ConfigurationError(f"{where}: two accounts have one name: give each its own")
    limited = [account.usd is not None for account in accounts]
    if any(limited) and not all(limited):
        raise ConfigurationError(f"{where}: give every account a budget_usd, or none")
    return tuple(accounts)


def _read(entry: Any, where: str) -> Account:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where}: begin it with [[accounts]]")
    for key in entry:
        if key not in _KEYS:
            raise ConfigurationError(f"{where} has no {key}; did you mean {nearest(key, _KEYS, 1)[0]}?")
    name = entry.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,64}", name):
        raise ConfigurationError(f"{where}: name must be 1 to 64 letters, digits, points or dashes")
    variables, options = entry.get("variables", {}), entry.get("options", {})
    if not isinstance(variables, dict) or not all(
        _is_variable(one) for one in [*variables, *variables.values()]
    ):
        raise ConfigurationError(
            f"{where}: variables must map names of variables to names of variables, not to keys"
        )
    if not isinstance(options, dict):
        raise ConfigurationError(f"{where}: options must be a table")
    for option in options:
        if _SECRET.search(option):
            raise ConfigurationError(
                f"{where}: the option {option} is a key: name a variable that has it, in variables"
            )
    rate = _number(entry, "rate", where)
    if rate == 0:
        raise ConfigurationError(f"{where}: rate must be above 0")
    return Account(
        name=name, variables=variables, rate=rate, usd=_number(entry, "budget_usd", where), options=options
    )


def _is_variable(name: Any) -> bool:
    return isinstance(name, str) and _VARIABLE.fullmatch(name) is not None


def _unless_a_key(name: str) -> str:
    """The name of a variable, as far as it cannot be a key that stands in its place."""
    return name if _NAME.fullmatch(name) else "***"


def _number(entry: Mapping[str, Any], key: str, where: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigurationError(f"{where}: {key} must be a number from 0 on")
    return float(value)
