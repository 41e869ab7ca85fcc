"""Attacks: how near an image is that is answered otherwise, and whether a certificate holds against one who tries.

`PGD` follows gradients, `Square` scores and `HopSkipJump` answers alone; `attack_answers` sets one of them on a
provider as it is, `attack_certificates` sets gradients on the smoothed classifier inside its certified radii, and
`verdict` counts what they turned against α. `Twin` lends gradients to what has none.
"""

from __future__ import annotations

from api_smoothing.attacks.ball import Ball, distance
from api_smoothing.attacks.holding import Holding, attack_certificates
from api_smoothing.attacks.hopskipjump import HopSkipJump
from api_smoothing.attacks.of_run import attack_run
from api_smoothing.attacks.outcome import Attacked, Attempt, Verdict, verdict
from api_smoothing.attacks.pgd import PGD
from api_smoothing.attacks.square import Square
from api_smoothing.attacks.twins import Twin
from api_smoothing.attacks.undefended import attack_answers

__all__ = [
    "PGD",
    "Attacked",
    "Attempt",
    "Ball",
    "Holding",
    "HopSkipJump",
    "Square",
    "Twin",
    "Verdict",
    "attack_answers",
    "attack_certificates",
    "attack_run",
    "distance",
    "verdict",
]
