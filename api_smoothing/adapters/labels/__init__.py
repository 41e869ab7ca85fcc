"""Label maps: how a provider's answer becomes a class."""

from api_smoothing.adapters.labels.label_map import LabelMap, Words, top_label

__all__ = ["LabelMap", "Words", "top_label"]
