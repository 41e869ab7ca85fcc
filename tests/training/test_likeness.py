"""How like two images are."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from api_smoothing.errors import WeightsError
from api_smoothing.training import likeness
from api_smoothing.training.likeness import psnr, ssim


def flat(*levels: float) -> Tensor:
    """Images (N,3,16,16), each of one value."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, 16, 16)


def test_psnr_is_of_each_image() -> None:
    """An error of 0.1 everywhere is 20 dB, one of 0.01 is 40 dB, and none is infinitely many."""
    a, b = flat(0.5, 0.3, 0.7), flat(0.6, 0.31, 0.7)
    assert psnr(a, b).tolist() == pytest.approx([20, 40, math.inf], abs=1e-4)


def test_ssim_of_flat_images_is_their_luminance_term() -> None:
    """Without structure SSIM is (2ab + C₁)/(a² + b² + C₁), which is 1 for equal images only."""
    found = ssim(flat(0.2, 0.5, 0.9), flat(0.4, 0.5, 0.1)).tolist()
    by_hand = [(2 * a * b + 1e-4) / (a * a + b * b + 1e-4) for a, b in ((0.2, 0.4), (0.5, 0.5), (0.9, 0.1))]
    assert found == pytest.approx(by_hand, abs=1e-4)


def test_ssim_is_the_mean_over_windows() -> None:
    """SSIM is what equation 13 of Wang et al. 2004 gives, window by window."""
    draw = np.random.default_rng(0)
    a = draw.random((12, 13))
    b = np.clip(a + 0.2 * draw.standard_normal(a.shape), 0, 1)
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    values = []
    for i in range(2):
        for j in range(3):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            cov = (weights * (p - mp) * (q - mq)).sum()
            values.append(
                (2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
            )
    x, y = (torch.from_numpy(image).float().expand(1, 3, -1, -1) for image in (a, b))
    assert float(ssim(x, y)) == pytest.approx(float(np.mean(values)), abs=1e-5)


def test_ssim_and_psnr_are_those_of_torchmetrics() -> None:
    """Another library gives the same figures, where its SSIM leaves out windows that reach beyond the image."""
    library = pytest.importorskip("torchmetrics.functional.image")
    draw = torch.Generator().manual_seed(0)
    a = torch.rand(3, 3, 32, 32, generator=draw)
    b = (a + 0.1 * torch.randn(a.shape, generator=draw)).clamp(0, 1)
    _, places = library.structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = places[:, :, 5:-5, 5:-5].flatten(1).mean(1)
    torch.testing.assert_close(ssim(a, b), inside, rtol=0, atol=1e-5)
    theirs = library.peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(a, b).float(), theirs, rtol=0, atol=1e-4)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub, where nothing may be downloaded."""
    pytest.importorskip("torchmetrics")
    pytest.importorskip("torchvision")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("downloads")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_lpips_is_left_out_without_its_network(cache: Path) -> None:
    """Without the published network in the cache LPIPS is refused in one line that says what to fetch."""
    with pytest.raises(
        WeightsError, match=r"lpips_network.*put https.*alexnet-owt-7be5be79\.pth there"
    ) as caught:
        likeness.lpips()
    assert "\n" not in str(caught.value)


def test_another_network_is_not_passed_off_as_lpips(cache: Path) -> None:
    """A file of the published name with other contents is refused."""
    (cache / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"other weights")
    with pytest.raises(WeightsError, match="not the published one"):
        likeness.lpips()


def test_other_convolutions_are_not_passed_off_as_alexnets(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolutions in a file of the right name are refused by their digest; the pinned ones are looked through."""
    from safetensors.torch import save
    from torchmetrics.functional.image.lpips import _LPIPS

    torch.manual_seed(0)
    plain = _LPIPS(net="alex", pretrained=True, pnet_rand=True).eval()
    convs = [m for m in plain.net.modules() if isinstance(m, nn.Conv2d)]
    data = save({f"conv{n}.{k}": v for n, conv in enumerate(convs) for k, v in conv.state_dict().items()})
    likeness.alexnet_file().write_bytes(data)
    assert likeness.alexnet_file().parent == cache
    with pytest.raises(WeightsError, match="not the pinned one"):
        likeness.lpips()
    monkeypatch.setattr(likeness, "ALEXNET_SHA256", hashlib.sha256(data).hexdigest())
    name, apart = likeness.lpips()
    a, b = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert name == "lpips_alex"
    with torch.no_grad():
        torch.testing.assert_close(apart(a, b), plain(a, b, normalize=True).flatten())


def test_a_file_is_known_by_the_digest_in_its_name(tmp_path: Path) -> None:
    """The digits at the end of the name are the first of the SHA-256, as torch hub writes them."""
    assert not likeness._has_digest(tmp_path / "noname.pth")
    for name, sound in (("a-ba7816bf.pth", True), ("a-ba7816b0.pth", False)):
        (tmp_path / name).write_bytes(b"abc")
        assert likeness._has_digest(tmp_path / name) is sound


def test_lpips_looks_through_the_cached_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 for equal images, symmetric, greater for more noise, one number a row, and of the network in the cache."""
    from torchvision import models

    torch.manual_seed(0)
    net = models.squeezenet1_1(weights=None)
    torch.save(net.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr(likeness, "_has_digest", lambda file: True)
    name, apart = likeness.lpips()
    assert name == "lpips_squeeze"
    draw = torch.Generator().manual_seed(1)
    a = torch.rand(2, 3, 40, 40, generator=draw)
    near, far = ((a + s * torch.randn(a.shape, generator=draw)).clamp(0, 1) for s in (0.02, 0.3))
    assert apart(a, a).tolist() == [0, 0]
    torch.testing.assert_close(apart(a, far), apart(far, a))
    torch.testing.assert_close(apart(a, far)[1:], apart(a[1:], far[1:]))
    assert (apart(a, near) < apart(a, far)).all()
    nn.init.normal_(net.features[0].weight)
    torch.save(net.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    assert not torch.allclose(likeness.lpips()[1](a, far), apart(a, far))


def test_lpips_gives_the_published_figures() -> None:
    """With the published network, random images have the distance its publishers and users print."""
    pytest.importorskip("torchmetrics")
    pytest.importorskip("torchvision")
    try:
        name, apart = likeness.lpips()
    except WeightsError as error:
        pytest.skip(str(error))
    draw = torch.Generator().manual_seed(42)
    a, b = (torch.rand(2, 3, 100, 100, generator=draw) for _ in range(2))
    if (
        likeness.alexnet_file().is_file()
    ):  # the ends of the first row of torchvision's AlexNet, as people print it
        row = load_file(likeness.alexnet_file())["conv0.weight"][0, 0, 0].tolist()
        assert row[:3] + row[-3:] == pytest.approx(
            [0.11864, 0.094069, 0.095435, 0.055822, 0.021575, 0.049963], abs=1e-5
        )
    if name == "lpips_squeeze":  # the documentation of torchmetrics 1.9
        assert apart(a, b).tolist() == pytest.approx([0.1024, 0.0938], abs=1e-3)
    else:
        assert 0.05 < float(apart(a, b).mean()) < 0.6
