"""The optimiser a recipe's phase names: AdamW, or Muon for the convolutions inside the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from api_smoothing.errors import ConfigurationError


def make_optimizer(net: nn.Module, phase: Mapping[str, Any]) -> torch.optim.Optimizer:
    """`optimizer` of `phase` ("adamw", the default, or "muon") for what of `net` is to be trained.

    `lr` is that of all parameters; with Muon that of the convolutions inside, and `lr_rest` that of the others.
    Raises ConfigurationError.
    """
    check_optimizer(phase)
    params = [p for p in net.parameters() if p.requires_grad]
    first, second = phase.get("betas", (0.9, 0.98))
    betas = (first, second)
    if phase.get("optimizer", "adamw") == "adamw":
        return torch.optim.AdamW(params, lr=phase["lr"], betas=betas, weight_decay=0.0, foreach=True)
    kernels = [p for p in params if p.ndim == 4][1:-1]
    inside = {id(p) for p in kernels}
    rest = [p for p in params if id(p) not in inside]
    return MuonAdamW(kernels, rest, lr=phase["lr"], lr_rest=phase["lr_rest"], betas=betas)


def check_optimizer(phase: Mapping[str, Any]) -> None:
    """Raises ConfigurationError where the optimizer of `phase` is unknown, not in this torch, or lacks a rate."""
    kind = phase.get("optimizer", "adamw")
    if kind not in {"adamw", "muon"}:
        raise ConfigurationError(f"optimizer {kind!r} is unknown; name adamw or muon")
    if kind == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigurationError(f"torch {torch.__version__} has no Muon; install torch 2.9 or later")
    if kind == "muon" and "lr_rest" not in phase:
        raise ConfigurationError("muon trains the convolutions inside; give lr_rest, the rate of the others")


class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan 2024) for `kernels` (out, in, k, k), each as a matrix with a row an output; AdamW for the `rest`.

    A step of Muon moves a matrix by the same length in every direction its gradient has. First and last layers, and
    biases, are no such maps.
    """

    def __init__(
        self,
        kernels: Sequence[Tensor],
        rest: Sequence[Tensor],
        *,
        lr: float,
        lr_rest: float,
        betas: tuple[float, float],
    ) -> None:
        groups = [{"params": list(kernels), "lr": lr}, {"params": list(rest), "lr": lr_rest}]
        super().__init__(groups, {})
        self._matrices = [nn.Parameter(_matrix(p.detach(), p)) for p in kernels]
        muon = torch.optim.Muon(self._matrices, lr=lr, weight_decay=0.0)
        self._parts = (muon, torch.optim.AdamW(rest, lr=lr_rest, betas=betas, weight_decay=0.0, foreach=True))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each, at the rates of this optimiser's own two groups."""
        for matrix, kernel in zip(self._matrices, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad, kernel)
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups[0]["lr"] = group["lr"]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states, the kernels' first."""
        muon, adamw = (part.state_dict()["state"] for part in self._parts)
        count = len(self._matrices)
        return super().state_dict() | {"state": muon | {count + k: slots for k, slots in adamw.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both back."""
        count = len(self._matrices)
        for part, first, end in zip(self._parts, (0, count), (count, None), strict=True):
            slots = {
                k - first: v
                for k, v in state_dict["state"].items()
                if k >= first and (end is None or k < end)
            }
            part.load_state_dict(part.state_dict() | {"state": slots})


def _matrix(values: Tensor, kernel: Tensor) -> Tensor:
    """`values` (out, in, k, k) of a `kernel` as (out, in·k·k), in the order in which the kernel's lie in memory."""
    if kernel.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)
    return values.reshape(len(values), -1)
