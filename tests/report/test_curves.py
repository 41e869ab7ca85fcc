from __future__ import annotations

import numpy as np
from run_files import certificates, settings
from scipy.stats import binomtest

from api_smoothing.report.curves import curve, curve_of, exact


def test_the_curve_is_the_count_of_images_at_every_radius() -> None:
    """At listed, random and boundary radii it counts who is certified there, with scipy's exact interval."""
    reach = np.array([-1.0, 0.0, 0.1, 0.1, 0.3, 0.25, -1.0])
    found = curve_of(reach)
    for radius in [0.0, 1e-9, 0.1, np.nextafter(0.1, 1), 0.2, 0.25, 0.3, np.nextafter(0.3, 1), 5.0]:
        i = found.at(radius)
        k = int((reach >= radius).sum())
        assert found.k[i] == k
        interval = binomtest(k, len(reach)).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose([found.low[i], found.high[i]], interval, atol=1e-9)


def test_only_the_right_label_counts() -> None:
    """A label that is not the truth is no certified accuracy, however large its radius."""
    found = certificates(300, settings(), seed=4)
    right = [c.radius for c in found if c.item and c.label == c.item["truth"]]
    made = curve(found)
    assert made.k[0] == len(right) < sum(c.label is not None for c in found)
    assert made.k[made.at(0.25)] == sum(r >= 0.25 for r in right)


def test_between_radii_asked_for_the_curve_says_what_the_larger_one_proves() -> None:
    """Where votes stop as radii are decided, nothing is known between two of them but what holds at the larger."""
    found = certificates(300, settings(n=None), seed=4)
    made = curve(found)
    assert set(made.radius[:-1]) <= {0.0, 0.1, 0.25, 0.5}
    assert made.k[made.at(0.2)] == made.k[made.at(0.25)] < made.k[made.at(0.1)]


def test_no_image_is_no_claim() -> None:
    """An empty run has a curve at 0 whose band is all there can be; so has a run where nothing is certified."""
    assert (curve_of(np.array([])).k == 0).all()
    assert exact(np.array([0]), 0)[1][0] == 1.0
    nothing = curve_of(np.full(20, -1.0))
    assert nothing.share.max() == 0.0
    assert 0.13 < nothing.high[0] < 0.17
