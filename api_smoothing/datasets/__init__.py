"""Data sets: images with an id and, where known, a label; opened without reading an image.

`open_dataset` takes what people have (folders, tables, archives, objects); `map_truths` says which class of the
provider each label means, and which it cannot place.
"""

from api_smoothing.datasets.base import DataSet, Example
from api_smoothing.datasets.opening import open_dataset
from api_smoothing.datasets.truths import Truths, map_truths

__all__ = ["DataSet", "Example", "Truths", "map_truths", "open_dataset"]
