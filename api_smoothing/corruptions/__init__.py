"""The fifteen common corruptions of CIFAR-10-C at five severities, with its parameters, for images of any size.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019;
the parameters are those of the authors' script for CIFAR-10, not of that for ImageNet. Nothing is downloaded.
"""

from api_smoothing.corruptions.corrupt import NAMES, SEVERITIES, check, corrupt, corrupted, named
from api_smoothing.corruptions.sheet import contact_sheet
from api_smoothing.corruptions.writing import write

__all__ = ["NAMES", "SEVERITIES", "check", "contact_sheet", "corrupt", "corrupted", "named", "write"]
