"""Cloud Vision over gRPC: ImageAnnotator.BatchAnnotateImages with labels and SafeSearch.

An answer carries no model version: a change shows only in the labels and scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api_smoothing.adapters._transport import sdk
from api_smoothing.adapters.google import wire
from api_smoothing.sandbox.rpc import RpcFront, Scores
from api_smoothing.sandbox.rpc_reply import Reply, failure, retry_in
from api_smoothing.sandbox.vocabulary import labels_of

#: The classifier knows nothing of what SafeSearch looks for. Each category stands for one of its classes instead, so
#: that the likelihoods vary with the image as the service's do; under any other version they are a step lower.
SAFE_SEARCH: Final = {"adult": "frog", "spoof": "cat", "medical": "deer", "violence": "dog", "racy": "horse"}
#: The scores at which a likelihood goes up a step, from VERY_UNLIKELY (1) to VERY_LIKELY (5).
LIKELIHOOD_STEPS: Final = (0.05, 0.2, 0.5, 0.8)

UNREGISTERED: Final = (
    "Method doesn't allow unregistered callers (callers without established identity). "
    "Please use API Key or other form of API consumer identity to call this API."
)
UNAUTHENTICATED: Final = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
    "valid authentication credential."
)


class Front(RpcFront):
    """The image annotator, behind an API key.

    An image without labels has no field for them, as in the service's answers, so that "missing-key" leaves
    out the list of responses instead. One kind of throttle is all there is: Google's is always coded.
    """

    service = "google.cloud.vision.v1.ImageAnnotator"
    method = "BatchAnnotateImages"
    unit = "image"
    formats = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "ICO", "TIFF")

    def load(self) -> None:
        self._request, self.response = wire.messages()
        self._details = sdk("google.rpc.error_details_pb2", extra="google")

    def parse(self, raw: bytes) -> Any:
        return self._request.FromString(raw)

    def pictures(self, query: Any) -> list[bytes]:
        return wire.read_images(query)

    def refusal(self, query: Any, metadata: Mapping[str, str]) -> Reply | None:
        key = metadata.get("x-goog-api-key")
        if key is None:
            if "authorization" in metadata:
                return Reply(code="UNAUTHENTICATED", message=UNAUTHENTICATED)
            return Reply(code="PERMISSION_DENIED", message=UNREGISTERED)
        if key != self._sandbox.key:
            return self._bad_key("API key not valid. Please pass a valid API key.")
        problem = wire.problem_of(query)
        return None if problem is None else Reply(code=problem[0], message=problem[1])

    def refused(self, fault: str) -> Reply:
        if fault == "expired-key":
            return self._bad_key("API key expired. Please renew the API key.")
        if fault == "quota":
            return self._over_quota("day", "Day", "1/d/{project}")
        wait = [retry_in(1)] if fault == "throttle-retry-after" else []
        return self._over_quota("minute", "Minute", "1/min/{project}", *wait)

    def answer(self, query: Any, scores: Sequence[Scores | None]) -> Reply:
        answer = self.response()
        for request, score in zip(query.requests, scores, strict=False):
            self._annotate(answer.responses.add(), request.features, score)
        return Reply(body=answer.SerializeToString())

    def unlabelled(self, query: Any) -> bytes:
        return b"\x7a\x00"  # an empty field 15, which the message does not have

    def _annotate(self, response: Any, features: Any, scores: Scores | None) -> None:
        if scores is None:
            wire.write_bad_image(response)
            return
        for feature in features:
            if feature.type_ == wire.SAFE_SEARCH_DETECTION:
                wire.write_safe_search(response, self._likelihoods(scores))
            else:
                labels = labels_of("google", scores, self._sandbox.version)
                wire.write_labels(response, labels, max_results=feature.max_results)

    def _likelihoods(self, scores: Scores) -> dict[str, int]:
        lower = self._sandbox.changed
        return {
            category: max(1, 1 + sum(scores.get(name, 0.0) >= step for step in LIKELIHOOD_STEPS) - lower)
            for category, name in SAFE_SEARCH.items()
        }

    def _bad_key(self, message: str) -> Reply:
        # An invalid argument, not an authentication error: only the reason tells it from a bad request.
        return failure("INVALID_ARGUMENT", message, self._reason("API_KEY_INVALID"))

    def _over_quota(self, unit: str, word: str, quota_unit: str, *more: Any) -> Reply:
        message = (
            f"Quota exceeded for quota metric 'Label detection requests' and limit 'Label detection requests per "
            f"{unit}' of service 'vision.googleapis.com' for consumer 'project_number:000000000000'."
        )
        # A daily quota has the same reason as a rate; its limit and unit tell.
        reason = self._reason(
            "RATE_LIMIT_EXCEEDED",
            consumer="projects/000000000000",
            quota_limit=f"LabelDetectionRequestsPer{word}PerProject",
            quota_location="global",
            quota_metric="vision.googleapis.com/label_detection_requests",
            quota_unit=quota_unit,
        )
        return failure("RESOURCE_EXHAUSTED", message, reason, *more)

    def _reason(self, reason: str, **metadata: str) -> Any:
        metadata["service"] = "vision.googleapis.com"
        return self._details.ErrorInfo(reason=reason, domain="googleapis.com", metadata=metadata)
