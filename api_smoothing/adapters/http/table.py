"""A TOML table taken apart key by key: every mistake is one line that names the file and the key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from api_smoothing.adapters.http.path import Path
from api_smoothing.errors import ConfigurationError


class Table:
    """One table of a file. Each method takes a key out of it; `end` refuses what nobody took."""

    def __init__(self, content: Mapping[str, Any], *, file: str, name: str = "") -> None:
        self._content = dict(content)
        self._file = file
        self._name = name

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise the ConfigurationError for `key`."""
        raise ConfigurationError(f"{self._file}: {'.'.join(filter(None, (self._name, key)))} {problem}")

    def holds(self, key: str) -> bool:
        """Whether `key` is there and was not taken."""
        return key in self._content

    def take(self, key: str, default: Any = None) -> Any:
        """Whatever stands at `key`."""
        return self._content.pop(key, default)

    def rest(self) -> dict[str, Any]:
        """Everything that was not taken."""
        content, self._content = self._content, {}
        return content

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not empty; without a default it must be there."""
        value = self.take(key, default)
        if value is None:
            self.fail(key, "is missing")
        if not isinstance(value, str) or not value.strip():
            self.fail(key, f"must be a text that is not empty, not {value!r}")
        return value

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """One of the `allowed` words."""
        value = self.text(key, default)
        if value not in allowed:
            self.fail(key, f"must be one of {', '.join(allowed)}, not {value!r}")
        return value

    def whole(self, key: str) -> int | None:
        """A whole number of at least 1, or None where there is none."""
        value = self.take(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            self.fail(key, f"must be a whole number of at least 1, not {value!r}")
        return value

    def number(self, key: str, default: float, *, zero: bool = False) -> float:
        """A finite number above 0, or of at least 0 with `zero`."""
        return self.checked_number(key, self.take(key, default), zero=zero)

    def checked_number(self, key: str, value: Any, *, zero: bool = False) -> float:
        """`value` as a finite number above 0, or of at least 0 with `zero`; `key` is where it stands."""
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < 0 or (value == 0 and not zero):
            self.fail(key, f"must be a number {'of at least' if zero else 'above'} 0, not {value!r}")
        return float(value)

    def texts(self, key: str) -> dict[str, str]:
        """A table of strings, empty where there is none."""
        value = self.take(key, {})
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            self.fail(key, "must be a table of texts")
        return value

    def path(self, key: str) -> Path | None:
        """A path into the answer, or None where there is none."""
        found = self.paths(key)
        if len(found) > 1:
            self.fail(key, "must be one path")
        return found[0] if found else None

    def paths(self, key: str) -> tuple[Path, ...]:
        """One path or a list of them, empty where there is none."""
        value = self.take(key, [])
        try:
            return tuple(Path.parse(item) for item in ([value] if isinstance(value, str) else value))
        except (TypeError, ValueError) as error:
            self.fail(key, f"must be a path into the answer: {error}")

    def table(self, key: str) -> Table:
        """The table at `key`, empty where there is none."""
        value = self.take(key, {})
        if not isinstance(value, dict):
            self.fail(key, "must be a table")
        return Table(value, file=self._file, name=".".join(filter(None, (self._name, key))))

    def tables(self, key: str) -> list[Table]:
        """The list of tables at `key`, empty where there is none."""
        value = self.take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(key, "must be a list of tables: [{ … }, …]")
        return [Table(item, file=self._file, name=f"{self._name}.{key}[{i}]") for i, item in enumerate(value)]

    def end(self) -> None:
        """Refuse the first key that was not taken."""
        for key in self._content:
            self.fail(key, "is unknown; see the list of keys in api_smoothing/adapters/http/schema.py")
