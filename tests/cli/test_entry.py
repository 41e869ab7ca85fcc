"""The command `api-smooth` itself: light to start, and one line for whatever is wrong."""

from __future__ import annotations

import importlib
import io
import os
import shlex
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PLUGIN, TOY, one_line
from PIL import Image

from api_smoothing.cli import main
from api_smoothing.cli.overall_help import names, overall_help

FORBIDDEN = [
    "torch", "torchvision", "numpy", "scipy", "PIL", "safetensors", "diskcache", "tenacity", "matplotlib",
    "boto3", "botocore", "google", "azure", "clarifai", "clarifai_grpc", "grpc", "requests", "diffusers",
    "hypothesis", "pytest",
]  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """The forbidden modules a fresh interpreter has after running `code`."""
    program = f"{code}\nimport sys; print('\\n'.join(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()} & set(FORBIDDEN)


@pytest.mark.parametrize(
    "code",
    [
        "import api_smoothing",
        "from api_smoothing.cli import main; main(['--help'])",
        "from api_smoothing.cli import main; main(['certify', '--help'])",
        "from api_smoothing.cli import main; main(['certify', 'x.png', '--sigma', '0'])",
        "from api_smoothing.cli import main; main(['certify', 'x.png', '--sigmma', '1'])",
        "import os; os.environ['API_SMOOTH_SIGMMA'] = '1'; from api_smoothing.cli import main; main(['certify', 'x'])",
        "from api_smoothing.cli import main; main(['cache', 'path'])",
        "from api_smoothing import adapters; adapters.names()",
        "from api_smoothing import denoisers; denoisers.names()",
    ],
)
def test_light_things_stay_light(code: str) -> None:
    """Importing the package, help, refused settings and lists of names load no heavy module and no SDK."""
    assert not loaded_by(code.replace("main([", "_ = main(["))


def test_planning_loads_nothing_that_makes_connections() -> None:
    """Python's own HTTP takes fifty modules, a tenth of the time that a plan takes."""
    program = (
        "from api_smoothing.cli import main; main(['plan', '--radius', '0.25']); import sys; "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"http.client", "urllib.request", "ssl", "requests"} & {*done.stderr.split()}


#: Refused by what names and numbers alone can tell.
WRONG = """
certify a.png -n 20 --sigma 0
certify a.png -n 20 --sigma 3
certify a.png -n 20 --sigma 1e400
certify a.png -n 20 --alpha 0.2
certify a.png -n 99999999999999999999999
certify a.png -n 20 --n0 0
certify a.png -n 20 --method squential
certify a.png -n 20 --noise gausian
certify a.png -n 20 --size 9000
certify a.png -n 20 --size 8x
certify a.png -n 20 --size 64 --denoiser recogniser-cifar10
certify a.png -n 20 --denoiser unet-cifar
certify a.png -n 20 --denoiser nothere.safetensors
certify a.png -n 20 --denoiser nothere.pth?sigma=0.25
certify a.png -n 20 --denoiser auto?method=vot
certify a.png -n 20 --denoiser auto?method=vote&paths=0
certify a.png -n 20 --denoiser auto?method=ensemble&views=99
certify a.png -n 20 --denoiser auto?method=vote&path=3
certify a.png -n 20 --labels cifra10
certify a.png -n 20 --labels missing.toml
certify a.png -n 20 --labels-present cat:3
certify a.png -n 20 --provider awz
certify a.png -n 20 --provider http
certify a.png -n 20 --provider http --model opnai
certify a.png -n 20 --provider aws --options regoin=x
certify a.png -n 20 --provider aws --options max_labels=0
certify a.png -n 20 --provider aws --rate 0
certify a.png -n 20 --rate 5
certify a.png -n 20 --options tpo=1
certify a.png -n 20 --model missing.pth
certify a.png -n 20 --model resnet5000
certify a.png -n 20 --n0 50
certify a.png --labels-present all --n0 50 --method clopper-pearson
certify a.png --dry-run --denoiser unet-cifar
estimate --count 3 --provider aws --denoiser unet-cifar
estimate --count 3 -n 20 --n0 50
certify a.png -n 20 --seed -1
certify a.png --radius 9
certify a.png --provider aws --sandbox --radius 9
certify a.png -n 20 --budget-usd nan
certify missing.png -n 20
certify a.png -n 20 --output nowhere/run.jsonl
predict a.png -n 0
predict a.png --denoiser unet-cifar
predict a.png --provider awz
estimate --count 3 -n 0
estimate --count 3 -n 20 --sigma 5
estimate --count 3 -n 20 --noise pink
estimate --count 3 -n 20 --provider gogle
estimate --count 3 -n 20 --size 100000
estimate --count 3 --radius 9
plan --sigma 0
plan --radius nan
plan --noise pink
purify a.png --sigma 0
purify a.png --method onshot
purify a.png --method ensemble --views 99
purify a.png --method vote --paths 0
purify a.png --method multistep --eta nan
purify a.png --method guided --distance mze
purify a.png --size 0
purify a.png --denoiser unet
purify a.png --output nowhere/x.png
purify missing.png
labels show imagnet
labels show cifar10 --provider awz
labels explain missing.png --provider aws
labels explain a.png --provider awz
labels explain a.png --labels cifra10
providers check awz
providers check aws --options regoin=x
providers check aws --rate -1
sandbox awz
train denoiser --recipe x --data nowhere --out o
train denoiser --recipe unet-cifar11 --data . --out o
cache info --cache a.png
"""


def test_wrong_settings_are_refused_before_torch_is_loaded(project: Path) -> None:
    """Of every command: what names, options and numbers can tell is told at once, not after the seconds torch takes."""
    program = """
import sys
from api_smoothing.cli import main
for line in sys.stdin.read().split("\\n"):
    code = main(line.split())
    print(f"={code} {'torch' in sys.modules} {line}", file=sys.stderr, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=WRONG.strip(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    told = done.stderr.splitlines()
    assert told[1::2] == [f"=2 False {line}" for line in WRONG.strip().splitlines()], done.stderr
    assert all(line.startswith("api-smooth: error: ") for line in told[::2])


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("certify a.png --raduis 0.1", "did you mean --radius?"),
        ("certify a.png --bugdet-usd=3", "did you mean --budget-usd?"),
        ("labels explain a.png --provder aws", "did you mean --provider?"),
        ("cache cleer", "did you mean clear?"),
        ("purify a.png --method onshot", "did you mean oneshot?"),
        ("providers chekc aws", "did you mean check?"),
        ("certify a.png -n 20 --provider AWZ", "did you mean aws?"),
        ("certfy a.png", "did you mean certify?"),
        ("certify a.png --sigme 0.2", "did you mean --sigma?"),
        ("denoisers --jsno", "did you mean --json?"),
        ("certify a.png -n 20 --model resnet19", "did you mean resnet18"),
        ("labels shw cifar10", "did you mean show?"),
        ("labels show imagnet-coarse", "did you mean imagenet-coarse"),
        ("certify a.png -n 20 --denoiser unet-cifra10", "did you mean unet-cifar10"),
        ("certify a.png -n 20 --provider opnai", "did you mean openai?"),
        ("certify a.png -n 20 --provider http --model opnai", "did you mean openai?"),
        ("certify a.png -n 20 --denoiser auto?method=ensembel", "did you mean ensemble?"),
        ("certify a.png -n 20 --denoiser auto?method=vote&path=3", "did you mean paths?"),
        ("train denoiser --recipe unet-cifar11 --data . --out o", "did you mean unet-cifar10"),
        ("sandbox awz", "did you mean aws"),
    ],
)
def test_the_nearest_of_what_there_is_is_named(
    command: str, meant: str, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    """A flag, a choice, a command or a name that nobody knows gets the one it is most like."""
    assert main(command.split()) == 2
    one_line(capsys.readouterr().err, meant)


@pytest.mark.parametrize(
    "words",
    [
        "a.png b.png -n 20",
        "a.png -n 20 b.png",
        "-n 20 a.png b.png",
        "-n 20 -- a.png b.png",
        "a.png -n 20 -- b.png",
    ],
)
def test_flags_may_stand_anywhere(words: str, capsys: pytest.CaptureFixture[str], project: Path) -> None:
    """Images before, between and after the flags are all asked about; behind a -- one may begin with a dash."""
    Path("-b.png").write_bytes(Path("b.png").read_bytes())
    words = words.replace("-- b.png", "-- -b.png")
    assert main(["certify", *TOY, "--json", *words.split()]) == 0
    assert capsys.readouterr().out.count("\n") == 2


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Each file in commands/ is a command; help names it, and its own help says what it takes."""
    import api_smoothing.cli.commands as commands

    names = sorted(file.stem for file in Path(commands.__path__[0]).glob("[a-z]*.py"))
    assert {"certify", "predict", "plan", "estimate", "train", "denoisers", "cache"} <= set(names)
    assert main(["--help"]) == 0
    listing = capsys.readouterr().out
    for name in names:
        assert f"\n  {name} " in listing
        assert main([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: api-smooth {name}")


def test_help_imports_nothing() -> None:
    """Neither a command nor argparse: --help takes little more than Python itself."""
    code = "import os, sys; before = {*sys.modules}; from api_smoothing.cli import main; main(['--help'])"
    told = "print(*{*sys.modules} - before, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-S", "-c", f"{code}; {told}"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=True)  # fmt: skip
    assert set(done.stderr.split()) <= {
        "__future__", "api_smoothing", "api_smoothing.version", "api_smoothing.cli", "api_smoothing.cli.overall_help",
    }  # fmt: skip


def test_the_help_has_every_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """What --help reads off the files is what the commands say of themselves."""
    for name in names():
        summary = importlib.import_module(f"api_smoothing.cli.commands.{name}").SUMMARY
        assert f"\n  {name:<11} {summary}\n" in overall_help()
    assert main(["--help", "certify"]) == 0
    assert capsys.readouterr().out == overall_help()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_help_that_nobody_can_read_raises_nothing() -> None:
    """Into a closed pipe the help ends as any command does; a stream that knows no … gets the rest."""
    command = [sys.executable, "-m", "api_smoothing", "--help"]
    for buffered in ("", "1"):
        env = {**os.environ, "PYTHONUNBUFFERED": buffered}
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env)
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") <= 1
    done = subprocess.run(
        command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=True
    )
    assert b"COMMAND ?" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the package's version."""
    from api_smoothing import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"api-smooth {__version__}\n"


def test_module_and_command_are_the_same() -> None:
    """`python -m api_smoothing` is the command, exit code included."""
    command = [sys.executable, "-m", "api_smoothing", "certfy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "api-smooth: error: unknown command 'certfy'; did you mean certify?\n"


def test_an_unexpected_exception_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even a bug is one line; API_SMOOTH_DEBUG=1 adds the traceback."""

    def broken(*_: object) -> str:
        raise ZeroDivisionError("a bug\nin two lines")

    monkeypatch.setattr("api_smoothing.cli.commands.cache.resolve_settings", broken)
    assert main(["cache", "path"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "please report" in error
    assert "ZeroDivisionError: a bug in two lines" in error
    monkeypatch.setenv("API_SMOOTH_DEBUG", "1")
    assert main(["cache", "path"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["labels", "explain", "a.png"], ["labels", "show", "cifar10"], ["providers", "check", "aws"]]
)
def test_the_help_that_is_named_is_the_innermost(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown flag of a command within a command points to that one's help, which lists its flags."""
    assert main([*command, "--colour"]) == 2
    known = "labels " + command[1] if command[0] == "labels" else "providers"
    one_line(capsys.readouterr().err, "--colour", f"api-smooth {known} --help")


def test_an_unknown_flag_points_to_the_help_that_lists_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """The help a message names is that of the command given."""
    assert main(["certify", "a.png", "--raduis", "0.1"]) == 2
    one_line(capsys.readouterr().err, "--raduis", "api-smooth certify --help")


@pytest.mark.usefixtures("project")
def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, the run ends with one line that says so and what to do."""
    connect = sqlite3.connect

    def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 12")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    assert main(["certify", "a.png", *TOY, "-n", "400"]) in (2, 4)
    error = "".join(line for line in capsys.readouterr().err.splitlines(True) if "error:" in line)
    one_line(error, "full", "API_SMOOTH_HOME")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", [["plan", "--radius", "0.1"], ["certify", "a.png", *TOY, "-n", "40"]])
def test_output_that_knows_no_greek(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where standard output cannot show a σ, as in a pipe on Windows, the rest of the text still comes."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii"))
    assert main(command) == 0
    assert b"0." in out.getvalue()


def huge_png() -> bytes:
    """A PNG that says it is 20,000×20,000 and would decode to 1.2 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def truncated_jpeg() -> bytes:
    """The first half of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()[: len(file.getvalue()) // 2]


@pytest.fixture
def bad_files(project: Path) -> None:
    """A good image and some bad ones; any query would fail loudly."""
    Path("empty").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("good.png")
    Path("text.png").write_text("this is no image\n")
    Path("half.jpg").write_bytes(truncated_jpeg())
    Path("huge.png").write_bytes(huge_png())


CERTIFY = "certify good.png --provider toy --model fail=0 --denoiser none -n 100"
BAD = [
    ("certify missing.png -n 100", ["missing.png", "no such file"]),
    ("certify empty -n 100", ["empty", "no images"]),
    ("certify '' -n 100", ["empty"]),
    ("certify good.png -n 100 --alpha 1e-320", ["--alpha", "1e-100"]),
    ("certify good.png -n 100 --output empty", ["empty", "folder"]),
    ("certify good.png -n 100 --cache good.png", ["--cache", "folder"]),
    ("certify good.png -n 100 --size 1x9000", ["--size", "8192"]),
    ("cache info --cache good.png", ["--cache", "folder"]),
    ("certify text.png -n 100 --provider toy --denoiser none", ["text.png"]),
    ("certify half.jpg -n 100 --provider toy --denoiser none", ["half.jpg"]),
    ("certify huge.png -n 100 --provider toy --denoiser none", ["huge.png", "pixel"]),
    ("certify -n 100", ["IMAGE"]),
    (f"{CERTIFY} --sigma 0", ["--sigma", "above 0"]),
    (f"{CERTIFY} --sigma nan", ["--sigma", "nan"]),
    (f"{CERTIFY} --sigma 0.25x", ["--sigma", "0.25x"]),
    (f"{CERTIFY} --alpha 0", ["--alpha", "above 0"]),
    (f"{CERTIFY} --alpha 1", ["--alpha", "'1'"]),
    (f"{CERTIFY} -n 0", ["-n", "from 1 on"]),
    (f"{CERTIFY} -n 1e3", ["-n", "whole number"]),
    (f"{CERTIFY} --n0 0 --method clopper-pearson", ["--n0"]),
    (f"{CERTIFY} --radius 0", ["--radius", "above 0"]),
    (f"{CERTIFY} --radius -1", ["--radius", "-1"]),
    (f"{CERTIFY} --budget-queries -1", ["--budget-queries", "-1"]),
    (f"{CERTIFY} --budget-usd -0.5", ["--budget-usd", "-0.5"]),
    (f"{CERTIFY} --seed x", ["--seed", "secret"]),
    (f"{CERTIFY} --size 0", ["--size"]),
    (f"{CERTIFY} --size 32x32x3", ["--size"]),
    (f"{CERTIFY} --method exact", ["--method", "sequential"]),
    (f"{CERTIFY} --noise pink", ["--noise", "gaussian"]),
    (f"{CERTIFY} --labels nothing", ["nothing", "cifar10"]),
    (f"{CERTIFY} --labels missing.toml", ["missing.toml"]),
    (f"{CERTIFY} --provider torchvison", ["torchvison", "torchvision"]),
    (f"{CERTIFY} --json --output run.jsonl", ["--json", "--output"]),
    (f"{CERTIFY} --output good.png", ["good.png", "no run file"]),
    (f"{CERTIFY} --output no/run.jsonl", ["no/run.jsonl"]),
    (f"{CERTIFY} --radius 0.5", ["0.5", "0.3"]),  # 100 unanimous answers reach 0.375
    ("certify good.png -n 100 --model resnet51 --denoiser none", ["resnet51", "resnet5"]),
    ("certify good.png -n 100 --model missing.pth --denoiser none", ["missing.pth"]),
    ("certify good.png -n 100 --denoiser cifar11-unet", ["cifar11-unet"]),
    ("certify good.png -n 100 --denoiser missing.safetensors", ["missing.safetensors"]),
    ("certify good.png -n 100 --sigma 2", ["sigma", "2"]),
    ("certify good.png -n 100 --device tpu9", ["tpu9", "cpu"]),
    ("certify good.png -n 100 --device meta", ["meta", "cpu"]),
    ("estimate -n 100", ["--count"]),
    ("estimate good.png --count 3 -n 100", ["--count"]),
    ("estimate --count 0 -n 100", ["--count"]),
    ("estimate --count 2000000000 -n 100", ["--count", "10,000,000"]),
    ("plan --sigma 0", ["--sigma"]),
    ("train", ["WHAT"]),
    ("train denoiser --recipe r --data nowhere --out out", ["nowhere"]),
    ("cache", ["action"]),
    ("cache wipe", ["wipe", "clear"]),
    ("denoisers --all", ["--all"]),
    ("certfy good.png", ["certfy", "certify"]),
    ("", ["COMMAND"]),
]


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize(("command", "says"), BAD, ids=[command for command, _ in BAD])
def test_bad_input_is_one_line_and_exit_2(
    command: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with the input: exit 2, one line that names it, nothing printed, nothing sent."""
    assert main(shlex.split(command)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("api-smooth: error: ")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 300
    for words in says:
        assert words in printed.err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("tail", [">&-", ">&- 2>&-", "<&-", ">/dev/full"])
def test_a_standard_stream_that_is_not_there_is_no_bug(tail: str, unbuffered: str, project: Path) -> None:
    """With a stream closed or full there is at most one line, never an internal error or a traceback.

    Python notices a full one at the first line, or, buffered as it is for most, as late as at its exit.
    """
    command = shlex.join([sys.executable, "-m", "api_smoothing", "certify", "a.png", *TOY, "-n", "20"])
    paths = os.pathsep.join([str(PLUGIN), str(Path(__file__).parents[2])])
    done = subprocess.run(
        ["bash", "-c", f"{command} {tail}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": unbuffered},
    )
    assert done.returncode == (2 if "full" in tail else 0)
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_made_by_an_interrupt_is_the_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What tidies up in the middle of something else may fail; that is no error to be reported."""

    def stopped(*_: object) -> int:
        try:
            raise KeyboardInterrupt
        finally:
            raise AttributeError("half done")

    monkeypatch.setattr("api_smoothing.cli.entry._dispatch", stopped)
    assert main(["providers"]) == 130
    assert capsys.readouterr().err == "\napi-smooth: interrupted\n"
