"""Label maps: how a provider's answer becomes a class."""

from api_smoothing.adapters.labels.filter import filter_of
from api_smoothing.adapters.labels.label_map import LabelMap, top_label
from api_smoothing.adapters.labels.words import Words

__all__ = ["LabelMap", "Words", "filter_of", "top_label"]
