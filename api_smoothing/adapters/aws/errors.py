"""What the errors of boto3 and of Rekognition mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api_smoothing.adapters import BrokenContract, Verdict, one_line, seconds_of, seconds_told
from api_smoothing.errors import ApiSmoothError

_CHECK: Final = "test with: api-smooth providers check aws"

# Errors are told apart by name: no SDK is imported for it, and it does not matter which version knows which.
_NEVER_SENT: Final = frozenset({"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError"})
_NO_CREDENTIALS: Final = frozenset(
    {
        "CredentialRetrievalError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "NoRegionError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOError",
        "TokenRetrievalError",
    }
)
_THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_BAD_KEY: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_NOT_ALLOWED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "NotAuthorized",
        "OptInRequired",
        "SubscriptionRequiredException",
    }
)
_BAD_IMAGE: Final = frozenset(
    {
        "ImageTooLargeException",
        "InvalidImageFormatException",
        "InvalidParameterException",
        "InvalidS3ObjectException",
    }
)
_AGAIN: Final = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
_ADVICE: Final = {
    "LimitExceededException": "a limit of the account is reached; see Service Quotas in the AWS console",
    "ResourceNotFoundException": "there is no such model in this region; check model= and AWS_REGION",
    "ResourceNotReadyException": "the custom model is not running; start it (StartProjectVersion), then resume",
    "ValidationException": "the request is not valid; check model= and the other options",
}


def verdict_of(error: Exception) -> Verdict:
    """The verdict on an error of a call. Its message may still quote what the service said, secrets included."""
    names = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)  # None on errors of the connection
    if isinstance(error, ApiSmoothError):
        return Verdict(kind="fatal", message=str(error), sent=False)
    inside = getattr(error, "kwargs", {}).get("error")  # boto3 wraps what stops the reading of a response
    for cause in (error, inside):
        if isinstance(cause, BrokenContract):
            return Verdict(kind="broken", message=f"{cause}; it is no vote")
    if isinstance(response, Mapping):
        return _answered(response)
    if names & _NO_CREDENTIALS:
        what = f"no usable AWS credentials or region ({type(error).__name__})"
        todo = "set AWS_REGION, and AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Verdict(kind="fatal", message=f"{what}; {todo}; {_CHECK}", sent=False)
    if "ParamValidationError" in names:
        message = f"{one_line(error)}; check model= and the other options"
        return Verdict(kind="fatal", message=message, sent=False)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        message = "the certificate of the service is not trusted here; set AWS_CA_BUNDLE to your proxy's"
        return Verdict(kind="fatal", message=message, sent=False)
    if names & _NEVER_SENT:
        return Verdict(kind="transient", message=f"no connection: {one_line(error)}", sent=False)
    # The request left and no answer came, or none that could be read: it may have been billed.
    # Not quoted: an error about a header holds the header.
    return Verdict(kind="transient", message=f"no answer that can be read ({type(error).__name__})")


def _answered(response: Mapping[str, Any]) -> Verdict:
    """The verdict on an error answer. The code decides; the HTTP status only where the code is unknown."""
    told = response.get("Error") or {}
    about = response.get("ResponseMetadata") or {}
    status = int(about.get("HTTPStatusCode") or 0)
    code = str(told.get("Code") or status)
    reported = f"{code}: {one_line(told.get('Message') or '') or 'no reason given'}"
    wait = seconds_of((about.get("HTTPHeaders") or {}).get("retry-after")) or seconds_told(reported)
    if 300 <= status < 400:
        message = f"{reported}; it sends elsewhere, where nothing is sent: check the endpoint and AWS_REGION"
        return Verdict(kind="fatal", message=f"{message}; a proxy or a login page may be in between")
    if code in _THROTTLED or status == 429:
        return Verdict(kind="throttled", message=reported, retry_after=wait)
    if code in _BAD_KEY or (status == 401 and code not in _NOT_ALLOWED):
        # Not quoted: AWS repeats the signed headers, the session token among them.
        message = f"AWS rejects the credentials ({code}); renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return Verdict(kind="fatal", message=f"{message} or the profile, and check the clock; {_CHECK}")
    if code in _NOT_ALLOWED or status == 403:
        return Verdict(kind="fatal", message=f"{reported}; allow the operation to this user in IAM; {_CHECK}")
    if code in _ADVICE:
        return Verdict(kind="fatal", message=f"{reported}; {_ADVICE[code]}")
    if code in _BAD_IMAGE or status == 413:
        return Verdict(kind="refused", message=reported, retry_after=wait)
    if code in _AGAIN or status >= 500 or status == 408:
        return Verdict(kind="transient", message=reported, retry_after=wait)
    if status == 400:
        return Verdict(kind="refused", message=reported, retry_after=wait)
    if 400 < status < 500 and wait is None:
        return Verdict(kind="fatal", message=f"{reported}; check the endpoint and AWS_REGION; {_CHECK}")
    message = f"{reported}; is a proxy or a login page in between?"
    return Verdict(kind="transient", message=message, retry_after=wait)
