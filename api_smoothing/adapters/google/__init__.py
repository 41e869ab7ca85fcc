"""Google Cloud Vision through its own client."""

from api_smoothing.adapters import Provider, SandboxDeclaration


def _environment(endpoint: str, key: str) -> dict[str, str]:
    return {"GOOGLE_API_KEY": key}  # no variable of theirs says where the service is


PROVIDER = Provider(
    name="google",
    load="api_smoothing.adapters.google.adapter:load",
    credentials="api_smoothing.adapters.google.account:credentials",
    extra="google",
    package="google.cloud.vision",
    heavy=("google.cloud", "grpc"),
    vocabulary=True,
    words="api_smoothing.adapters.google:vocabulary.toml",
    prices="api_smoothing.adapters.google:prices.toml",
    sandbox=SandboxDeclaration(
        front="api_smoothing.sandbox.google:Front",
        version="builtin/stable",
        micro_usd=1500,
        rpc=True,
        environment=_environment,
        vocabulary="api_smoothing.adapters.google:vocabulary.toml",
    ),
)
