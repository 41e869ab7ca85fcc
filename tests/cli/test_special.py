"""scipy.special begins with its functions, and is whole for whoever asks for more."""

from __future__ import annotations

import json
import os
import subprocess
import sys

BEGUN = "from api_smoothing.cli.special import begin_with_functions as begin; begin(); begin()\n"


def told(code: str, **environment: str) -> object:
    """What a fresh process prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_functions_are_scipys_own() -> None:
    """Those of our proofs are there at once, and the very objects that the whole package gives."""
    code = (
        BEGUN
        + """
import json, sys, types
from scipy.special import bdtr, bdtrc, bdtrik, betainc, betaincc, betaincinv, betaln, gammaln, ndtr, ndtri
early = {name: value for name, value in globals().items() if type(value).__name__ == "ufunc"}
light = "numpy.f2py" not in sys.modules and "scipy._lib._array_api" not in sys.modules
begun = sys.modules["scipy.special"]
from scipy.special import logsumexp
import scipy, scipy.special
same = all(getattr(scipy.special, name) is value for name, value in early.items())
print(json.dumps([len(early), light, same, scipy.special is not begun, begun.logsumexp is logsumexp,
    scipy.special._ufuncs is begun._ufuncs, any("_Finder" in type(finder).__name__ for finder in sys.meta_path)]))
"""
    )
    assert told(code) == [10, True, True, True, True, True, False]


def test_it_is_the_whole_package_in_the_end() -> None:
    """Nothing that the package has by itself is missing, whichever way it is asked for, in many threads at once."""
    listed = "import json, scipy.special; print(json.dumps(sorted(vars(scipy.special))))"
    asked = (
        BEGUN
        + """
import json, threading
import scipy.special as begun
gate, got = threading.Barrier(8), []
def ask():
    gate.wait()
    got.append(begun.logsumexp)
threads = [threading.Thread(target=ask) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(got) == 8 and len(set(got)) == 1
import scipy.stats, scipy.special
from scipy.special import *
assert jv is scipy.special.jv
assert not hasattr(begun, "__wrapped__") and not hasattr(begun, "no such name")
print(json.dumps(sorted(vars(scipy.special))))
"""
    )
    usual, ours = told(listed), told(asked)
    assert isinstance(usual, list)
    assert isinstance(ours, list)
    assert set(usual) <= set(ours)


def test_other_arrays_are_left_to_scipy() -> None:
    """With SCIPY_ARRAY_API the functions are others, and the package is imported as it is."""
    code = BEGUN + "import json, scipy.special, sys; print(json.dumps('numpy.f2py' in sys.modules))"
    assert told(code, SCIPY_ARRAY_API="1") is True
    assert told(code) is False


def test_a_package_of_another_shape_is_run_as_it_is() -> None:
    """Where the compiled functions have another name, nothing is lost but the time."""
    code = """
import importlib, json
from api_smoothing.cli import special

class Elsewhere:
    @staticmethod
    def import_module(name):
        if name.endswith("._ufuncs"):
            raise ImportError(name)
        return importlib.import_module(name)

special.importlib = Elsewhere
special.begin_with_functions()
from scipy.special import logsumexp, ndtr
import scipy.special
print(json.dumps([ndtr(0.0), type(scipy.special).__name__]))
"""
    assert told(code) == [0.5, "module"]
