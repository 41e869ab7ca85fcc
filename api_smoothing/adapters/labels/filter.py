"""A closed set on the server's side: the labels that a service is told to look for, alone.

Such a filter is part of the question, and so of the fingerprint. It saves the places that other labels would take
among the few an answer may have, and nothing else, as long as each class has in it a label whose score is the
highest of the class: then a label map reads the same class from both answers. Whether it has is the service's
affair (Rekognition reports an ancestor with every label, with at least its score; Clarifai scores each concept by
itself), which is why a filter is applied only when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from api_smoothing.adapters import registry
from api_smoothing.adapters.labels.label_map import LabelMap
from api_smoothing.adapters.labels.words import Words
from api_smoothing.errors import ConfigurationError


def filter_of(only: Sequence[str] | LabelMap, provider: str) -> tuple[str, ...]:
    """The labels of the option `only`, each once: those listed, or those that the classes of a map are made of.

    Where the provider declares that its filter takes ids as well, they stand in for a class that has no labels.
    Raises ConfigurationError for a text, and for a map that would surely read filtered answers in another way.
    """
    if isinstance(only, str):
        raise ConfigurationError(
            "only= is a list of labels, as in only=Cat|Dog, or a label map: --options only=map with --labels"
        )
    if not isinstance(only, LabelMap):
        return tuple(dict.fromkeys(only))
    if only.none not in (None, only.other):
        raise ConfigurationError(
            f"label map {only.name}: none = {only.none!r} tells an answer without labels from one without known "
            f"labels, which filtered answers cannot; make other the same, or leave the filter out"
        )
    declared = registry.find(provider)
    ids = declared is not None and declared.filter == "ids"
    only = only.for_provider(provider)
    names = only.names_for(provider)
    section = only.sections.get(provider, {})
    for name, general in only.classes.items():
        special = section.get(name, Words())
        if not (special.labels or general.labels):
            stand_in = (special.ids or general.ids) if ids else ()
            if not stand_in:
                raise ConfigurationError(
                    f"label map {only.name}: class {name} has no labels that {provider} could be asked for; "
                    f"give it some, or leave the filter out"
                )
            names += stand_in
    return tuple(dict.fromkeys(names))
