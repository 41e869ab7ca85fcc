"""Amazon Rekognition through boto3."""

from typing import Any, Final

from api_smoothing.adapters import Provider, SandboxDeclaration

_REGION: Final = "us-east-1"
_SECRET: Final = "no-secret-is-checked-here"  # noqa: S105 - the access key id alone lets a request in


def _options(endpoint: str, key: str) -> dict[str, Any]:
    return {
        "endpoint": endpoint,
        "endpoint_id": "sandbox",
        "access_key_id": key,
        "secret_access_key": _SECRET,
        "region": _REGION,
    }


def _environment(endpoint: str, key: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_REKOGNITION": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": _SECRET,
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_REGION": _REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


PROVIDER = Provider(
    name="aws",
    load="api_smoothing.adapters.aws.adapter:load",
    credentials="api_smoothing.adapters.aws.account:credentials",
    extra="aws",
    package="boto3",
    heavy=("boto3", "botocore"),
    vocabulary=True,
    filter="names",
    words="api_smoothing.adapters.aws:vocabulary.toml",
    prices="api_smoothing.adapters.aws:prices.toml",
    sandbox=SandboxDeclaration(
        front="api_smoothing.sandbox.aws:Front",
        version="3.0",
        micro_usd=1000,
        options=_options,
        environment=_environment,
        vocabulary="api_smoothing.adapters.aws:vocabulary.toml",
    ),
)
