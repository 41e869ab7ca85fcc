"""What was asked, and what it would have cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from doors import AZURE, CAT, UNBILLED

from api_smoothing.sandbox import KINDS, Faults

if TYPE_CHECKING:
    from api_smoothing.sandbox.fixture import StartSandbox

pytest_plugins = ["api_smoothing.sandbox.fixture"]


def test_the_meter_has_every_request_and_bills_what_was_read(sandbox: StartSandbox) -> None:
    """Over many requests with random faults, from many threads, it counts exactly those sent."""
    kinds = [kind for kind in KINDS if kind not in ("timeout", "drip", "reset", "version")]
    server = sandbox("azure", classifier=CAT, faults=Faults(rate=0.5, kinds=kinds, seed=3), micro_usd=70)
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda _: AZURE.ask(server), range(200)))
    log = server.meter.log()
    assert server.meter.requests == server.meter.images == len(said) == 200
    assert sorted(str(one.status) for one in said) == sorted(request.status for request in log)
    assert {request.fault for request in log} == {None, *kinds}
    assert server.meter.billed == sum(request.fault not in UNBILLED for request in log)
    assert server.meter.micro_usd == 70 * server.meter.billed
