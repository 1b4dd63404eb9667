"""An adversary: the terms that a discriminator on a network's features adds to a method."""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from ..core.denoiser import Cond, Denoiser
from ..core.validation import Strict
from ..data.registry import Batch
from ..networks.discriminator import apart, critic_on, tapped

Weight = Annotated[float, Field(ge=0, le=1e6)]


class Adversary(Strict):
    """weight: of its term in the student's loss; 0: there is none.

    loss: softplus, the non-saturating one; minimax, the saturating one, ln(1 - D) (Goodfellow et al. 2014);
    or hinge. r1: weight of the penalty on the gradient of real logits by features (Mescheder et al. 2018).
    features: names of the network's modules, its middle one if none is given. hidden: a head's width.
    """

    model_config = ConfigDict(frozen=True)

    weight: Weight = 0.0
    loss: Literal["softplus", "minimax", "hinge"] = "softplus"
    r1: Weight = 0.0
    features: tuple[str, ...] = ()
    hidden: Annotated[int, Field(ge=1, le=2**16)] = 128

    def critic(self, net: Denoiser, views: int = 1, kinds: int = 1) -> nn.Module:
        """Fresh heads for this network's features. views: of so many samples, channel beside channel; kinds: see Critic."""
        return critic_on(net, self.features, self.hidden, views, kinds)

    def extras(self, net: Denoiser, views: int = 1) -> dict[str, nn.Module]:
        """What a method of which this is a term keeps besides its student."""
        return {"critic": self.critic(net, views)} if self.weight else {}

    @property
    def turns(self) -> tuple[tuple[str, ...], ...]:
        """The turns of such a method."""
        return (("critic",), ("student",)) if self.weight else (("student",),)

    def seen(self, net: Denoiser, parts: list[Tensor], times: list[Tensor], cond: Cond) -> list[list[Tensor]]:
        """A network's features of batches of noised samples (B, ...), each at times (B,): a list a batch, by one pass."""
        t, n = torch.cat(times), len(parts)
        with tapped(net, self.features) as found:
            net(
                torch.cat(parts),
                t,
                t,
                cond and {name: torch.cat([value] * n) for name, value in cond.items()},
            )
        return apart(found, n)

    def seen_noised(self, net: Denoiser, t: Tensor, batch: Batch, *parts: Tensor) -> list[list[Tensor]]:
        """The same of clean samples, at the same times (B,) in each batch, with noise of its own."""
        noised = [net.schedule.mix(x, batch.rng.normal(x.shape[1:]).to(x), t) for x in parts]
        return self.seen(net, noised, [t] * len(parts), batch.cond)

    def tapped(self, net: Denoiser) -> AbstractContextManager[list[Tensor]]:
        """Inside, a pass through this network leaves its features there; none where there is no term."""
        return tapped(net, self.features) if self.weight else nullcontext([])

    def telling(
        self, critic: nn.Module, real: list[Tensor], made: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss on features of real and of made samples, told apart in one pass; and what to log."""
        if self.r1:
            real = [
                feature if feature.requires_grad else feature.detach().requires_grad_() for feature in real
            ]
        true, false = critic([torch.cat(pair) for pair in zip(real, made, strict=True)]).float().chunk(2)
        punish, margin = (relu, 1.0) if self.loss == "hinge" else (softplus, 0.0)
        loss = (punish(margin - true) + punish(margin + false)).mean()
        logs = {
            "critic": loss,
            "critic_real": (true > 0).float().mean(),
            "critic_fake": (false < 0).float().mean(),
        }
        if self.r1:
            slopes = torch.autograd.grad(true.mean(1).sum(), real, create_graph=True)
            logs["r1"] = sum(slope.flatten(1).square().sum(1).mean() for slope in slopes)
            loss = loss + self.r1 / 2 * logs["r1"]
        return loss, logs

    def fooling(self, logits: Tensor) -> Tensor:
        """The student's loss by the logits (B, heads) of its samples."""
        if self.loss == "hinge":
            return -logits.float().mean()
        return (-softplus(logits) if self.loss == "minimax" else softplus(-logits)).float().mean()


def pulled(x: Tensor, leaf: Tensor, terms: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of terms of a leaf that equals x, as a loss of x; and to log: each term, and its share of the gradient."""
    slopes = {name: torch.autograd.grad(term, leaf, retain_graph=True)[0] for name, term in terms.items()}
    norms = {name: slope.norm() for name, slope in slopes.items()}
    value, pull = sum(terms.values()).detach(), (x * sum(slopes.values())).sum()
    shares = {f"{name}_share": norm / sum(norms.values()).clamp(min=1e-30) for name, norm in norms.items()}
    return pull - pull.detach() + value, {**terms, **(shares if len(terms) > 1 else {})}
