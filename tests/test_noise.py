from __future__ import annotations

import hashlib
import itertools
import math
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import stats

from api_smoothing.errors import ConfigurationError
from api_smoothing.home import home
from api_smoothing.noise import (
    NoiseKind,
    NoiseStream,
    laplace_scale,
    to_float,
    to_uint8,
    uniform_half_width,
)
from api_smoothing.secret import Seed, fingerprint, installation_seed, public_seed, resolve_seed
from api_smoothing.thresholds import OPEN, NoiseTable, noise_table

KINDS: tuple[NoiseKind, ...] = ("gaussian", "uniform", "laplace")
DIGEST = hashlib.sha256(b"an image").digest()


def stream(
    kind: NoiseKind = "gaussian",
    sigma: float = 0.25,
    *,
    seed: bytes = public_seed(0),
    digest: bytes = DIGEST,
    shape: tuple[int, int, int] = (8, 8, 3),
    sub: int = 1,
) -> NoiseStream:
    return NoiseStream(kind=kind, sigma=sigma, seed=seed, image_digest=digest, shape=shape, sub=sub)


def exact_tail(kind: NoiseKind, sigma: float, sub: int, j: int) -> mpmath.mpf:
    """P(ε > (j+½)h) for real noise ε, to 50 digits."""
    x = (mpmath.mpf(j) + mpmath.mpf(1) / 2) / (255 * sub)
    if kind == "gaussian":
        return mpmath.erfc(x / (mpmath.mpf(sigma) * mpmath.sqrt(2))) / 2
    if kind == "laplace":
        return mpmath.exp(-x / mpmath.mpf(laplace_scale(sigma))) / 2
    width = mpmath.mpf(uniform_half_width(sigma))
    return max(mpmath.mpf(0), (width - x) / (2 * width))


def upper(table: NoiseTable) -> list[int]:
    """2⁶⁴·P(ε > j) of the table, for j = 0, 1, …"""
    return [2**64 - int(t) for t in table.thresholds[table.largest :]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sigma", "sub"), [(0.25, 1), (1.0, 1), (0.12, 1), (0.03, 7), (0.001, 1)])
def test_total_variation_is_within_the_claimed_slack(kind: NoiseKind, sigma: float, sub: int) -> None:
    """The table's distribution is within `slack` of the exactly rounded noise, in 50-digit arithmetic."""
    with mpmath.workdps(50):
        table = noise_table(kind, sigma, sub)
        mine = [mpmath.mpf(s) / 2**64 for s in upper(table)] + [mpmath.mpf(0)]
        true = [exact_tail(kind, sigma, sub, j) for j in range(len(mine))]
        mass = [a - b for a, b in itertools.pairwise(mine)]
        mass_true = [a - b for a, b in itertools.pairwise(true)]
        variation = abs((1 - 2 * mine[0]) - (1 - 2 * true[0])) / 2
        variation += sum((abs(a - b) for a, b in zip(mass, mass_true, strict=True)), mpmath.mpf(0)) + true[-1]
        assert variation <= table.slack
        assert table.slack < 2.0**-45
        assert all(m >= 0 for m in mass)


@pytest.mark.parametrize("kind", KINDS)
def test_fine_grid_thresholds_are_the_nearest_64_bit_integers(kind: NoiseKind) -> None:
    """On the grid of a resized image every threshold is the exact one rounded to a multiple of 2⁻⁶⁴."""
    table = noise_table(kind, 0.25, 256)
    tail = upper(table)
    for j in np.unique(np.r_[0, 1, np.linspace(2, len(tail) - 1, 400).astype(int)]):
        with mpmath.workdps(50):
            exact = exact_tail(kind, 0.25, 256, int(j)) * 2**64
            assert abs(tail[j] - exact) <= 0.5 + 2.0**-20
    with mpmath.workdps(50):
        assert exact_tail(kind, 0.25, 256, len(tail)) * 2**64 <= 0.5 + 2.0**-20


def test_table_is_symmetric_and_guide_agrees_with_binary_search() -> None:
    """The first bits never decide for another value than all 64 bits would."""
    rng = np.random.default_rng(1)
    for table in (
        noise_table("gaussian", 0.25, 1),
        noise_table("laplace", 1.0, 1),
        noise_table("uniform", 0.25, 256),
    ):
        assert np.array_equal(table.thresholds, (np.uint64(0) - table.thresholds)[::-1])
        near = table.thresholds[:, None] + np.arange(-2, 3).astype(np.uint64)
        u = np.r_[
            near.ravel(),
            rng.integers(0, 2**64, 20000, dtype=np.uint64),
            np.array([0, 2**64 - 1], dtype=np.uint64),
        ]
        full = np.asarray(np.searchsorted(table.thresholds, u, side="right")) - table.largest
        entry = table.guide[(u >> np.uint64(64 - table.guide_bits)).astype(np.int64)]
        is_open = entry >= OPEN // 2
        assert np.array_equal(entry[~is_open], full[~is_open])
        assert np.array_equal(table.resolve(u[is_open], entry[is_open] - OPEN), full[is_open])


@pytest.mark.parametrize(
    ("kind", "sigma", "sub"), [("gaussian", 0.25, 1), ("uniform", 0.12, 1), ("laplace", 0.5, 1)]
)
def test_samples_follow_the_exact_distribution(kind: NoiseKind, sigma: float, sub: int) -> None:
    """Two million draws fit the exact cell probabilities, and have variance σ² + h²/12."""
    noise = stream(kind, sigma, shape=(32, 32, 3), sub=sub).sample(range(650)).ravel()
    tail = [
        float(exact_tail(kind, sigma, sub, j)) for j in range(len(upper(noise_table(kind, sigma, sub))) + 1)
    ]
    half = [a - b for a, b in itertools.pairwise(tail)]
    probability = np.array([*half[::-1], 1 - 2 * tail[0], *half])
    count = np.bincount(noise + len(half), minlength=len(probability))
    keep = probability * noise.size >= 20
    observed = np.r_[count[keep], count[~keep].sum()]
    expected = np.r_[probability[keep], probability[~keep].sum() + tail[-1] * 2] * noise.size
    if expected[-1] < 5:
        observed, expected = observed[:-1], expected[:-1]
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4
    step = 1 / (255 * sub)
    assert np.var(noise * step) == pytest.approx(sigma**2 + step**2 / 12, rel=0.02)


def test_fine_samples_follow_the_exact_distribution() -> None:
    """On the fine grid the probability transform of the draws is uniform, and so are their low bits."""
    noise = stream(sub=256, shape=(32, 32, 3)).sample(range(300)).ravel()
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, noise.size)
    assert stats.kstest((noise + jitter) / (0.25 * 255 * 256), "norm").pvalue > 1e-4
    low = np.bincount(noise & 255, minlength=256)
    assert stats.chisquare(low).pvalue > 1e-4


def philox_4x64(counter: tuple[int, int, int, int], key: int) -> list[int]:
    """Philox4x64-10 as published [Salmon et al. 2011], in plain integers."""
    mask = 2**64 - 1
    c0, c1, c2, c3 = counter
    k0, k1 = key & mask, key >> 64
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & mask, (p0 >> 64) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return [c0, c1, c2, c3]


@pytest.mark.parametrize("sub", [1, 256])
@pytest.mark.parametrize("index", [0, 1, 12345, 2**64 - 1])
def test_stream_is_the_documented_format(sub: int, index: int) -> None:
    """A second implementation, written from the docstring in plain integers, gives the same noise."""
    shape, seed, kind, sigma = (5, 7, 3), public_seed(3), b"gaussian", 0.5
    settings = struct.pack("<16sd4I", kind, sigma, *shape, sub)
    key = int.from_bytes(
        hashlib.sha256(b"api-smooth noise 1\0" + seed + DIGEST + settings).digest()[:16], "little"
    )
    size, head_bits = math.prod(shape), 16 if sub == 1 else 32
    blocks = -(-size * head_bits // 256)
    words = [w for b in range(1, 2 * size + blocks) for w in philox_4x64((b, index, 0, 0), key)]
    extra = iter(words[4 * blocks :])
    scale, expected = sigma * 255 * sub, []
    for v in range(size):
        per_word = 64 // head_bits
        head = words[v // per_word] >> (head_bits * (v % per_word)) & (2**head_bits - 1)
        prefix_bits = 16 if sub == 1 else 20
        lowest = head >> (head_bits - prefix_bits) << (64 - prefix_bits)
        a, b = (quantile(u, scale) for u in (lowest, lowest + 2 ** (64 - prefix_bits) - 1))
        expected.append(a if a == b else quantile(head << (64 - head_bits) | next(extra) >> head_bits, scale))
    got = stream("gaussian", sigma, seed=seed, shape=shape, sub=sub).sample([index])
    assert got.ravel().tolist() == expected


def quantile(u: int, scale: float) -> int:
    """The grid value of the 64-bit integer `u`, from the normal quantile in 40 digits."""
    with mpmath.workdps(40):
        p = (mpmath.mpf(u) + mpmath.mpf(1) / 2) / 2**64
        z = mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1)
        return int(mpmath.floor(z * scale + mpmath.mpf(1) / 2))


def test_stream_is_frozen() -> None:
    """Published seeds keep their noise: the first values of format 1 never change."""
    golden = {
        ("gaussian", 1): GAUSSIAN,
        ("uniform", 1): UNIFORM,
        ("laplace", 1): LAPLACE,
        ("gaussian", 256): GAUSSIAN_FINE,
    }
    for (kind, sub), values in golden.items():
        noise = stream(kind, 0.25, sub=sub).sample([0, 7])  # type: ignore[arg-type]
        assert noise[0].ravel()[:8].tolist() == values[:8], (kind, sub)
        assert noise[1].ravel()[-4:].tolist() == values[8:], (kind, sub)


@pytest.mark.parametrize("sub", [1, 256])
def test_noise_does_not_depend_on_batch_or_order(sub: int) -> None:
    """Query i gets the same noise alone, in any batch, in any order, and twice."""
    noise = stream(sub=sub, shape=(40, 40, 3))  # several rows share one internal step
    together = noise.sample(range(40))
    assert together.dtype == np.int32
    assert together.shape == (40, 40, 40, 3)
    order = np.random.default_rng(2).permutation(40)
    assert np.array_equal(noise.sample(order.tolist()), together[order])
    assert np.array_equal(np.concatenate([noise.sample([i]) for i in range(40)]), together)
    assert np.array_equal(noise.sample([3, 3])[1], together[3])
    assert noise.sample([]).shape == (0, 40, 40, 3)


def test_noise_is_independent_between_queries_images_and_settings() -> None:
    """Streams that differ in index, seed, image, kind, σ, shape or grid are uncorrelated; neighbours too."""
    base: dict[str, Any] = {"kind": "gaussian", "sigma": 0.25, "shape": (64, 64, 3)}
    other: list[dict[str, Any]] = [
        {"seed": public_seed(1)},
        {"digest": hashlib.sha256(b"another").digest()},
        {"kind": "uniform"},
        {"kind": "laplace"},
        {"sigma": 0.25000001},
        {"shape": (48, 64, 4)},
        {"sub": 256},
    ]
    rows = [stream(**base).sample(range(6)).reshape(6, -1)]
    rows += [stream(**(base | change)).sample([0]).reshape(1, -1) for change in other]
    x = np.concatenate(rows).astype(float)
    x = np.concatenate([x, x[:1, ::-1], np.roll(x[:1], 1, axis=1), np.roll(x[:1], 3, axis=1), x[:1] ** 2])
    correlation = np.corrcoef(x)[~np.eye(len(x), dtype=bool)]
    assert np.abs(correlation).max() < 5 / math.sqrt(x.shape[1])


def test_slack_is_small_where_it_is_charged() -> None:
    """At 224×224×3 and σ = 0.25 the charge on p is below 1e-8 on both grids."""
    assert 0 < stream(shape=(224, 224, 3)).slack < 1e-11
    assert 0 < stream(shape=(224, 224, 3), sub=256).slack < 1e-8


def test_the_noise_scales_share_the_standard_deviation() -> None:
    """`sigma` is the standard deviation of all three noises."""
    assert uniform_half_width(0.25) == pytest.approx(stats.uniform(-1, 2).std() ** -1 * 0.25)
    assert laplace_scale(0.25) == pytest.approx(0.25 / stats.laplace.std())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"sigma": 1e6}, "sigma"),
        ({"kind": "cauchy"}, "noise"),
        ({"seed": b"short"}, "seed"),
        ({"sub": 0}, "sub"),
        ({"shape": (0, 4, 3)}, "shape"),
    ],
)
def test_bad_settings_are_refused_in_one_line(change: dict[str, object], word: str) -> None:
    """A setting out of range is refused at once, and named."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        stream(**change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_bad_indices_are_refused_and_seeds_are_not_shown() -> None:
    """An index outside 0…2⁶⁴−1 is refused, and the secret key is in no representation."""
    for index in (-1, 2**64):
        with pytest.raises(ConfigurationError, match="index"):
            stream().sample([index])
    seed = bytes(range(200, 216))
    shown = repr(stream(seed=seed)) + repr(Seed(key=seed, label="secret:x"))
    assert repr(seed)[2:10] not in shown
    assert "_key" not in shown


def test_noisy_values_reach_floats_and_bytes_exactly() -> None:
    """`to_float` is the quotient rounded once, unclipped; `to_uint8` rounds half up and clips."""
    grid = np.array([-70000, -129, -128, 0, 127, 128, 65279, 65280, 90000], dtype=np.int32)
    assert np.array_equal(to_float(grid, 256), (grid.astype(np.float64) / 65280).astype(np.float32))
    assert to_uint8(grid, 256).tolist() == [0, 0, 0, 0, 0, 1, 255, 255, 255]
    assert to_uint8(np.array([-3, 0, 128, 255, 300], dtype=np.int32), 1).tolist() == [0, 0, 128, 255, 255]


def test_rounding_real_noise_on_the_grid_is_integer_noise() -> None:
    """round(x + ε) = x + round(ε) on the grid, so the sampled classifier is the smoothed f∘round."""
    rng = np.random.default_rng(5)
    x, epsilon = rng.integers(0, 256, 100_000), rng.normal(0, 64, 100_000)
    assert np.array_equal(np.floor(x + epsilon + 0.5), x + np.floor(epsilon + 0.5))


RACER = """
import sys
from api_smoothing.secret import installation_seed
print("ready", flush=True)
sys.stdin.readline()
print(installation_seed().hex())
"""


def test_processes_that_race_agree_on_one_secret_seed(tmp_path: Path) -> None:
    """Eight processes starting at once in an empty home read one and the same seed."""
    folder = tmp_path / "fresh"
    environment = {**os.environ, "API_SMOOTH_HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    seeds = {racer.communicate()[0] for racer in racers}
    assert len(seeds) == 1
    assert len(seeds.pop()) == 2 * 16 + 1
    assert [p.name for p in folder.iterdir()] == ["seed"]


def test_secret_seed_is_private_and_stable() -> None:
    """The seed is made once, readable by its owner only, and its label does not give it away."""
    first = resolve_seed(None)
    assert resolve_seed(None) == first
    assert len(first.key) == 16
    assert first.label == f"secret:{fingerprint(first.key)}"
    assert first.key.hex() not in repr(first)
    assert stat.S_IMODE((home() / "seed").stat().st_mode) == 0o600
    assert stat.S_IMODE(home().stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"00" * 15, b"00" * 17, b"zz" * 16, b"\xff" * 40, bytes(16)])
def test_malformed_seed_file_is_refused(content: bytes) -> None:
    """A damaged seed is never padded, cut or replaced in silence."""
    installation_seed()
    (home() / "seed").write_bytes(content)
    with pytest.raises(ConfigurationError, match="malformed"):
        installation_seed()


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_seed_file_open_to_others_is_refused() -> None:
    """A seed that other users could have read is not used."""
    installation_seed()
    (home() / "seed").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        installation_seed()


def test_home_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that cannot hold the seed is one line, not a traceback."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("API_SMOOTH_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="API_SMOOTH_HOME"):
        installation_seed()


def test_public_seeds_are_fixed_and_distinct() -> None:
    """`seed=K` is the same key everywhere, differs between K, and says so in its label."""
    assert public_seed(0).hex() == PUBLIC_ZERO
    assert len({public_seed(k) for k in range(-50, 50)}) == 100
    assert resolve_seed(42) == Seed(key=public_seed(42), label="public:42")
    for wrong in (True, 1.0, "1"):
        with pytest.raises(ConfigurationError, match="whole number"):
            public_seed(wrong)  # type: ignore[arg-type]


PUBLIC_ZERO = "b6bb8a3238080e05ef680bf4c966e184"
GAUSSIAN = [51, 56, 58, 93, -60, 73, 61, -75, 58, 12, -75, 53]
UNIFORM = [-3, 55, -89, -72, -44, -7, 99, 41, 104, 47, 52, -49]
LAPLACE = [20, -40, 34, -162, 19, -108, 6, -45, -47, -5, 62, -32]
GAUSSIAN_FINE = [15672, -18089, -7240, 1420, -8424, -21476, 25583, -49702, -3749, 16721, 8969, -20704]


def test_who_draws_nothing_makes_no_table() -> None:
    """A stream has its name and refuses what is out of range without one: on a fine grid it takes a second."""
    made = noise_table.cache_info().misses
    fine = stream(sigma=0.1875, sub=255)
    assert noise_table.cache_info().misses == made
    with pytest.raises(ConfigurationError, match="too large"):
        stream(sigma=1e5, sub=255)
    assert noise_table.cache_info().misses == made
    assert fine.slack > 0.0
    assert noise_table.cache_info().misses == made + 1
