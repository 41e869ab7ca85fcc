"""Defences: what is done to an image before a classifier sees it, what that costs, and whether it holds.

`load` makes one by name, `compare` puts several of them under attacks and corruptions on the same images. Another
package adds its own through the entry-point group "api_smoothing.defences".
"""

from __future__ import annotations

from api_smoothing.defences.base import Cost, Defence
from api_smoothing.defences.comparing import compare
from api_smoothing.defences.comparison import Comparison
from api_smoothing.defences.conditions import Attack
from api_smoothing.defences.denoised import Denoised
from api_smoothing.defences.registry import load, names

__all__ = ["Attack", "Comparison", "Cost", "Defence", "Denoised", "compare", "load", "names"]
