"""The figures that `Method.loss` logs, scalars by name.

The loop averages them over the parts of a batch. It adds `loss` and `grad`, the norm of the gradient before
clipping (`ROLE/grad` if a turn has several roles), `lr`, `drift`, the relative distance of a target average
from the student, and `skipped`. Figures of a turn without the student have its roles as a prefix, such as
`fake+discriminator/`. A figure marked * is logged again with the suffixes _low, _mid and _high: its mean in
each third of the times, see `by_level`.

Errors:
    self_error *: root mean square of the difference between the student and its target, per number (of
        shortcut: its square).
    error *: error that the class of a method describes.
    boundary: error where the answer is known: near the data, at r = t, at t' of TCM.
    dsm, flow: denoising loss, in methods that also train jumps.
    unweighted, vlb: loss of denoising without importance weights, and its variational bound in bits per
        dimension.
    mmd: discrepancy of IMM.
Times and derivatives:
    gap: mean difference of the two times that are compared, as a fraction of t_max.
    tangent *: norm of the derivative in the target (MeanFlow logs the mean only).
    weighting: mean w of the learned weighting of sCM.
Terms of a loss that is a sum:
    agreement, distill, matching, error, gan: value of each term.
    agreement_share, ...: norm of the term's gradient as a fraction of the sum of the norms.
Discriminators:
    discriminator: the loss of the discriminator, without its penalty.
    discriminator_real, discriminator_fake: fraction of real and of generated samples judged correctly.
    discriminator_auc: probability that a real sample's logit, the mean over heads, is larger than a generated
        one's: 0.5 for a discriminator that distinguishes nothing.
    r1: squared norm of the gradient by the features of real samples, averaged over heads.
    ratio_spread: of f_distill, the standard deviation of h(r) divided by its mean; at 0 it is DMD2.
Samples:
    coverage: fraction of the data that generated samples cover, see `coverage`.
    spread: root mean square of the samples about their mean.
    lag: how far a fake score network is behind the samples, -1 to 1, see `lag`.
"""

import torch
from torch import Tensor

from ..core.prediction import ratio_of
from ..core.schedule import Schedule
from .distances import per_sample

NEIGHBOUR_COUNT = 5  # the radius of a ball is the distance of the neighbour with this rank
FEWEST_EXAMPLES = 8  # real examples below which coverage is NaN
LEVEL_NAMES = ("low", "mid", "high")  # suffixes for the thirds of the times


@torch.no_grad()
def coverage(real: Tensor, samples: Tensor) -> Tensor:
    """Return the fraction of real examples with a generated sample in their ball (Naeem et al. 2020).

    The ball of a real example reaches to its fifth nearest real neighbour.

    Args:
        real: real examples (B, ...).
        samples: generated samples (N, ...).

    Returns:
        A scalar in [0, 1], about 0.97 for two batches of one distribution and size; NaN if there are fewer
        than FEWEST_EXAMPLES examples, or if they are NaN.
    """
    if len(real) < FEWEST_EXAMPLES:
        return torch.tensor(torch.nan)
    a = real.flatten(1).float()
    b = samples.flatten(1).float()
    nearest = min(NEIGHBOUR_COUNT + 1, len(a))  # the first neighbour of an example is itself
    radius = torch.cdist(a, a).kthvalue(nearest, dim=1).values
    inside = (torch.cdist(a, b) <= radius[:, None]).any(1).float().mean()
    return torch.where(a.isfinite().all(), inside, torch.nan)


@torch.no_grad()
def spread(samples: Tensor) -> Tensor:
    """Return the root mean square of samples (B, ...) about their mean, a scalar."""
    return (samples - samples.mean(0)).float().square().mean().sqrt()


@torch.no_grad()
def area_under_roc(real: Tensor, fake: Tensor) -> Tensor:
    """Return the area under a discriminator's receiver operating characteristic.

    It is the probability that a real example's logit is larger than a generated one's; ties count one half.

    Args:
        real: logits (B,) of real examples.
        fake: logits (N,) of generated examples.

    Returns:
        A scalar, 1 for a discriminator that separates them and 0.5 for one that distinguishes nothing.
    """
    ordered = fake.float().sort().values
    below = torch.searchsorted(ordered, real.float().contiguous(), right=False)
    not_above = torch.searchsorted(ordered, real.float().contiguous(), right=True)
    return (below + not_above).float().mean() / (2 * len(fake))


def lag(x: Tensor, mu_real: Tensor, mu_fake: Tensor) -> Tensor:
    """Return the figure `lag`, which measures how far the fake is behind the student's samples.

    It is the correlation of the fake's error with its difference from the teacher, 0 on average for a
    converged fake: the error of a posterior mean is orthogonal to any function of the noised sample,
    E <x - mu_fake, mu_real - mu_fake> = 0.

    Args:
        x: the student's samples (B, ...).
        mu_real: clean data (B, ...) that the teacher predicts from noised x.
        mu_fake: clean data (B, ...) that the fake predicts from the same noised x.

    Returns:
        A scalar, -1 to 1.
    """
    error = (x - mu_fake).detach()
    difference = (mu_real - mu_fake).detach()
    return (error * difference).sum() / (error.norm() * difference.norm()).clamp(min=1e-30)


def by_level(name: str, value: Tensor, fraction: Tensor) -> dict[str, Tensor]:
    """Return the mean of a value and its mean in each third of the times, scalars by name.

    Args:
        name: name of the mean; the names of the thirds have the suffixes _low, _mid and _high.
        value: value (B,) of each example.
        fraction: times (B,) as fractions of t_max. The mean of a third without examples is 0.
    """
    third = (3 * fraction).long().clamp(0, 2).to(value.device)
    inside = third[:, None] == torch.arange(3, device=value.device)
    sums = torch.where(inside, value[:, None], 0).sum(0)  # a value that is not finite stays in its third
    means = sums / inside.sum(0).clamp(min=1)
    return {name: value.mean()} | {f"{name}_{level}": mean for level, mean in zip(LEVEL_NAMES, means)}


def boundary(schedule: Schedule, t: Tensor, f: Tensor, x0: Tensor) -> dict[str, Tensor]:
    """Return the figure `boundary`: the error of clean predictions where sigma is below alpha / 10.

    Args:
        schedule: schedule of the times.
        t: times (B,).
        f: predictions of the clean data (B, ...).
        x0: clean data (B, ...).

    Returns:
        The root mean square difference of f and x0 per number, averaged over the examples with such a time; 0
        if there are none.
    """
    near = (ratio_of(schedule, t) < 0.1).to(x0.device)
    error = per_sample((f.detach() - x0).square()).sqrt()
    return {"boundary": torch.where(near, error, 0).sum() / near.sum().clamp(min=1)}
