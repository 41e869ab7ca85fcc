"""Label maps and answers, drawn and by hand, and a service that gives them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from api_smoothing import LabelMap
from api_smoothing.adapters import Answer, Label
from api_smoothing.adapters.labels.file import parse

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def says(*labels: tuple[str, float | None] | Label) -> Answer:
    return Answer(
        labels=tuple(
            found if isinstance(found, Label) else Label(name=found[0], score=found[1]) for found in labels
        )
    )


def map_of(content: dict[str, Any]) -> LabelMap:
    return LabelMap(**parse(content, "map.toml"))


WORDS = st.sampled_from(["cat", "Cat", "dog", "/m/1", "Pet"])
OWNERS = st.sampled_from(["a", "b"])
SCORES = st.sampled_from([0.0, 0.4, 0.6])
SCOPES = st.sampled_from(["general", "google"])
SECTION = st.fixed_dictionaries(
    {kind: st.dictionaries(WORDS, OWNERS, max_size=3) for kind in ("labels", "ids", "parents")}
)
#: A map over a small world, one field for each thing that may differ from its close relatives.
ASPECTS = st.fixed_dictionaries(
    {
        "general": SECTION,
        "google": SECTION,
        "threshold": st.dictionaries(st.tuples(SCOPES, OWNERS), SCORES, max_size=2),
        "thresholds": st.dictionaries(st.tuples(SCOPES, WORDS), SCORES, max_size=2),
        "ignore": st.lists(WORDS, max_size=1),
        "order": st.sampled_from([None, ["a", "b"], ["b", "a"]]),
        "other": st.sampled_from([None, "a", "rest"]),
        "none": st.sampled_from([None, "a", "empty"]),
    }
)


def content_of(aspects: dict[str, Any]) -> dict[str, Any]:
    """The file's content; each class has a word of its own, so that none is empty."""
    content: dict[str, Any] = {"classes": {}}
    for name in ("a", "b"):
        tables: dict[str, Any] = {}
        for scope in ("general", "google"):
            table = tables[scope] = {"labels": [f"only {name}"]} if scope == "general" else {}
            for kind, words in aspects[scope].items():
                mine = [w for w, owner in words.items() if owner == name]
                if kind == "labels":
                    mine = [w for w in mine if w not in aspects["ignore"]]
                if mine:
                    table[kind] = [*table.get(kind, []), *mine]
            if (scope, name) in aspects["threshold"]:
                table["threshold"] = aspects["threshold"][scope, name]
            lists = [t.get(kind, []) for t in (table, tables["general"]) for kind in aspects[scope]]
            single = {
                word: score
                for (where, word), score in aspects["thresholds"].items()
                if where == scope and any(word in words for words in lists)
            }
            if single:
                table["thresholds"] = single
        content["classes"][name] = tables["general"] | (
            {"google": tables["google"]} if tables["google"] else {}
        )
    return content | {k: aspects[k] for k in ("ignore", "order", "other", "none") if aspects[k]}


SINGLE = [
    Label(name=name, score=score, id=id, parents=parents)
    for name in ("cat", "Cat", "dog", "pet", "other")
    for score in (0.5, 1.0)
    for id in (None, "/m/1", "cat")
    for parents in ((), ("Pet",), ("dog", "cat"))
]


CAT = says(("tabby", 0.9), ("sofa", 0.9))
