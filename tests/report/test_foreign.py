from __future__ import annotations

from pathlib import Path

import pytest
from scipy.stats import norm

from api_smoothing.errors import ConfigurationError
from api_smoothing.report import read, table
from api_smoothing.report.foreign import is_foreign, sigma_of

LINES = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n" + "".join(
    f"{line}\n"
    for line in [
        "0\t3\t3\t0.7615\t1\t0:00:12.5",
        "20\t7\t-1\t0.0\t0\t0:00:12.0",
        "40\t8\t0\t0.31\t0\t1 day, 0:00:01.25",
        "60\t4\t4\t0.12\t1\t0:01:02",
    ]
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sigma_0.25"
    path.write_text(LINES)
    return path


def test_it_is_read_as_a_run(file: Path) -> None:
    """Labels, truths and radii are the file's; −1 is an abstention; the bound is the one that gives the radius."""
    assert is_foreign(file)
    run = read(file)
    assert [c.label for c in run.certificates] == ["3", None, "0", "4"]
    assert [c.item["truth"] for c in run.certificates if c.item] == ["3", "7", "8", "4"]
    assert run.certificates[0].p_lower == pytest.approx(norm.cdf(0.7615 / 0.25))
    assert run.certificates[0].sigma == 0.25
    assert "abstained | 25.0 %" in table([run])


def test_sigma_is_told_by_the_name_or_else(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    path.write_text(LINES)
    with pytest.raises(ConfigurationError, match="--sigma"):
        read(path)
    assert read(path, sigma=0.5).certificates[0].sigma == 0.5
    assert sigma_of(Path("data/certify/cifar10/noise_0.50/test/sigma_0.25")) == 0.25
    assert sigma_of(Path("noise_0.50/out.tsv")) == 0.5


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1\t2\t3", "line 2: .*tabs between"),
        ("1\t3\t3\tinf\t1\t0:00:01", "line 2: radius inf is none"),
        ("1\t3\t3\t0.5\t0\t0:00:01", "line 2: correct is not"),
        ("1\t3\t3\t0.5\t1\tsoon", "line 2: time 'soon'"),
    ],
)
def test_a_line_that_is_none_is_told(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "sigma_0.25.tsv"
    path.write_text(LINES.splitlines()[0] + f"\n{line}\n")
    with pytest.raises(ConfigurationError, match=why):
        read(path)
