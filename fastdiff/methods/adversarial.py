"""The adversarial term of a method: a discriminator on a network's features, its losses and settings."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from ..core.denoiser import Cond, Denoiser
from ..core.validation import Strict
from ..data.batch import Batch
from ..networks.discriminator import ENCODER, apart, capture_features, discriminator_on
from .base import Loss, Nets, Turn, repeat_cond
from .diagnostics import area_under_roc

HEADS_LR = 1e-3  # learning rate of discriminator heads, which are new, whatever that of the student is

Weight = Annotated[float, Field(ge=0, le=1e6)]
Features = list[Tensor]  # output of each named module for one batch, (B, places, C)
DiscriminatorHeads = Callable[[Features], Tensor]  # features -> logits (B, heads), above 0 for real samples
TurnCount = Annotated[int, Field(ge=1)]  # turns of one role per turn of the student


class Adversary(Strict):
    """The settings of an adversarial term.

    Args:
        weight: weight of the term in the student's loss, 0 to 1e6; at 0 the method has no discriminator.
        loss: softplus, the non-saturating loss -ln D; minimax, the saturating loss ln(1 - D) (Goodfellow et
            al. 2014); or hinge.
        r1: weight of the R1 penalty (Mescheder et al. 2018), 0 to 1e6: the squared norm of the gradient of
            each head's real logit by its feature, averaged over heads as the loss is.
        features: names of the network's modules whose outputs the discriminator takes, a head for each;
            `encoder` stands for the blocks from the input to the middle; if empty, the middle module.
        hidden: width of a discriminator's head, 1 to 65536.
    """

    model_config = ConfigDict(frozen=True)

    weight: Weight = 0.0
    loss: Literal["softplus", "minimax", "hinge"] = "softplus"
    r1: Weight = 0.0
    features: tuple[str, ...] = (ENCODER,)
    hidden: Annotated[int, Field(ge=1, le=2**16)] = 128

    def new_discriminator(self, net: Denoiser, views: int = 1, kinds: int = 1) -> nn.Module:
        """Create an untrained discriminator for a network's features.

        Args:
            net: network whose features are taken.
            views: number of samples whose features the discriminator sees at once, concatenated channel by
                channel.
            kinds: number of kinds of samples with separate outputs; see networks.discriminator.
        """
        return discriminator_on(net, self.features, self.hidden, views, kinds)

    def trainable_networks(self, net: Denoiser, views: int = 1) -> Nets:
        """Return the networks of the term by role: a new discriminator, or nothing at weight 0."""
        return {"discriminator": self.new_discriminator(net, views)} if self.weight else {}

    @property
    def names_modules(self) -> bool:
        """Whether `features` names modules of one network."""
        return bool(set(self.features) - {ENCODER})

    @property
    def training(self) -> dict[str, Any]:
        """Defaults of TrainConfig for a method with this term: a learning rate for the new heads."""
        return {"roles": {"discriminator": {"lr": HEADS_LR}}} if self.weight else {}

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of each step of a method with this term: the discriminator's before the student's."""
        return (("discriminator",), ("student",)) if self.weight else (("student",),)

    def extract_features(
        self, net: Denoiser, samples: list[Tensor], times: list[Tensor], cond: Cond
    ) -> list[Features]:
        """Return a network's features of several batches of noised samples, in one pass.

        Args:
            net: network whose features are taken.
            samples: noised samples (B, ...), batch by batch.
            times: times (B,) of the samples, batch by batch.
            cond: condition of every batch.

        Returns:
            For each batch, the features (B, places, C) of each named module.
        """
        count = len(samples)
        t = torch.cat(times)
        with capture_features(net, self.features) as features:
            net(torch.cat(samples), t, t, repeat_cond(cond, count))
        return apart(features, count)

    def extract_noised_features(
        self, net: Denoiser, t: Tensor, batch: Batch, *samples: Tensor
    ) -> list[Features]:
        """Noise batches of clean samples, and return a network's features of them.

        Args:
            net: network whose features are taken.
            t: times (B,), the same for each batch of samples.
            batch: source of the condition and the random stream; every batch of samples gets its own noise.
            samples: clean samples (B, ...), batch by batch.

        Returns:
            For each batch, the features (B, places, C) of each named module.
        """
        noised = [net.schedule.mix(x, batch.rng.normal(x.shape[1:]).to(x), t) for x in samples]
        return self.extract_features(net, noised, [t] * len(samples), batch.cond)

    def capture_features(self, net: Denoiser) -> AbstractContextManager[Features]:
        """Capture the features of the last pass through a network within a context.

        The value of the context is their list, which stays empty at weight 0.
        """
        return capture_features(net, self.features) if self.weight else nullcontext([])

    def discriminator_loss(self, discriminator: DiscriminatorHeads, real: Features, fake: Features) -> Loss:
        """Return the discriminator's loss, a scalar, and figures to log.

        Args:
            discriminator: function from the features of both batches, real samples first, to logits (2 B,
                heads).
            real: features of real samples, (B, places, C) each.
            fake: features of the student's samples, (B, places, C) each.
        """
        if self.r1:
            # Views: the gradient by a feature leaves out the later features that a network made of it.
            real = [
                feature.view_as(feature) if feature.requires_grad else feature.detach().requires_grad_()
                for feature in real
            ]
        logits = discriminator([torch.cat(pair) for pair in zip(real, fake, strict=True)])
        real_logits, fake_logits = logits.float().chunk(2)
        if self.loss == "hinge":
            loss = (relu(1.0 - real_logits) + relu(1.0 + fake_logits)).mean()
        else:
            loss = (softplus(-real_logits) + softplus(fake_logits)).mean()
        logs = {
            "discriminator": loss,
            "discriminator_real": (real_logits > 0).float().mean(),
            "discriminator_fake": (fake_logits < 0).float().mean(),
            "discriminator_auc": area_under_roc(real_logits.mean(1), fake_logits.mean(1)),
        }
        if self.r1:
            # A head depends on its own feature only, so the gradients of the sum are those of the heads.
            gradients = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
            penalties = [gradient.flatten(1).square().sum(1).mean() for gradient in gradients]
            logs["r1"] = sum(penalties) / real_logits.shape[1]
            loss = loss + self.r1 / 2 * logs["r1"]
        return loss, logs

    def generator_loss(self, logits: Tensor) -> Tensor:
        """Return the student's loss, a scalar, from the discriminator's logits (B, heads) of its samples."""
        if self.loss == "hinge":
            return -logits.float().mean()
        if self.loss == "minimax":
            return (-softplus(logits)).float().mean()
        return softplus(-logits).float().mean()


def surrogate_loss(x: Tensor, x_detached: Tensor, terms: dict[str, Tensor]) -> Loss:
    """Backpropagate several losses, computed on a detached copy of x, through x.

    Args:
        x: the student's samples (B, ...).
        x_detached: the same values (B, ...) as a leaf of the graph of all terms.
        terms: losses of x_detached, scalars by name.

    Returns:
        The loss, a scalar with the value and the gradient of the terms' sum; and figures to log: each term
        and, if there are several, NAME_share, the norm of its gradient divided by the sum of the norms.
    """
    gradients = {
        name: torch.autograd.grad(term, x_detached, retain_graph=True)[0] for name, term in terms.items()
    }
    value = sum(terms.values()).detach()
    inner = (x * sum(gradients.values())).sum()  # its gradient by x is the sum of the terms' gradients
    loss = inner - inner.detach() + value
    if len(terms) == 1:
        return loss, terms
    norms = {name: gradient.norm() for name, gradient in gradients.items()}
    total = sum(norms.values()).clamp(min=1e-30)
    return loss, terms | {f"{name}_share": norm / total for name, norm in norms.items()}
