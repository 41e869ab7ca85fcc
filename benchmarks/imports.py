"""The import graph: files, arrows between them, those that cross rooms, circles, and imports upward.

`python benchmarks/imports.py [--room adapters] [--json] [--root CHECKOUT]`. Nothing is imported: every import statement
is read from the source, inside functions and under TYPE_CHECKING too. An arrow goes from one file to another, once,
however often it is imported: to the module where one is named (`from package import module` as well), else to the
`__init__` that has the name. A room is a folder or a file directly below the part (or below the package, without
--room). A dotted name in a text (the registry's lines) is no arrow: it is followed at run time, by name, and the file
that holds it knows nothing of what is there.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "api_smoothing"
ROOT = Path(__file__).parents[1]

#: Why files of one room of `adapters/` or `engine/` import another room: by the room imported.
REASONS: Mapping[str, str] = {
    "__init__": "what an adapter is made of, under the names that a provider from elsewhere imports as well",
    "_transport": "what calls to any service need: limits, proxies, SDKs, messages without secrets; gRPC",
    "base": "the interface itself: what a card, an image, an answer and a verdict are",
    "labels": "a filter on the server's side is made of a label map",
    "provider": "a declaration is one of these; the registry finds them",
    "registry": "asks what the providers declare, without knowing any",
    "testing": "the public name of the suite",
    "scheduler": "who drives the images of a run",
    "estimate": "what a query costs, which a budget is charged",
    "looks": "which question about a stream this is",
    "paths": "votes of a denoiser with several paths are polls",
    "report": "a certificate about a label is one of those",
    "sending": "outcomes of queries, and what sends them",
    "session": "which parts can be named for good",
    "storage": "what outlives a query, by its interface",
    "votes": "the votes of an image, and what they cost",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Modules by dotted name below the package ("" is its `__init__`), and the arrows between them."""

    files: Mapping[str, Path]
    arrows: frozenset[tuple[str, str]]

    def within(self, part: str) -> Graph:
        """The files of one part, called as below it, and the arrows between those."""
        names = {
            n: n.removeprefix(part).removeprefix(".") for n in self.files if f"{n}.".startswith(f"{part}.")
        }
        arrows = frozenset((names[a], names[b]) for a, b in self.arrows if a in names and b in names)
        return Graph(files={names[n]: self.files[n] for n in names}, arrows=arrows)

    def crossing(self) -> list[tuple[str, str]]:
        """The arrows from one room to another."""
        return sorted((a, b) for a, b in self.arrows if room_of(a) != room_of(b))

    def circles(self) -> list[list[str]]:
        """Groups of files that import one another, however indirectly."""
        return circles(self.files, self.arrows)


def room_of(name: str) -> str:
    """The folder or file directly below the part; the part's own `__init__` is a room."""
    return name.split(".")[0] or "__init__"


def read_graph(root: Path) -> Graph:
    """The graph of the package in a checkout."""
    files = {_name(file.relative_to(root / PACKAGE)): file for file in sorted((root / PACKAGE).rglob("*.py"))}
    arrows = {(name, to) for name, file in files.items() for to in _targets(name, file, files) if to != name}
    return Graph(files=files, arrows=frozenset(arrows))


def circles(nodes: Iterable[str], arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan 1972), sorted."""
    following: dict[str, list[str]] = {node: [] for node in nodes}
    for a, b in sorted(arrows):
        following[a].append(b)
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_nodes: list[str] = []
    found = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        open_nodes.append(node)
        for other in following[node]:
            if other not in number:
                visit(other)
            if other in open_nodes:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == number[node]:
            place = open_nodes.index(node)
            if len(group := open_nodes[place:]) > 1:
                found.append(sorted(group))
            del open_nodes[place:]

    for node in following:
        if node not in number:
            visit(node)
    return sorted(found)


def layers(root: Path) -> tuple[dict[str, set[str]], set[str]]:
    """What each part may import, and the leaves that all may: MAY_IMPORT and LEAVES of tests/test_package.py."""
    tree = ast.parse((root / "tests" / "test_package.py").read_text(encoding="utf-8"))
    values = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("MAY_IMPORT", "LEAVES")
    }
    return values["MAY_IMPORT"], values["LEAVES"]


def upward(graph: Graph, may_import: Mapping[str, set[str]], leaves: set[str]) -> list[tuple[str, str]]:
    """The arrows out of a part to what it may not import: upward, or sideways."""
    return sorted(
        (a, b)
        for a, b in graph.arrows
        if (part := room_of(a)) in may_import and room_of(b) not in may_import[part] | leaves | {part}
    )


def _name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(name: str, file: Path, files: Mapping[str, Path]) -> Iterator[str]:
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    whole = [PACKAGE, *filter(None, package)]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = whole[: len(whole) - node.level + 1] if node.level else []
            module = ".".join([*up, *filter(None, [node.module])])
            named = [(module, alias.name) for alias in node.names]
        else:
            continue
        for module, attribute in named:
            if module == PACKAGE or module.startswith(f"{PACKAGE}."):
                below = module.removeprefix(PACKAGE).removeprefix(".")
                deeper = f"{below}.{attribute}".strip(".")
                yield from [found for found in (deeper, below) if found in files][:1]


def facts_of(root: Path, room: str | None) -> dict[str, Any]:
    """All that is printed."""
    whole = read_graph(root)
    graph = whole if room is None else whole.within(room)
    crossing = graph.crossing()
    pairs = Counter((room_of(a), room_of(b)) for a, b in crossing)
    parts = {room_of(name) for name in whole.files}
    return {
        "part": room or PACKAGE,
        "files": len(graph.files),
        "arrows": len(graph.arrows),
        "crossing": len(crossing),
        "rooms": {f"{a} -> {b}": count for (a, b), count in sorted(pairs.items())},
        "circles": graph.circles(),
        "circles_of_parts": circles(parts, {(room_of(a), room_of(b)) for a, b in whole.crossing()}),
        "upward": upward(whole, *layers(root)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--room", metavar="PART", help="one part of the package, such as adapters")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout (default: this one)")
    parser.add_argument("--json", action="store_true", help="JSON, and nothing else")
    args = parser.parse_args()
    facts = facts_of(args.root, args.room)
    if args.json:
        print(json.dumps(facts))
        return
    print(f"{facts['part']}: {facts['files']} files, {facts['arrows']} arrows between them")
    print(f"  across rooms: {facts['crossing']}, between {len(facts['rooms'])} pairs of rooms")
    for pair, count in facts["rooms"].items():
        reason = REASONS.get(pair.split(" -> ")[1], "") if args.room in ("adapters", "engine") else ""
        print(f"  {count:4}  {pair:<24}  {reason}".rstrip())
    for name in ("circles", "circles_of_parts", "upward"):
        print(f"{name.replace('_', ' ')}: {facts[name] or 'none'}")


if __name__ == "__main__":
    main()
