"""Any JSON endpoint that a TOML file describes, and chat completions, a description that ships, by their own name."""

from typing import Any, Final

from api_smoothing.adapters import Provider, SandboxDeclaration, usual_options

#: What a chat model is offered in examples: CIFAR-10's classes.
_CLASSES: Final = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def _options(endpoint: str, key: str) -> dict[str, Any]:
    return {"model": "sandbox-json", **usual_options(endpoint, key)}


def _environment(endpoint: str, key: str) -> dict[str, str]:
    return {"SANDBOX_KEY": key}  # the endpoint stands in the description


def _chat_environment(endpoint: str, key: str) -> dict[str, str]:
    return {"OPENAI_API_KEY": key}


PROVIDER = Provider(
    name="http",
    load="api_smoothing.adapters.http.adapter:load",
    credentials="api_smoothing.adapters.http.adapter:credentials",
    extra="http",
    package="requests",
    heavy=("openai", "requests"),
    sandbox=SandboxDeclaration(
        front="api_smoothing.sandbox.http_json:Front",
        version="1",
        micro_usd=1000,
        options=_options,
        models=("openai",),
        environment=_environment,
        vocabulary="api_smoothing.adapters.http:vocabulary.toml",
    ),
)

OPENAI = Provider(
    name="openai",
    load="api_smoothing.adapters.http.openai:load",
    credentials="api_smoothing.adapters.http.openai:credentials",
    extra="http",
    package="requests",
    heavy=("openai", "requests"),
    sandbox=SandboxDeclaration(
        front="api_smoothing.sandbox.http_json:Front",
        version="1",
        micro_usd=400,
        environment=_chat_environment,
        example={"model": "eyes", "classes": _CLASSES, "usd_per_query": 0.0004},
        vocabulary="api_smoothing.adapters.http:vocabulary.toml",
    ),
)
