"""Training of the bundled classifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_files import photographs, tiny_recipe, write_binary

from api_smoothing.adapters.local.cifar10net import CLASSES, SHA256, load_cifar10net, read_card
from api_smoothing.convnet import Cifar10Net, fold
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import train_classifier
from api_smoothing.training.classifier import crop_and_flip, cut_out, whiten
from api_smoothing.training.data import ImageSet, load_images, split_off
from api_smoothing.training.loop import generator


def test_crops_are_shifts_and_mirrors() -> None:
    """crop_and_flip without a shift gives the image, mirrored where asked."""
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    out = crop_and_flip(
        images, torch.tensor([0, 1]), border=0, flip=torch.tensor([False, True]), draw=generator(0)
    )
    assert torch.equal((out[0] * 255).round(), images[0].permute(2, 0, 1).float())
    assert torch.equal((out[1] * 255).round(), images[1].permute(2, 0, 1).float().flip(2))


def test_cut_out_greys_one_square() -> None:
    """cut_out changes exactly side² pixels of each image."""
    out = cut_out(torch.ones(3, 3, 32, 32), 8, generator(4))
    assert ((out == 0.5).sum((1, 2, 3)) == 3 * 64).all()


def test_the_first_layer_whitens() -> None:
    """Responses to the patches it was fitted to are uncorrelated, with unit variance and zero mean less a shift."""
    net, images = Cifar10Net((8, 8, 8)), torch.rand(50, 3, 32, 32)
    whiten(net, images)
    out = net.whiten(4 * images - 2)[:, :12].permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(torch.cov(out), torch.eye(12), rtol=0, atol=0.02)


def test_folding_changes_nothing() -> None:
    """The folded classifier computes what the trained one does in eval mode."""
    torch.manual_seed(1)
    net = Cifar10Net((8, 16, 16))
    for _ in range(3):
        net(torch.rand(16, 3, 32, 32))
    net.eval()
    x = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(fold(net)(x), net(x), rtol=1e-4, atol=1e-5)


def test_training_writes_a_classifier_that_loads(tmp_path: Path) -> None:
    """train_classifier writes fp16 weights and a card that load_cifar10net accepts, and resumes to the same file."""
    write_binary(tmp_path, 96)
    recipe = tiny_recipe("cifar10", tmp_path, widths=[8, 8, 8], epochs=1, batch=16, holdout=32)
    file = train_classifier(recipe, tmp_path, tmp_path / "out")
    card = json.loads(file.with_suffix(".json").read_text())
    assert set(card["accuracy"]) == {"held-out (32)"}
    assert load_cifar10net(file)(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    first = file.read_bytes()
    assert train_classifier(recipe, tmp_path, tmp_path / "out").read_bytes() == first
    file.write_bytes(first[:-1] + b"!")
    with pytest.raises(WeightsError, match="sha256"):
        load_cifar10net(file)


def test_the_bundled_classifier_is_the_pinned_one() -> None:
    """The bundled file has the pinned sha256, which its card repeats, and stays within 5 MB."""
    card = read_card()
    assert card["sha256"] == SHA256
    assert card["bytes"] <= 5_000_000
    assert load_cifar10net()(torch.zeros(1, 3, 32, 32)).shape == (1, len(CLASSES))


def test_the_bundled_classifier_is_as_good_as_its_card(shared: Path) -> None:
    """On the first 200 lossless test images the accuracy is at least 90 %."""
    test = load_images(shared / "data" / "cifar10", "test")
    assert test.labels is not None
    with torch.no_grad():
        right = load_cifar10net()(test.floats(slice(0, 200))).argmax(1) == test.labels[:200]
    assert float(right.float().mean()) >= 0.9


def test_a_classifier_trains_beside_pictures_without_labels(tmp_path: Path) -> None:
    """A picture beside the batches is no test set; holding out none, or all, is what it says."""
    write_binary(tmp_path, 96)
    photographs(tmp_path, 64)
    file = tiny_recipe("cifar10", tmp_path, widths=[8, 8, 8], epochs=1, batch=16, holdout=0)
    weights = train_classifier(file, tmp_path, tmp_path / "out")
    assert weights.is_file()
    data = ImageSet(images=torch.zeros(4, 2, 2, 3), labels=None, name="four")
    assert [len(part) for part in split_off(data, 0, 1)] == [4, 0]
    with pytest.raises(ConfigurationError, match="cannot be held out"):
        split_off(data, 4, 1)
