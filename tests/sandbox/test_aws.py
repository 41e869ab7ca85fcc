"""Rekognition's part of the sandbox."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from doors import ARN, AWS, CAR, CAT, PNG, assert_fits, rekognition

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


def test_rekognition_answers_in_its_recorded_shape(sandbox: StartSandbox, recorded: Path) -> None:
    """Labels, confidences, boxes, parents and the version stand where the recorded answer has them, ties included."""
    real = json.loads((recorded / "aws_detectlabels_v3_car.json").read_text("utf-8"))
    said = AWS.ask(sandbox("aws", classifier=CAR))
    ours = said.body
    by_name = {label["Name"]: label for label in ours["Labels"]}
    for label in real["Labels"]:
        if label["Name"] in ("Car", "Sedan", "Transportation", "Vehicle"):
            assert_fits({**label, "Instances": []}, by_name[label["Name"]])
            assert label["Parents"] == by_name[label["Name"]]["Parents"]
    assert_fits(real["Labels"][0]["Instances"], by_name["Car"]["Instances"])
    assert ours["LabelModelVersion"] == real["LabelModelVersion"]
    top = [label["Name"] for label in ours["Labels"][:4]]
    assert top == [label["Name"] for label in real["Labels"][:4]]
    assert len({label["Confidence"] for label in ours["Labels"][:4]}) == 1
    assert said.headers["content-type"] == "application/x-amz-json-1.1"
    assert uuid.UUID(said.headers["x-amzn-requestid"])


def test_rekognition_obeys_its_settings(sandbox: StartSandbox) -> None:
    """MaxLabels cuts from below, MinConfidence (by default 55) and the filters of names and categories hold."""
    server = sandbox("aws", classifier=lambda images: [{"cat": 0.9, "dog": 0.3} for _ in images])

    def names(**settings: Any) -> list[str]:
        return [
            label["Name"]
            for label in rekognition("DetectLabels", "Labels", **settings).ask(server).body["Labels"]
        ]

    def chosen(**filters: list[str]) -> list[str]:
        return names(MinConfidence=0, Settings={"GeneralLabels": filters})

    everything = names(MinConfidence=0)
    assert {"Cat", "Dog", "Animal"} < set(everything)
    assert "Dog" not in names()
    assert names(MinConfidence=0, MaxLabels=3) == everything[:3]
    assert set(chosen(LabelInclusionFilters=["Dog", "Truck"])) == {"Dog"}
    assert set(chosen(LabelExclusionFilters=["Dog"])) == {*everything} - {"Dog"}
    assert chosen(LabelCategoryInclusionFilters=["Vehicles and Automotive"]) == []
    assert set(chosen(LabelCategoryInclusionFilters=["Animals and Pets"])) == {*everything}
    for wrong in ({"MaxLabels": -1}, {"MinConfidence": 101}):
        said = rekognition("DetectLabels", "Labels", **wrong).ask(server)
        assert (said.status, said.body["__type"]) == (400, "ValidationException")
    custom = rekognition(
        "DetectCustomLabels", "CustomLabels", ProjectVersionArn=ARN, MinConfidence=0, MaxResults=5
    )
    confidences = [label["Confidence"] for label in custom.ask(server).body["CustomLabels"]]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[:2] == [90, 30]
    assert rekognition("DetectCustomLabels", "", ProjectVersionArn="arn:nonsense").ask(server).status == 400


def test_boto3_reads_every_operation(sandbox: StartSandbox) -> None:
    """The real SDK signs, sends and parses all three operations, and raises its own classes of errors."""
    boto3 = pytest.importorskip("boto3")
    config = pytest.importorskip("botocore.config").Config(retries={"total_max_attempts": 1})
    server = sandbox("aws", classifier=CAT)
    client = boto3.session.Session().client(
        "rekognition", region_name="us-east-1", endpoint_url=server.endpoint, config=config,
        aws_access_key_id=server.key, aws_secret_access_key="anything",
    )  # fmt: skip
    image = {"Bytes": PNG}
    found = client.detect_labels(Image=image, MaxLabels=50, MinConfidence=0)
    assert "Cat" in [label["Name"] for label in found["Labels"]]
    assert found["LabelModelVersion"] == "3.0"
    assert found["ResponseMetadata"]["RequestId"]
    custom = client.detect_custom_labels(ProjectVersionArn=ARN, Image=image, MinConfidence=0)["CustomLabels"]
    assert custom[0]["Name"] == "cat"
    assert len(custom) == 10
    moderated = client.detect_moderation_labels(Image=image, MinConfidence=50)
    assert {label["Name"]: label["ParentName"] for label in moderated["ModerationLabels"]} == {
        "Alcoholic Beverages": "Alcohol", "Alcohol": "",
    }  # fmt: skip
    assert moderated["ModerationModelVersion"] == "7.0"
    for kind, name in {
        "throttle-coded": "ProvisionedThroughputExceededException", "500": "InternalServerError",
        "bad-image": "InvalidImageFormatException", "billed-400": "InvalidParameterException",
    }.items():  # fmt: skip
        server.faults.inject(kind)
        with pytest.raises(getattr(client.exceptions, name)):
            client.detect_labels(Image=image)
    assert server.meter.requests == 7
