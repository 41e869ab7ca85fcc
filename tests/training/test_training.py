"""The training room: data, objectives, the loop, recipes."""

from __future__ import annotations

import itertools
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from training_files import TINY, tiny_recipe, write_binary

from api_smoothing.adapters.local.cifar10net import CLASSES, SHA256, load_cifar10net, read_card
from api_smoothing.convnet import Cifar10Net, fold
from api_smoothing.denoisers.unet import SIGMA_DATA, UNet, denoise
from api_smoothing.errors import ConfigurationError, WeightsError
from api_smoothing.training import train_classifier, train_denoiser
from api_smoothing.training.classifier import crop_and_flip, cut_out, whiten
from api_smoothing.training.data import load_images, split_off
from api_smoothing.training.denoiser import blended
from api_smoothing.training.journal import Journal
from api_smoothing.training.loop import Average, Order, Schedule, fit, generator
from api_smoothing.training.objectives import SigmaRange, add_noise, jitter, on_grid, weighted_mse
from api_smoothing.training.recipe import RECIPES, read_recipe, recipe_names
from api_smoothing.training.surrogates import CifarResNet, load_surrogate


def test_binary_batches_come_back_as_written(tmp_path: Path) -> None:
    """The binary distribution gives each image and label in file order."""
    images = write_binary(tmp_path, 30)
    data = load_images(tmp_path)
    assert np.array_equal(data.images.numpy(), images)
    assert data.labels is not None
    assert data.labels.tolist() == [k % 10 for k in range(30)]
    floats = data.floats(slice(2, 4))
    assert torch.equal((floats * 255).round().to(torch.uint8), data.images[2:4].permute(0, 3, 1, 2))


def test_sheets_come_back_as_written(tmp_path: Path) -> None:
    """Tiles of a lossless sheet are read row by row."""
    tiles = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    sheet = tiles.reshape(2, 3, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, 96, 3)
    Image.fromarray(sheet).save(tmp_path / "train_00.webp", lossless=True)
    np.savez(tmp_path / "labels.npz", train=np.arange(6, dtype=np.uint8))
    data = load_images(tmp_path)
    assert np.array_equal(data.images.numpy(), tiles)


def test_any_folder_of_pictures_is_cropped(tmp_path: Path) -> None:
    """A folder of pictures gives one crop each, repeatable, and skips those that are too small."""
    for k, side in enumerate((40, 32, 20)):
        Image.fromarray(np.full((side, side + 5, 3), 50 * k, np.uint8)).save(tmp_path / f"{k}.png")
    data = load_images(tmp_path)
    assert data.labels is None
    assert data.images.shape == (2, 32, 32, 3)
    assert torch.equal(data.images, load_images(tmp_path).images)


@pytest.mark.parametrize("content", [None, b"\x00" * 5000])
def test_unusable_folders_are_named(tmp_path: Path, content: bytes | None) -> None:
    """A folder without images, or with a cut-off batch, is a ConfigurationError."""
    if content is not None:
        (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(ConfigurationError):
        load_images(tmp_path)


def test_sheets_below_are_not_taken_for_photographs(tmp_path: Path) -> None:
    """A folder above the one with CIFAR-10's sheets is refused, and the message names that one."""
    inner = tmp_path / "cifar10"
    inner.mkdir()
    Image.new("RGB", (64, 64)).save(inner / "train_00.webp", lossless=True)
    np.savez(inner / "labels.npz", train=np.zeros(4, np.uint8))
    assert len(load_images(inner)) == 4
    with pytest.raises(ConfigurationError, match="cifar10"):
        load_images(tmp_path)


def test_the_split_is_fixed_and_disjoint(tmp_path: Path) -> None:
    """The held-out images depend on the seed alone and share none with the rest."""
    write_binary(tmp_path, 40)
    data = load_images(tmp_path)
    rest, held = split_off(data, 10, seed=4)
    again = split_off(data, 10, seed=4)[1]
    assert torch.equal(held.images, again.images)
    seen = {bytes(image.numpy().tobytes()) for image in rest.images}
    assert len(rest) == 30
    assert not any(bytes(image.numpy().tobytes()) in seen for image in held.images)


def test_an_epoch_is_a_permutation() -> None:
    """Within an epoch no row comes twice; the next epoch has another order; the order is a function of the seed."""
    order = Order(20, 5, seed=1)
    epochs = [torch.cat([order.rows(4 * e + k)[1] for k in range(4)]) for e in range(2)]
    assert sorted(epochs[0].tolist()) == list(range(20))
    assert not torch.equal(*epochs)
    assert torch.equal(Order(20, 5, seed=1).rows(5)[1], epochs[1][5:10])


def test_too_few_images_for_a_batch_are_refused() -> None:
    """Fewer images than a batch is a ConfigurationError, not an endless or empty epoch."""
    with pytest.raises(ConfigurationError, match="do not fill one batch"):
        Order(3, 4, seed=0)


def test_steps_draw_independently() -> None:
    """Generators of different (seed, path) give different streams, the same ones the same."""
    draws = {
        tuple(torch.rand(3, generator=generator(*key)).tolist())
        for key in ((0, 2, 0), (0, 2, 1), (1, 2, 0), (0, 3, 0))
    }
    assert len(draws) == 4
    assert torch.equal(
        torch.rand(3, generator=generator(5, 2, 7)), torch.rand(3, generator=generator(5, 2, 7))
    )


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_schedule_meets_its_ends(shape: Any) -> None:
    """The factor starts at `start`, is 1 at `peak`, ends at `end`, and never leaves that range."""
    schedule = Schedule(start=0.2, peak=0.25, end=0.1, shape=shape)
    assert [schedule(p) for p in (0.0, 0.25, 1.0)] == pytest.approx([0.2, 1.0, 0.1])
    assert all(0.1 - 1e-9 <= schedule(k / 50) <= 1 + 1e-9 for k in range(51))


def _run(folder: Path, steps: int, *, stop: int | None = None, **more: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 1))
    average = Average(net, decay=0.9)

    def loss(step: int, draw: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        if step == stop:
            raise KeyboardInterrupt
        return net(torch.randn((16, 3), generator=draw)).square().mean(), {}

    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    fit(
        net,
        loss,
        optimizer,
        steps=steps,
        schedule=Schedule(),
        average=average,
        folder=folder,
        settings={"a": 1},
        save_every=0.0,
        **more,
    )
    return {**{f"net.{k}": v for k, v in net.state_dict().items()}, **average.state}


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    """Killed after any step and resumed, training gives bitwise the same weights and averages."""
    whole = _run(tmp_path / "whole", 9)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "broken", 9, stop=5)
    resumed = _run(tmp_path / "broken", 9)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_checkpoints_are_safetensors_and_guard_their_settings(tmp_path: Path) -> None:
    """A checkpoint opens without pickle, and a run with other settings is refused."""
    _run(tmp_path, 3)
    assert any(key.startswith("optimizer.") for key in load_file(tmp_path / "state.safetensors"))
    with pytest.raises(ConfigurationError, match="other settings"):
        _run(tmp_path, 3, seed=1)


def test_the_clock_ends_a_run_annealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by the time that is spent, not by its steps, it has come down to the end of its schedule."""
    _run(tmp_path / "none", 3, minutes=0.0)
    assert (tmp_path / "none" / "log.jsonl").read_text() == ""
    seconds = itertools.count(step=1.5)  # a clock that is asked a few times a step
    monkeypatch.setattr("api_smoothing.training.loop.time.monotonic", lambda: next(seconds))
    _run(tmp_path / "some", 10_000, minutes=2.0, log_every=1)
    rates = [json.loads(line)["rate"] for line in (tmp_path / "some" / "log.jsonl").read_text().splitlines()]
    assert 10 < len(rates) < 100
    assert max(rates) > 0.99
    assert rates[-1] < 0.02


def test_noise_is_on_the_grid_and_not_clipped() -> None:
    """x + ε lies on multiples of 1/255, leaves [0,1], and has the standard deviation asked for."""
    x = torch.full((4, 3, 32, 32), 128 / 255)
    sigma = torch.tensor([0.05, 0.25, 0.5, 1.0])
    noisy = add_noise(x, sigma, generator(0))
    assert torch.allclose(noisy * 255, (noisy * 255).round(), atol=1e-3)
    assert (noisy - x).flatten(1).std(1) == pytest.approx(sigma.tolist(), rel=0.05)
    assert float(noisy.max()) > 1.5


def test_sigmas_stay_in_range_and_gather_at_the_focus() -> None:
    """Every σ is within [low, high], and the focused share lies about the focus."""
    drawn = SigmaRange(low=0.05, high=1.0, focus=0.25, share=0.8, spread=0.05).draw(4000, generator(1))
    assert float(drawn.min()) >= 0.05
    assert float(drawn.max()) <= 1.0
    near = float(((drawn / 0.25).log().abs() < 0.15).float().mean())
    assert near == pytest.approx(0.8 * 0.997 + 0.2 * 0.3 / 3.0, abs=0.03)


def test_the_loss_is_the_error_of_the_network_itself() -> None:
    """weighted_mse equals the plain error of F against its effective target (Karras et al. 2022, equation 8)."""
    net = UNet((16, 16), (1, 1))
    nn.init.normal_(net.out.weight, std=0.1)
    clean, sigma = torch.rand(3, 3, 32, 32), torch.tensor([0.1, 0.3, 0.9])
    noisy = add_noise(clean, sigma, generator(2))
    s = sigma[:, None, None, None]
    total = s**2 + SIGMA_DATA**2
    target = (clean - 0.5 - SIGMA_DATA**2 / total * (noisy - 0.5)) / (s * SIGMA_DATA / total.sqrt())
    plain = (net((noisy - 0.5) / total.sqrt(), sigma.log()) - target).square().mean()
    torch.testing.assert_close(
        weighted_mse(denoise(net, noisy, sigma), clean, sigma), plain, rtol=1e-4, atol=1e-5
    )


def test_rounding_passes_gradients_inside_the_range() -> None:
    """on_grid rounds to 8 bits and clips; its gradient is 1 inside [0,1] and 0 outside."""
    x = torch.tensor([-0.3, 0.1234, 0.9, 1.7], requires_grad=True)
    y = on_grid(x)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert (y.detach() * 255).tolist() == pytest.approx([0, 31, 230, 255], abs=1e-3)
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_jitter_moves_the_batch_as_one() -> None:
    """Every image of the batch is moved by the same few pixels."""
    x = torch.rand(1, 3, 32, 32).expand(5, -1, -1, -1)
    y = jitter(x, 2, generator(3))
    assert y.shape == x.shape
    assert torch.equal(y[0], y[4])
    assert any(
        torch.equal(y[0, :, 4:-4, 4:-4], x[0, :, 4 + i : 28 + i, 4 + j : 28 + j])
        for i in range(-2, 3)
        for j in range(-2, 3)
    )


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


def test_fusing_a_surrogate_changes_nothing() -> None:
    """A fused ResNet computes what the plain one does in eval mode."""
    torch.manual_seed(1)
    net = CifarResNet(2)
    net(torch.rand(16, 3, 32, 32))
    net.eval()
    x = torch.rand(4, 3, 32, 32)
    plain = net(x)
    torch.testing.assert_close(net.fuse()(x), plain, rtol=1e-4, atol=1e-5)


def test_surrogates_load_from_state_dicts(tmp_path: Path) -> None:
    """A CIFAR ResNet's state dict gives its function; a wrong one, or an unknown name, is a WeightsError."""
    net = CifarResNet(3).eval()
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "resnet20-x.th"
    )
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(load_surrogate("resnet20", [tmp_path])(x), net(x), rtol=1e-4, atol=1e-5)
    shutil.copy(tmp_path / "resnet20-x.th", tmp_path / "resnet32-x.th")
    for name in ("resnet32", "no-such-network"):
        with pytest.raises(WeightsError):
            load_surrogate(name, [tmp_path])


def test_shipped_weights_have_recipes_without_targets() -> None:
    """Every denoiser recipe has phases, and none trains against what it is evaluated on."""
    kinds = {
        name: tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8")) for name in recipe_names()
    }
    assert {"cifar10", "unet-cifar10"} <= set(kinds)
    assert all(plan == read_recipe(name, plan["kind"]) for name, plan in kinds.items())
    for plan in kinds.values():
        for phase in plan.get("phase", []):
            assert not {"resnet56", "cifar10"} & set(phase.get("surrogates", []))
    with pytest.raises(ConfigurationError, match="not a classifier"):
        read_recipe("unet-cifar10", "classifier")
    with pytest.raises(ConfigurationError, match="bundled are"):
        read_recipe("no-such-recipe", "classifier")


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


def test_training_writes_a_denoiser_that_loads(tmp_path: Path) -> None:
    """train_denoiser runs all phases and writes weights the registry loads, with an account of each phase."""
    from api_smoothing import denoisers

    write_binary(tmp_path, 32)
    torch.save(CifarResNet(3).state_dict(), tmp_path / "resnet20-x.th")
    recipe = tiny_recipe("unet-cifar10", tmp_path, **TINY)
    file = train_denoiser(recipe, tmp_path, tmp_path / "out", surrogates=tmp_path)
    denoiser = denoisers.load(file, dtype="fp32")
    phases = [p["phase"] for p in denoiser.card.training["phases"]]
    assert phases == ["closeness", "mse", "answers", "stability"]
    assert denoiser.card.training["phases"][0]["images_seen"] == 16
    assert denoiser(torch.rand(2, 3, 32, 32), 0.25).shape == (2, 3, 32, 32)


def test_a_blended_phase_lies_between_its_ends(tmp_path: Path) -> None:
    """`blend` of a phase is the share of what it learnt: 0 leaves the weights of the phase before, ½ is the middle."""
    write_binary(tmp_path, 32)
    plan = tiny_recipe("dncnn-cifar10-mse", tmp_path, channels=8, depth=3, steps=2, batch=8).read_text()
    plan = plan.replace('name = "at-0.12"', 'name = "at-0.12"\nblend = BLEND')

    def ends(blend: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        recipe = tmp_path / f"{blend}.toml"
        recipe.write_text(plan.replace("BLEND", blend))
        train_denoiser(recipe, tmp_path, tmp_path / blend)
        first, second = (
            load_file(tmp_path / blend / f"dncnn-cifar10-mse-{k}.safetensors") for k in ("mse", "at-0.12")
        )
        return first, second

    before, none = ends("0.0")
    whole, half = ends("1.0")[1], ends("0.5")[1]
    assert all(torch.equal(before[k], none[k]) for k in before)
    assert any(not torch.equal(before[k], whole[k]) for k in before)
    unit = blended(
        {"w": torch.zeros(2), "n": torch.tensor(3)}, {"w": torch.ones(2), "n": torch.tensor(5)}, 0.5
    )
    assert unit["w"].tolist() == [0.5, 0.5]
    assert unit["n"] == 5
    assert any(not torch.equal(half[k], whole[k]) for k in half)


def test_a_phase_may_come_after_an_earlier_one(tmp_path: Path) -> None:
    """With `after` it learns from that phase's weights, and `blend` lies between those and the phase's before it."""
    write_binary(tmp_path, 32)
    plan = tiny_recipe(
        "unet-cifar10", tmp_path, channels=[16, 16], blocks=[1, 1], steps=2, batch=8, lr=0.01
    ).read_text()
    head, one, *_ = plan.split("[[phase]]")
    two = one.replace('name = "closeness"', 'name = "two"')
    three = one.replace('name = "closeness"', 'name = "three"').replace(
        "lr = 0.01", "lr = 0.0"
    )  # it stays at its start

    def ends(lines: str) -> list[dict[str, torch.Tensor]]:
        recipe, out = tmp_path / "branches.toml", tmp_path / str(len(lines))
        recipe.write_text("[[phase]]".join((head, one, two, three.replace("lr =", f"{lines}lr ="))))
        train_denoiser(recipe, tmp_path, out)
        return [load_file(out / f"unet-cifar10-{name}.safetensors") for name in ("closeness", "two", "three")]

    first, second, third = ends("")
    assert all(torch.equal(second[k], third[k]) for k in second)
    assert any(not torch.equal(first[k], second[k]) for k in first)
    first, second, third = ends('after = "closeness"\n')
    assert all(torch.equal(first[k], third[k]) for k in first)
    first, second, third = ends('after = "closeness"\nblend = 0.5\n')
    for k, value in third.items():
        torch.testing.assert_close(value, (first[k] + second[k]) / 2, atol=1e-3, rtol=0)  # fp16
    unknown = 'after = "three"\n'
    with pytest.raises(ConfigurationError, match="no phase before it"):
        ends(unknown)
    assert not (tmp_path / str(len(unknown))).exists()  # refused before anything is trained


def test_each_phase_of_a_blind_denoiser_serves_its_own_sigma(tmp_path: Path) -> None:
    """A network that is told no σ is written once for each σ it was trained for, and refuses the others."""
    from api_smoothing import denoisers

    write_binary(tmp_path, 32)
    recipe = tiny_recipe("dncnn-cifar10-mse", tmp_path, channels=8, depth=3, steps=2, batch=8)
    train_denoiser(recipe, tmp_path, tmp_path / "out")
    for phase, sigma in (("mse", 0.25), ("at-0.12", 0.12), ("at-0.5", 0.5)):
        denoiser = denoisers.load(tmp_path / "out" / f"dncnn-cifar10-mse-{phase}.safetensors", dtype="fp32")
        assert denoiser.card.sigma_range == (sigma, sigma)
        assert denoiser(torch.rand(2, 3, 32, 32), sigma).shape == (2, 3, 32, 32)
        with pytest.raises(ConfigurationError, match="serves"):
            denoiser(torch.rand(2, 3, 32, 32), sigma + 0.1)


def test_tensorboard_reads_a_training_that_was_taken_up_again(tmp_path: Path) -> None:
    """Each figure is a curve over the steps; what was computed twice after a kill is in it once."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for begun, steps, offset in ((0, (10, 20, 30), 0.0), (20, (30, 40), 0.5)):
        with Journal(tmp_path, begun) as journal:
            for step in steps:
                journal.write({"step": step, "of": 40, "loss": step + offset, "rate": 0.5})
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert sorted(read.Tags()["scalars"]) == ["loss", "rate"]
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(10, 10), (20, 20), (30, 30.5), (40, 40.5)]
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        10, 20, 30, 30, 40,
    ]  # fmt: skip


def test_a_training_that_starts_over_has_one_curve(tmp_path: Path) -> None:
    """Killed before its first checkpoint, or started over, a run takes back all that was noted before."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for offset in (0.0, 0.5):
        with Journal(tmp_path, 0) as journal:
            for step in (10, 20):
                journal.write({"step": step, "of": 40, "loss": step + offset})
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(10, 10.5), (20, 20.5)]


def test_a_training_is_logged_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TensorBoard is not installed there are the lines, and no events."""
    monkeypatch.setattr("api_smoothing.training.journal.find_spec", lambda name: None)
    with Journal(tmp_path, 0) as journal:
        journal.write({"step": 1, "loss": 0.5})
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]


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
