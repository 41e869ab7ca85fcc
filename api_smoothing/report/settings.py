"""What made a run: settings side by side, digests, and the commands that make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from api_smoothing.report.entries import Entry
from api_smoothing.report.words import file_name, told

#: Flags of both commands whose value stands in the header, then those of one alone.
_FLAGS: Final = {
    "denoiser": "--denoiser",
    "sigma": "--sigma",
    "alpha": "--alpha",
    "method": "--method",
    "noise": "--noise",
    "size": "--size",
    "epoch": "--epoch",
}
_EVALUATE: Final = {
    "radii": "--radii",
    "n_asked": "-n",
    "sample": "--sample",
    "sample_seed": "--sample-seed",
    "at_least": "--at-least",
    "confidence": "--confidence",
}
_CERTIFY: Final = {"radius": "--radius", "n": "-n", "n0": "--n0"}
_LINE: Final = 56  # characters after which a flag begins another line
_LONGEST: Final = 400  # characters of a setting
_USUAL: Final = {"method": "auto", "noise": "gaussian", "n_asked": "auto"}


def side_by_side(entries: Sequence[Entry]) -> list[tuple[str, list[str], bool]]:
    """Name, a text a run, and whether they differ, of every setting that any header has."""
    every = [_facts(entry) for entry in entries]
    names = list(dict.fromkeys(name for facts in every for name in facts))
    rows = []
    for name in names:
        texts = [facts.get(name, "–") for facts in every]
        if set(texts) == {"–"}:
            continue
        rows.append((name, texts, len(set(texts)) > 1))
    return rows


def digests(entry: Entry) -> list[tuple[str, str]]:
    """What a third party compares: the file's digest, what it committed to, the end of its chain, the model's."""
    found = [] if entry.sha256 is None else [("sha256 of the run file", entry.sha256)]
    lines = _marked_lines(entry)
    if commitment := lines.get("commitment"):
        found += [(f"committed: {key}", told(value)) for key, value in commitment.items() if "sha256" in key]
    if chain := lines.get("last", {}).get("chain"):
        found.append(("end of the chain", told(chain)))
    for name in ("model", "denoiser", "label_map"):
        if value := entry.settings.get(name):
            found.append((name.replace("_", " "), told(value)))
    return found


def commands(entry: Entry) -> str:
    """The commands that make the run and this page again, a line each; data and keys are the reader's own."""
    settings = entry.settings
    if str(settings.get("provider", "")).startswith("locuslab/"):
        return "# made by certify.py of github.com/locuslab/smoothing"
    evaluated = settings.get("question") == "evaluate"
    provider, _, place = str(settings.get("provider", "")).partition("@")
    name, _, model = provider.partition("/")
    words = (
        ["api-smooth", "evaluate", file_name(settings.get("data") or "DATASET")]
        if evaluated
        else ["api-smooth", "certify", "IMAGE…"]
    )
    words += (
        ["--provider", name]
        + (["--model", model] if model else [])
        + (["--sandbox"] if place == "sandbox" else [])
    )
    for key, flag in {**_FLAGS, **(_EVALUATE if evaluated else _CERTIFY)}.items():
        value = settings.get(key)
        if key == "denoiser" and key in settings:
            words += [flag, "none" if value is None else str(value).partition("@")[0]]
        elif value is not None and value != [] and value != _USUAL.get(key):
            words += [flag, _value(value)]
    if label_map := settings.get("label_map"):
        words += ["--labels", str(label_map).partition("@")[0]]
    kind, _, seed = str(settings.get("seed", "")).partition(":")
    words += ["--seed", seed] if kind == "public" else []
    source = entry.source
    lines = [_shell([*words, "--output", source])]
    if evaluated:
        lines.append(_shell(["api-smooth", "verify", source]))
    lines.append(_shell(["api-smooth", "report", source, "-o", "report.html"]))
    if kind == "secret":
        lines.insert(0, "# the seed is secret: another installation draws other noise, and gets other votes")
    return "\n".join(lines)


def _shell(words: Sequence[str]) -> str:
    """A command, continued where a line of it would be too long for a page."""
    lines = [""]
    for word in (word if word in ("IMAGE…", "DATASET") else shlex.quote(told(word)) for word in words):
        if word.startswith("-") and len(lines[-1]) > _LINE:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {word}".lstrip() if len(lines) == 1 else f"{lines[-1]} {word}"
    return " \\\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _facts(entry: Entry) -> dict[str, str]:
    header = entry.run.header
    facts = {name.replace("_", " "): _text(value) for name, value in header.settings.items()}
    facts["api-smooth"] = told(header.version)
    facts["begun"] = told(header.created)
    facts["file"] = entry.source
    return facts


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return file_name(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:_LONGEST]


def _marked_lines(entry: Entry) -> Mapping[str, Mapping[str, Any]]:
    """The commitment of a run file and its last line; nothing where the file is gone."""
    found: dict[str, Mapping[str, Any]] = {}
    if entry.sha256 is None:
        return found
    last = b""
    with Path(entry.run.path).open("rb") as file:
        for number, line in enumerate(file):
            if number < 3 and b"api-smooth/commitment/" in line:
                found["commitment"] = _object(line)
            last = line if line.strip() else last
    found["last"] = _object(last)
    return found


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
