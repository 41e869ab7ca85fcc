"""Workers on a cluster of two nodes, all on this machine: the same certificates, whoever is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from at_image import AtImage
from many_workers import asking, facts, pictures, service

import api_smoothing.evidence.verify as verifier
from api_smoothing import evaluate
from api_smoothing.cluster import Ray
from api_smoothing.errors import ConfigurationError, MissingExtraError, ProviderError
from api_smoothing.sandbox import Sandbox

pytest.importorskip("requests")
ray = pytest.importorskip("ray")


class Patient:
    """Python's `time`, by a clock that goes ten times slower: Ray gives a node thirty seconds to start, and no more."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() / 10


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and one more node, one processor each."""
    from ray._private import node
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        support, root = Path(__file__).parents[1] / "support", Path(__file__).parents[2]
        patch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(support)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setattr(node, "time", Patient())
        handler = signal.getsignal(signal.SIGTERM)
        running = Cluster()
        try:
            for more in ({"include_dashboard": False}, {}):
                running._wait_for_node(running.add_node(wait=False, num_cpus=1, **more), timeout=300)
            yield running
        finally:
            running.shutdown()
            signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with service() as running:
        yield running


#: What makes a worker's Python one that has not installed the package.
WITHOUT = """
import sys
class Without:
    def find_spec(self, name, *more):
        if name.partition(".")[0] == "api_smoothing":
            raise ModuleNotFoundError(f"No module named '{name}'")
sys.meta_path.insert(0, Without())
"""


def hosts() -> list[int]:
    """The processes of this cluster's actors, which are descendants of this one."""
    parents, actors = dict[int, int](), list[int]()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if (entry / "cmdline").read_bytes().startswith(b"ray::Hosting"):
                    actors.append(int(entry.name))
        except OSError:
            continue
    return [actor for actor in actors if os.getpid() in ancestors(actor, parents)]


def ancestors(process: int, parents: dict[int, int]) -> set[int]:
    found = set[int]()
    while (process := parents.get(process, 0)) > 1:
        found.add(process)
    return found


@pytest.mark.slow
def test_an_evaluation_is_the_same_though_a_worker_is_killed(
    cluster: Any, server: Sandbox, tmp_path: Path
) -> None:
    """Certificates, and what was paid, are those of one process; what is written can be verified."""
    data = [(image, "cat") for image in pictures(8)]
    with asking(server.options(), cache=tmp_path / "alone") as api:
        alone = evaluate(api, data, radii=(0,), n=40, output=tmp_path / "alone.jsonl")
    paid, killed = server.meter.images, list[int]()

    def kill() -> None:
        killed.append(hosts()[0])
        os.kill(killed[0], signal.SIGKILL)

    server.classifier = AtImage(server.classifier, 100, kill)
    with asking(server.options(), cache=tmp_path / "many", rate=60) as api:
        many = evaluate(
            api,
            data,
            radii=(0,),
            n=40,
            output=tmp_path / "many.jsonl",
            engine=Ray(cluster.address),
        )
    assert killed
    assert facts(many.run.certificates) == facts(alone.run.certificates)
    assert verifier.check(str(tmp_path / "many.jsonl"))["faults"] == []
    lost = server.meter.images - 2 * paid
    assert 0 <= lost <= 64, "only what the killed one had under way may be paid again"


@pytest.mark.slow
def test_a_cluster_without_the_package_is_told_in_a_line(
    cluster: Any, server: Sandbox, tmp_path: Path
) -> None:
    """What to install, and nothing was asked."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    ray.init(
        address=cluster.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}}
    )
    try:
        with (
            asking(server.options()) as api,
            pytest.raises(ConfigurationError, match="do not have api-smooth"),
        ):
            list(api.certify_many(pictures(1), n=30, engine="ray"))
    finally:
        ray.shutdown()
    assert server.meter.requests == 0


def test_an_address_without_a_cluster_is_told_in_a_line(server: Sandbox) -> None:
    """At once, with exit code 4, and nothing was asked."""
    with (
        asking(server.options()) as api,
        pytest.raises(ProviderError, match=r"no Ray cluster answers at 127\.0"),
    ):
        list(api.certify_many(pictures(1), n=30, engine=Ray("127.0.0.1:9")))
    assert server.meter.requests == 0


@pytest.mark.parametrize("address", ["", "nowhere", "ray://host:10001", "http://host:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """With the three kinds there are."""
    with pytest.raises(ConfigurationError, match="auto, local, or the address HOST:PORT"):
        Ray(address)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is loaded."""
    monkeypatch.setattr("api_smoothing.cluster.on_ray.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'api-smooth\[ray\]'"):
        Ray("local")
