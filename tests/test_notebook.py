"""Progress below a cell: there without being asked for in a kernel, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from api_smoothing import SmoothedAPI, evaluate, events, notebook

GREY = np.full((8, 8, 3), 128, np.uint8)
CELL = """
import numpy as np
from api_smoothing import SmoothedAPI
grey = np.full((8, 8, 3), 128, np.uint8)
with SmoothedAPI(lambda x: ["cat"] * len(x), denoiser=None, store="memory"{more}) as api:
    done = [*api.certify_many([grey, grey + np.uint8(1)], radius=0.25), api.certify(grey + np.uint8(2), n=50)]
assert "IPython" in __import__("sys").modules
"""


def certify(observer: events.Observer, *, calls: int = 1) -> None:
    with SmoothedAPI(lambda x: ["cat"] * len(x), denoiser=None, store="memory", observers=[observer]) as api:
        for call in range(calls):
            list(api.certify_many([GREY + np.uint8(2 * call + k) for k in range(2)], n=40))


class Page:
    """A front end that keeps every state of every display, in place of IPython's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> None:
        self.displays: list[list[dict[str, str]]] = []
        self.shell = SimpleNamespace(kernel=object(), execution_count=1)
        self._fails = fails
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: self.shell))  # type: ignore[arg-type]
        monkeypatch.setattr(notebook, "_display", self._display)
        monkeypatch.setattr(notebook, "_EVERY_SECONDS", 0.0)

    def _display(self, bundle: dict[str, str]) -> Any:
        if self._fails:
            raise OSError("the page is gone")
        self.displays.append([bundle])
        return self.displays[-1].append


def test_nobody_is_told_outside_a_notebook(capfd: pytest.CaptureFixture[str]) -> None:
    """A script has no observer that it did not name, and prints nothing."""
    assert notebook.observers_of(None) == ()
    with SmoothedAPI(lambda x: ["cat"] * len(x), denoiser=None, store="memory") as api:
        api.certify(GREY, n=20)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython without a kernel has no cells."""
    Page(monkeypatch).shell.kernel = None
    assert notebook.observers_of(None) == ()


def test_observers_that_are_named_take_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel progress is the default alone; () is nobody."""
    Page(monkeypatch)
    assert [type(one) for one in notebook.observers_of(None)] == [notebook.NotebookProgress]
    assert notebook.observers_of(()) == ()
    assert notebook.observers_of([print]) == (print,)


def test_all_calls_of_a_cell_share_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """One display a cell, whose last state has all of its images and votes."""
    page, observer = Page(monkeypatch), notebook.NotebookProgress()
    certify(observer, calls=2)
    assert len(page.displays) == 1
    last = page.displays[0][-1]
    assert last["text/plain"].startswith("4 decided, 4 certified, 160 votes · ")
    assert "cat, radius 0.2" in last["text/plain"]
    page.shell.execution_count = 2
    certify(observer)
    assert len(page.displays) == 2
    assert page.displays[1][-1]["text/plain"].startswith("2 decided, 2 certified, 80 votes · ")


def test_a_data_set_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of an evaluation the images that are left are told, in the display of the cell."""
    page, observer = Page(monkeypatch), notebook.NotebookProgress()
    with SmoothedAPI(lambda x: ["cat"] * len(x), denoiser=None, store="memory", observers=[observer]) as api:
        evaluate(
            api, [(GREY + np.uint8(k), "cat") for k in range(3)], radii=(0.25,), output=tmp_path / "run.jsonl"
        )
    (display,) = page.displays
    assert display[-1]["text/plain"].startswith("3 of 3 decided, 3 certified, ")


def test_a_label_writes_no_html(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a service says is escaped."""
    page, observer = Page(monkeypatch), notebook.NotebookProgress()
    observer(events.VotesCounted(image="a\n<b>", index=0, n=2, sent=2, cached=0, leader="<script>", leader_votes=1,
                                 cost_usd=0.5))  # fmt: skip
    (state,) = page.displays[0]
    assert "<script>" not in state["text/html"]
    assert "&lt;script&gt; 50.0%" in state["text/html"]
    assert (
        state["text/plain"]
        == "0 decided, 1 under way, 0 certified, 2 votes, $0.5000 at list prices · a\\n<b>: 2 votes, <script> 50.0%"
    )


def test_a_display_that_fails_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is paid, whatever a front end raises."""
    Page(monkeypatch, fails=True)
    certify(notebook.NotebookProgress())


@pytest.mark.parametrize(("more", "shows"), [("", True), (", observers=()", False)])
def test_a_real_kernel_shows_it(more: str, shows: bool) -> None:
    """In a kernel a cell ends with one display of its three images, unless observers were named."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.replace("{more}", more))])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    shown = [output for output in book.cells[0].outputs if output.output_type == "display_data"]
    assert len(shown) == shows
    if shows:
        assert shown[0].data["text/plain"].startswith("3 decided, 3 certified, ")
        assert shown[0].data["text/html"].startswith("<samp>")
