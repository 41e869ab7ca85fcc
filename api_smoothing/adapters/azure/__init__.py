"""Azure AI Vision: Image Analysis 4.0 and 3.2 through Microsoft's clients."""

from api_smoothing.adapters import Provider, SandboxDeclaration


def _environment(endpoint: str, key: str) -> dict[str, str]:
    return {"VISION_ENDPOINT": endpoint, "VISION_KEY": key}


PROVIDER = Provider(
    name="azure",
    load="api_smoothing.adapters.azure.adapter:load",
    credentials="api_smoothing.adapters.azure.adapter:credentials",
    extra="azure",
    package="azure.ai.vision.imageanalysis",
    heavy=("azure", "msrest", "requests"),
    vocabulary=True,
    words="api_smoothing.adapters.azure:vocabulary.toml",
    prices="api_smoothing.adapters.azure:prices.toml",
    sandbox=SandboxDeclaration(
        front="api_smoothing.sandbox.azure:Front",
        version="2023-10-01",
        micro_usd=1000,
        environment=_environment,
        vocabulary="api_smoothing.adapters.azure:vocabulary.toml",
    ),
)
