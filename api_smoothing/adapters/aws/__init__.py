"""Amazon Rekognition through boto3."""

from api_smoothing.adapters.aws.account import credentials
from api_smoothing.adapters.aws.adapter import Operation, RekognitionAdapter, load

__all__ = ["Operation", "RekognitionAdapter", "credentials", "load"]
