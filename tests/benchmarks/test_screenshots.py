from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from run_files import run_file

from api_smoothing import report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def screenshots() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        found = import_module("screenshots")
        if found.browser.find() is None:
            pytest.skip("no browser")
        yield found


def test_a_report_is_without_fault(
    screenshots: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a real browser: no request, nothing in the console, no overflow, and all controls work by keyboard."""
    runs = [run_file(tmp_path / f"{sigma}.jsonl", 60, sigma=sigma) for sigma in (0.25, 0.5)]
    page = tmp_path / "report.html"
    page.write_text(report.html([report.read(run) for run in runs]), encoding="utf-8")
    code = screenshots.main([str(page), "--out", str(tmp_path / "out")])
    assert (code, capsys.readouterr().out.splitlines()[0].startswith("no fault")) == (0, True)
    for name in ("390-light", "390-dark", "1280-light", "1280-dark", "print", "no-script"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 20_000


def test_faults_are_found(
    screenshots: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page that calls out, is too wide, and runs what its policy does not name."""
    page = tmp_path / "report.html"
    text = report.html([report.read(run_file(tmp_path / "run.jsonl", 30))])
    wide = '<svg width="2000" height="9"></svg><script>alert(1)</script><img src="http://127.0.0.1:9/x.png">'
    page.write_text(text.replace("<main>", f"<main>{wide}"), encoding="utf-8")
    assert screenshots.main([str(page), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().out
    assert "1280-light: the page is" in told
    assert "console: " in told
    assert "Content Security Policy" in told
    with pytest.raises(FileNotFoundError):
        screenshots.main([str(tmp_path / "none.html"), "--out", str(tmp_path / "out")])
