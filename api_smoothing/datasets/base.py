"""What a data set is: examples in a fixed order, and what was guessed or passed over to get them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, overload

from api_smoothing.errors import ConfigurationError
from api_smoothing.images import ImageLike

_SAMPLE: Final = b"api-smooth sample 1\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One image of a data set.

    `id` is unique in the set and the same in every run: a path below the folder, a row number. `image` is what
    `images.load` takes, or a function without arguments that returns it; nothing is read before. `path` is where
    the image lies, if it is a file. `truth` is the label in the data set's own words; None where it has none.
    """

    id: str
    image: ImageLike | Callable[[], ImageLike]
    path: str | None = None
    truth: str | None = None

    def read(self) -> ImageLike:
        """The image for `images.load`. Raises ImageError, in one line, where the source cannot give it."""
        return self.image() if callable(self.image) else self.image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSet(Sequence[Example]):
    """Examples in a fixed order.

    `classes` are the class names in the set's own order where it has one, else its labels in order of name. `told`
    are sentences for the user: columns guessed, files passed over, duplicates. `sample` and `sample_seed` say how
    the examples were drawn, see `sampled`; None where all of them, or the first ones, are there in their own order.
    """

    name: str
    examples: tuple[Example, ...]
    classes: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    sample: int | None = None
    sample_seed: int | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, index: int | slice) -> Example | tuple[Example, ...]:
        return self.examples[index]

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def first(self, count: int) -> DataSet:
        """The first `count` examples; all where there are fewer. Raises ConfigurationError for count < 1."""
        return replace(self, examples=self.examples[: at_least_one("limit", count)])

    def sampled(self, count: int | None = None, seed: int = 0) -> DataSet:
        """`count` examples drawn at random without replacement, in the order drawn; all of them, shuffled, for None.

        The order is that of sha256("api-smooth sample 1", a zero byte, the seed in decimal, a zero byte, the id in
        UTF-8): the same on every machine and version, whatever order the set was listed in. So the first k of a
        sample are the sample of k.
        Raises ConfigurationError for a count below 1, or a seed that is no whole number.
        """
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ConfigurationError(f"sample_seed must be a whole number, not {seed!r}")
        wanted = len(self) if count is None else at_least_one("sample", count)
        head = _SAMPLE + str(seed).encode() + b"\0"
        drawn = sorted(self.examples, key=lambda e: hashlib.sha256(head + e.id.encode("utf-8")).digest())[
            :wanted
        ]
        short = [f"a sample of {wanted:,} is asked for; the set has {len(self):,} images: all are taken"]
        told = (*self.told, *(short if wanted > len(self) else []))
        return replace(self, examples=tuple(drawn), told=told, sample=len(drawn), sample_seed=seed)


def assembled(
    name: str, examples: Sequence[Example], *, classes: Sequence[str] = (), told: Sequence[str] = ()
) -> DataSet:
    """The set of these examples. Raises ConfigurationError where there are none, or an id is there twice."""
    if not examples:
        raise ConfigurationError(f"{name}: no images in this data set")
    seen = set[str]()
    for example in examples:
        if example.id in seen:
            raise ConfigurationError(f"{name}: the id {example.id!r} is there twice: give each image its own")
        seen.add(example.id)
    found = {example.truth for example in examples if example.truth is not None}
    bare = sum(example.truth is None for example in examples)
    if found and bare:
        told = [*told, f"{bare:,} of {len(examples):,} images have no label"]
    names = tuple(classes) or tuple(sorted(found))
    return DataSet(name=name, examples=tuple(examples), classes=names, told=tuple(told))


def at_least_one(what: str, count: Any) -> int:
    """`count`, if it is a whole number of 1 or more; else ConfigurationError."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"{what} must be a whole number of 1 or more, not {count!r}")
    return count
