"""Clarifai through its gRPC client."""

from api_smoothing.adapters import Provider, SandboxDeclaration


def _environment(endpoint: str, key: str) -> dict[str, str]:
    return {"CLARIFAI_GRPC_BASE": endpoint, "CLARIFAI_PAT": key}


PROVIDER = Provider(
    name="clarifai",
    load="api_smoothing.adapters.clarifai.adapter:load",
    credentials="api_smoothing.adapters.clarifai.account:credentials",
    extra="clarifai",
    package="clarifai_grpc",
    heavy=("clarifai_grpc", "grpc"),
    vocabulary=True,
    filter="ids",
    words="api_smoothing.adapters.clarifai:vocabulary.toml",
    prices="api_smoothing.adapters.clarifai:prices.toml",
    sandbox=SandboxDeclaration(
        front="api_smoothing.sandbox.clarifai:Front",
        version="aa7f35c01e0642fda5cf400f543e7c40",
        micro_usd=1200,
        rpc=True,
        environment=_environment,
        vocabulary="api_smoothing.adapters.clarifai:vocabulary.toml",
    ),
)
