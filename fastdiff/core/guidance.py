"""Guided: a denoiser with condition, guidance and bounds settled, counting the evaluations that samplers make."""

import math

import torch
from torch import Tensor

from .denoiser import Cond, Denoiser, Prediction, ratio_of
from .errors import FastdiffError
from .schedule import Schedule, like
from .validation import Bound


class Guided:
    """What a sampler calls: denoise(x, t, s) -> Prediction, t 0-dim or (B,); made anew for each batch.

    A model that is told its guidance (model.guidance) is told this one and asked once; it has no use for
    null.

    cond, null: conditions of the two branches of classifier-free guidance (Ho & Salimans 2022).
    guidance: 1 is none; x0 = null + guidance (cond - null). clip: bound of |x0|, None for none.
    against: a weaker model under the same cond, in the null branch's place (autoguidance, Karras et al. 2024).
    interval: (low, high), guided only where low < sigma / alpha <= high (Kynkäänniemi et al. 2024).
    rescale: share, 0 to 1, by which the guided x0 returns to the standard deviation of the unguided (Lin et al. 2023).
    plus: CFG++ (Chung et al. 2024): guidance is its lambda, 0 to 1, and eps stays the null branch's, 1 included.
    threshold: quantile of |x0| that x0 is bounded and divided by, where above 1 (Saharia et al. 2022, Imagen).
    every: the weaker branch is asked at every so many-th guided call; in between, its last distance in x0 is reused.
    nfe: network evaluations so far: 2 where the weaker branch is asked too, else 1. With t (B,) an interval saves none.
    """

    def __init__(
        self,
        model: Denoiser,
        cond: Cond = None,
        null: Cond = None,
        guidance: float = 1.0,
        clip: float | None = None,
        *,
        against: Denoiser | None = None,
        interval: tuple[float, Bound] | None = None,
        rescale: float = 0.0,
        plus: bool = False,
        threshold: float | None = None,
        every: int = 1,
    ):
        self.model, self.cond, self.null, self.guidance, self.clip = model, cond, null, guidance, clip
        self.against, self.interval, self.rescale, self.plus = against, interval, rescale, plus
        self.threshold, self.every = threshold, every
        self.nfe, self.guided_calls, self.lead = 0, 0, None
        self.told = model.guidance is not None
        low, high = model.guidance or (-math.inf, math.inf)
        paired = cond is not None and (null is not None or self.told)
        for wrong, line in (
            (not math.isfinite(guidance), f"guidance = {guidance}: expected a number, 1 for none"),
            (
                self.told and not low <= guidance <= high,
                f"guidance = {guidance:g}: this model was trained for guidance from {low:g} to {high:g}",
            ),
            (
                self.told and (against or interval or rescale or plus or every != 1),
                "this model is told its guidance and asked once: against, interval, rescale, plus and every are not for it",
            ),
            (
                guidance != 1 and against is None and not paired,
                f"guidance = {guidance} needs both a condition and a null condition, or a weaker model to guide against",
            ),
            (
                against is not None and null is not None,
                "against: give a weaker model or a null condition, not both",
            ),
            (
                against is not None and against.schedule != model.schedule,
                f"against: the weaker model must be on the model's own schedule, {model.schedule}: see Denoiser.on",
            ),
            (
                interval is not None and not 0 <= interval[0] < interval[1],
                f"interval = {interval}: expected (low, high) of sigma / alpha with 0 <= low < high",
            ),
            (not 0 <= rescale <= 1, f"rescale = {rescale}: expected a share, 0 to 1"),
            (
                plus and not (paired and 0 <= guidance <= 1),
                f"plus: CFG++ needs a condition, a null condition and guidance from 0 to 1, got guidance = {guidance}",
            ),
            (clip is not None and not clip > 0, f"clip = {clip}: expected a bound above 0, or None"),
            (
                threshold is not None and not 0 < threshold < 1,
                f"threshold = {threshold}: expected a quantile between 0 and 1",
            ),
            (clip is not None and threshold is not None, "clip and threshold both bound x0: choose one"),
            (every < 1, f"every = {every}: expected at least 1"),
        ):
            if wrong:
                raise FastdiffError(line)
        if self.told and cond:
            example = next(iter(cond.values()))
            self.cond = cond | {"guidance": torch.full((len(example),), guidance, device=example.device)}

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        p, lead = self.branches(x, t, s)
        if lead is None and self.clip is None and self.threshold is None:
            return p
        x0 = self.bounded(p.x0 if lead is None else self.guide(p.x0, lead))
        if self.plus and lead is not None:
            return self.renoised(x, x0, p.x0 - lead, t, p.extra)
        return self.from_x0(x, x0, t, p.extra)

    def branches(self, x: Tensor, t: Tensor, s: Tensor) -> tuple[Prediction, Tensor | None]:
        """The prediction under cond, and its lead in x0 over the weaker branch, None where nothing is guided."""
        within = not self.told and (self.guidance != 1 or self.plus) and self.within(t)
        if within is False:
            return self.ask(self.model, x, t, s), None
        due = self.guided_calls % self.every == 0
        self.guided_calls += 1
        if due and self.against is None:
            p = self.ask_both(x, t, s)
            p, self.lead = self.half(p, len(x)), p.x0[: len(x)] - p.x0[len(x) :]
        else:
            p = self.ask(self.model, x, t, s)
            self.lead = p.x0 - self.ask(self.against, x, t, s).x0 if due else self.lead
        return p, self.lead if within is True else self.lead * like(within, x)

    def within(self, t: Tensor) -> Tensor | bool:
        """Whether t lies in the interval: one answer to a 0-dim t, which is on the CPU, and one each sample to a (B,)."""
        if self.interval is None:
            return True
        ratio = ratio_of(self.schedule, t)
        inside = (self.interval[0] < ratio) & (ratio <= self.interval[1])
        return inside if t.ndim else bool(inside)

    def ask(self, model: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        self.nfe += 1
        return model(x, t, s, self.cond)

    def ask_both(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Both conditions in one forward: cond in the first half of the batch."""
        self.nfe += 2
        both = {k: torch.cat([self.cond[k], self.null[k]]) for k in self.cond}
        t, s = (torch.cat([time, time]) if time is not None and time.ndim else time for time in (t, s))
        return self.model(torch.cat([x, x]), t, s, both)

    def half(self, p: Prediction, n: int) -> Prediction:
        """The first n samples of a prediction."""
        return Prediction(p.x[:n], p.x0[:n], lambda: p.eps[:n], None if p.extra is None else p.extra[:n])

    def guide(self, x0: Tensor, lead: Tensor) -> Tensor:
        """x0 pushed along its lead to null + guidance (cond - null), and rescaled."""
        guided = torch.add(x0, lead, alpha=self.guidance - 1)
        return rescaled(guided, x0, self.rescale) if self.rescale else guided

    def bounded(self, x0: Tensor) -> Tensor:
        if self.clip is not None:
            return x0.clamp(-self.clip, self.clip)
        return x0 if self.threshold is None else thresholded(x0, self.threshold)

    def from_x0(self, x: Tensor, x0: Tensor, t: Tensor, extra: Tensor | None = None) -> Prediction:
        """A changed x0 with the eps that keeps x = alpha x0 + sigma eps."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        return Prediction(x, x0, lambda: (x - like(alpha, x) * x0) / like(sigma, x), extra)

    def renoised(self, x: Tensor, x0: Tensor, null: Tensor, t: Tensor, extra: Tensor | None) -> Prediction:
        """A changed x0 with the eps of x0 = null, which moves the point: samplers step from p.x, so that DDIM is CFG++."""
        alpha, _ = self.schedule.alpha_sigma(t)
        return Prediction(x + like(alpha, x) * (x0 - null), x0, lambda: self.from_x0(x, null, t).eps, extra)


def rescaled(x0: Tensor, towards: Tensor, share: float) -> Tensor:
    """x0 brought by a share to the standard deviation of another; each sample by itself, a constant one as it is."""
    axes = tuple(range(1, x0.ndim))
    ratio = towards.std(axes, correction=0, keepdim=True) / x0.std(axes, correction=0, keepdim=True)
    return x0 * torch.lerp(torch.ones_like(ratio), ratio.nan_to_num(nan=1.0), share)


def thresholded(x0: Tensor, share: float) -> Tensor:
    """x0 bounded and divided by that quantile of each sample's |x0|, where it is above 1 (Imagen, section 2.3)."""
    bound = like(x0.flatten(1).abs().quantile(share, dim=1).clamp(min=1), x0)
    return x0.clamp(-bound, bound) / bound


def usual_guidance(model: Denoiser) -> float:
    """1, none; of a model that is told its guidance, the weight nearest to that which it knows."""
    low, high = model.guidance or (1.0, 1.0)
    return min(max(1.0, low), high)
