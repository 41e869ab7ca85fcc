"""What a description of a JSON endpoint says. It is written as a TOML file:

```toml
name = "acme"                       # in reports, and with the digest of this file in the fingerprint
url = "https://acme.example/v1/tag" # {variables} may stand in it; no query, no user
usd_per_query = 0.001               # 0: free; "unknown": the option usd_per_query= must be given; none: unknown
end_of_life = 2028-09-25            # optional
plain_http = ["tagger.lan"]         # optional: hosts that may get a key unencrypted, besides this machine

[variables]                         # options of load() with their defaults; an empty default must be given
top = 10

[headers]                           # ${NAME} is the environment variable NAME; keys must be written like this
Authorization = "Bearer ${ACME_KEY}"

[query]                             # the part of the address after the ?
lang = "en"

[request]
method = "POST"                     # or PUT
image = "base64"                    # "bytes": the PNG is the body; "base64", "data-url": a text in the JSON body;
                                    # "multipart": a file field of a form
body = '{"images": "{images}"}'     # JSON; {image} is the image, {images} the list of all images of the request
item = '{"content": "{image}"}'     # what one item of {images} looks like, if it is not the image alone
field = "image"                     # multipart: the name of the file field
form = { top = "{top}" }            # multipart: further fields

[answer]                            # paths: see http/path.py; from an image's answer, or with $. from the top
answers = "results[*]"              # one answer an image; needed when batch is above 1
name = "labels[*].name"             # the names of the labels, and beside them, all optional:
score = "labels[*].score"
score_scale = 100                   # what the scores are divided by to lie in [0, 1]
id = "labels[*].id?"
parents = "labels[*].parents?"
classes = ["cat", "dog"]            # the closed list of names, or "{variable}" that holds it
text = "message.content"            # instead of name: free text: one of the classes; whatever else it says is no vote
ending = "finish_reason?"           # with text: why the text ends where it does,
unfinished = ["length"]             # and which of these reasons say that it is cut off or kept back: no vote either
version = ["$.model"]               # the version of the model; parts are joined by +. Paths without ? must be there
error = "error?.message"            # in the place of a failed image's labels: why it failed,
error_code = "error?.code"          # and the code, looked up under [errors]; "refused" if it is not listed there

[errors]                            # what a status, or a code in the body of a failure, means
refused = [400, 413, 415, 422]      # the provider will not answer about this image
throttled = [429]
transient = [408, 425]              # and every 5xx
fatal = ["insufficient_quota"]      # and every other status
code = "error.code"                 # where the code and the message stand in the body of a failure
message = "error.message"
retry_after = "Retry-After"         # the header that says when to come back

[limits]                            # as in AdapterCard, all optional
batch = 16                          # and max_labels, native_side, min_side, max_side, max_image_bytes,
                                    # max_request_bytes
quotas = [{ unit = "image", count = 30, seconds = 1 }]
```

A `?` behind a key says that the provider documents that it may be absent. Without it, an answer that lacks the key
breaks the provider's contract and is never read as "no labels". Neither is an empty text, an empty object in which
`[*]` looks for a list, a label without its score where `score` says where scores stand, a text that names none of the
classes ("I think this is a cat."), nor, without `classes`, a label of more than 8 words or 100 characters between
commas. For "none of these" give a class of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api_smoothing.adapters import Quota as Quota
from api_smoothing.adapters import VerdictKind
from api_smoothing.adapters.http.path import Path

Json = Any
Kind = VerdictKind


def bare(text: str) -> str:
    """A name as a model may write it: in any case, quoted, or with a full stop."""
    return text.strip(" \t\r\n.\"'`*").casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """How images are sent. `body` and `item` are JSON with placeholders; `form` goes beside a multipart `field`."""

    method: str
    image: str
    body: Json
    item: Json
    field: str
    form: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerShape:
    """Where things stand in an answer. There is either `name`, with its columns, or `text`, with `classes`."""

    answers: Path | None
    name: Path | None
    score: Path | None
    score_scale: float
    id: Path | None
    parents: Path | None
    classes: tuple[str, ...] | None
    text: Path | None
    ending: Path | None
    unfinished: tuple[str, ...]
    version: tuple[Path, ...]
    error: Path | None
    error_code: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorShape:
    """What a failure means, by its status or by the code in its body."""

    kinds: Mapping[int | str, Kind]
    code: Path | None
    message: Path | None
    retry_after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A checked description. `secrets` are the environment variables it needs.

    `digest` names everything in it that can change an answer, the values of secrets excepted.
    """

    name: str
    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    variables: Mapping[str, Any]
    secrets: tuple[str, ...]
    request: RequestShape
    answer: AnswerShape
    errors: ErrorShape
    limits: Mapping[str, int]
    quotas: tuple[Quota, ...]
    usd_per_query: float | None
    end_of_life: str | None
    plain_http: tuple[str, ...]
    digest: str
