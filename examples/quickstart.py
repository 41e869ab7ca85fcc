"""Certify a photograph of a cat, on this machine and for nothing: the bundled classifier stands in for the API.

pip install '.[torchvision]' scikit-image && python examples/quickstart.py
"""

from skimage import data

from api_smoothing import SmoothedAPI

photo = data.chelsea()  # 300×451 pixels, uint8; a path, bytes or a PIL image would do as well

with SmoothedAPI("torchvision", model="cifar10", sigma=0.12) as api:
    certificate = api.certify(photo, radius=0.1)  # stops as soon as that is decided

if certificate.label is None:
    print(f"abstained after {certificate.n} queries: {certificate.reason}")
else:
    height, width = certificate.space
    print(
        f"This is a {certificate.label}, and it is certified: no change of ℓ2 norm up to {certificate.radius:g}"
    )
    print(f"to the {height}×{width} image that the noise is added to can change this label,")
    print(f"and none up to {certificate.radius_original:.2f} to the photograph (pixels in [0,1]).")
    print(
        f"{certificate.votes} of {certificate.n} votes; wrong with probability at most {certificate.alpha:g};"
    )
    print(f"{certificate.queries} queries sent, {certificate.cached} cached.")
