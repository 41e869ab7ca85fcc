"""The AWS account to ask as: region, endpoint and credentials, by AWS's own chain and variables."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from api_smoothing.adapters import (
    Credentials,
    bound_boto,
    check_proxy,
    is_sendable,
    missing_credentials,
    on_this_machine,
    one_line,
    sdk,
)
from api_smoothing.errors import ConfigurationError, CredentialsError

#: The variables that name another place for the service, the first one set counts.
ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_REKOGNITION", "AWS_ENDPOINT_URL")

_THREADS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where to send to and as whom; what is None is left to the AWS chain."""

    region: str | None
    profile: str | None
    endpoint: str | None
    timeout: float
    access_key_id: str | None = field(repr=False)
    secret_access_key: str | None = field(repr=False)
    session_token: str | None = field(repr=False)

    @property
    def secrets(self) -> tuple[str | None, ...]:
        return (self.secret_access_key, self.session_token, self.access_key_id)

    def find(self) -> None:
        """Raise CredentialsError unless there is a region, and something to sign with or a machine that may have it."""
        self._check_region()
        if not self.access_key_id and not _source(self.profile):
            with self._translated():
                if self._session().get_credentials() is None:
                    raise _none_found()

    def connect(self) -> tuple[Any, tuple[str | None, ...]]:
        """A client, and the secrets it signs with. Raises CredentialsError for what is missing or unusable."""
        self._check_region()
        config = sdk("botocore.config", extra="aws").Config(
            connect_timeout=self.timeout,
            read_timeout=self.timeout,
            max_pool_connections=_THREADS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            proxies={} if on_this_machine(self.endpoint) else None,
        )
        with self._translated():
            session = self._session()
            held = session.get_credentials()
            keys = held and held.get_frozen_credentials()
            client = session.client(
                "rekognition", region_name=self.region, endpoint_url=self.endpoint, config=config
            )
        bound_boto(client)
        if keys is None:
            raise _none_found()
        secrets = (keys.secret_key, keys.token, keys.access_key)
        if not all(is_sendable(text) for text in secrets if text):
            raise missing_credentials(
                "aws", "an AWS key or token has a space or a line break in it; set it anew"
            )
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        if self.endpoint is None and not host.startswith(
            (f"rekognition.{self.region}.", f"rekognition-fips.{self.region}.")
        ):
            # Set in a profile: the fingerprint, made without boto3, would name the public service in its place.
            raise ConfigurationError(f"the AWS profile sends rekognition to {host}; name it with endpoint=")
        if not on_this_machine(self.endpoint):
            check_proxy(client.meta.endpoint_url)
        return client, secrets

    def _check_region(self) -> None:
        if self.region is None:
            raise missing_credentials(
                "aws", "AWS_REGION is not set; set it to the region to ask, such as us-east-1"
            )

    def _session(self) -> Any:
        """A session of our own: the default one is shared with the rest of the process and keeps stale keys."""
        return sdk("boto3", extra="aws").Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            aws_session_token=self.session_token,
            profile_name=self.profile,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of the SDK's own chain into CredentialsError."""
        try:
            yield
        except sdk("botocore.exceptions", extra="aws").BotoCoreError as error:
            reason = one_line(error, secrets=self.secrets)
            raise missing_credentials(
                "aws", f"{reason}; check AWS_PROFILE, AWS_REGION and the AWS keys"
            ) from None


def _none_found() -> CredentialsError:
    return missing_credentials(
        "aws", "no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    )


def credentials() -> Credentials:
    """Where the AWS chain would find credentials, from the environment and files; asks no metadata server."""
    source = _source(os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE"))
    region = configured_region(None)
    found = [text for text in (source, region and f"region {region}") if text]
    missing = [] if source else ["AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"]
    missing += [] if region else ["AWS_REGION"]
    if not missing:
        return Credentials(found=True, source=", ".join(found))
    has = f"found {', '.join(found)}; " if found else ""
    role = "" if source else " (not looked for: an EC2 role)"
    return Credentials(found=False, source=f"{has}set {'; and '.join(missing)}{role}")


def configured_region(profile: str | None) -> str | None:
    """The region to use when none is given. boto3 itself does not read AWS_REGION, other AWS tools do."""
    environment = os.environ
    return (
        environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or _profile(profile).get("region")
    )


def configured_endpoint() -> str | None:
    """The endpoint in the variables that boto3 reads as well."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return next((value for name in ENDPOINT_VARIABLES if (value := os.environ.get(name))), None)


def _source(profile: str | None) -> str | None:
    environment = os.environ
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ways = {
        "aws_access_key_id",
        "credential_process",
        "login_session",
        "role_arn",
        "sso_session",
        "sso_start_url",
    }
    if ways & _profile(profile).keys():
        return f"AWS profile {profile or 'default'}"
    for name in (
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ):
        if environment.get(name):
            return name
    return None


def _profile(profile: str | None) -> dict[str, str]:
    """The settings of a profile in the two AWS files; empty when there is none."""
    name = profile or os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE") or "default"
    in_config = [f"profile {name}", *(["default"] if name == "default" else [])]
    settings: dict[str, str] = {}
    for variable, file, sections in (
        ("AWS_CONFIG_FILE", "config", in_config),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", [name]),  # wins where both have a setting
    ):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(Path(os.environ.get(variable) or f"~/.aws/{file}").expanduser(), "utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # boto3 says what is wrong with it, on the first query
        for section in sections:
            if parser.has_section(section):
                settings.update(parser.items(section))
    return settings
