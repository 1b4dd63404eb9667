"""Guidance: a model with its condition, guidance and bounds, as the one function that samplers call."""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from .broadcast import like
from .denoiser import Cond, Denoiser
from .errors import FastdiffError
from .prediction import Prediction, ratio_of
from .schedule import Schedule
from .validation import Bound, check_bounds


@dataclass(frozen=True)
class GuidanceOptions:
    """Settings of guidance besides its weight, and bounds of x0.

    Args:
        clip: bound of |x0|; None for none.
        against: a weaker model, evaluated under the same condition in the place of the null branch
            (autoguidance, Karras et al. 2024).
        interval: (low, high); guided only where low < sigma / alpha <= high (Kynkäänniemi et al. 2024).
        rescale: share, 0 to 1, by which the guided x0 returns to the standard deviation of the unguided one
            (Lin et al. 2023).
        plus: CFG++ (Chung et al. 2024): the guidance weight is its lambda, 0 to 1, and eps stays that of the
            null branch, at a weight of 1 too.
        threshold: quantile of |x0| by which x0 is bounded and divided where it is above 1 (Imagen, Saharia et
            al. 2022).
        every: the weaker branch is evaluated at every `every`-th guided call; in between, its last
            distance in x0 is reused.

    Raises:
        FastdiffError: for a value out of its range, and for both clip and threshold.
    """

    clip: Annotated[float, Field(gt=0)] | None = None
    against: Any = None
    interval: tuple[float, Bound] | None = None
    rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    plus: bool = False
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    every: Annotated[int, Field(ge=1)] = 1

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.interval is not None and not 0 <= self.interval[0] < self.interval[1]:
            raise FastdiffError(
                f"interval = {self.interval}: expected (low, high) of sigma / alpha with 0 <= low < high",
                key="interval",
            )
        if self.clip is not None and self.threshold is not None:
            raise FastdiffError("clip and threshold both bound x0: choose one")

    @property
    def idle_without_guidance(self) -> str | None:
        """The name of a setting that has no effect without guidance, None if there is no such setting."""
        names = ("interval", "rescale", "every", "against")
        return next((name for name in names if getattr(self, name) != getattr(NO_OPTIONS, name)), None)

    @property
    def of_two_branches(self) -> bool:
        """Whether any of them needs a second branch to guide against."""
        return bool(self.against or self.interval or self.rescale or self.plus or self.every != 1)


NO_OPTIONS = GuidanceOptions()
GUIDANCE_OPTIONS = tuple(field.name for field in fields(GuidanceOptions))


class Guided:
    """The function that a sampler calls, denoise(x, t, s) -> Prediction; made anew for each batch.

    A guidance-distilled model (`model.guidance` is set) takes the weight as an input and is evaluated once;
    `null` is ignored.

    Args:
        model: the model to evaluate.
        cond: condition of the guided branch, a row for each sample.
        null: condition of the null branch of classifier-free guidance (Ho & Salimans 2022).
        guidance: weight in x0 = null + guidance (cond - null); 1 is no guidance.
        clip: bound of |x0|; None for none.
        options: the other settings of GuidanceOptions, by name.

    Attributes:
        nfe: network evaluations so far: 2 for a call that evaluates the weaker branch too, else 1. With t of
            each sample, (B,), an interval saves none.

    Raises:
        FastdiffError: for settings that do not fit each other or the model.
    """

    def __init__(
        self,
        model: Denoiser,
        cond: Cond = None,
        null: Cond = None,
        guidance: float = 1.0,
        clip: float | None = None,
        **options: Any,
    ) -> None:
        self.model = model
        self.cond = cond
        self.null = null
        self.guidance = guidance
        self.options = GuidanceOptions(clip, **options)
        self.nfe = 0
        self.guided_calls = 0
        self.lead: Tensor | None = None
        self.distilled = model.guidance is not None
        self.check_weight()
        self.check_weaker_model()
        if self.distilled and cond:
            example = next(iter(cond.values()))
            weights = torch.full((len(example),), guidance, device=example.device)
            self.cond = cond | {"guidance": weights}

    def check_weight(self) -> None:
        """Raise FastdiffError for a guidance weight that this model and these conditions do not allow."""
        weight, options = self.guidance, self.options
        if not math.isfinite(weight):
            raise FastdiffError(f"guidance = {weight}: expected a number, 1 for none")
        if self.distilled:
            low, high = self.model.guidance
            if not low <= weight <= high:
                raise FastdiffError(
                    f"guidance = {weight:g}: this model was trained for guidance from {low:g} to {high:g}"
                )
            if options.of_two_branches:
                raise FastdiffError(
                    "this model is told its guidance and asked once: against, interval, rescale, plus and "
                    "every are not for it"
                )
        paired = self.cond is not None and (self.null is not None or self.distilled)
        if weight != 1 and options.against is None and not paired:
            raise FastdiffError(
                f"guidance = {weight} needs both a condition and a null condition, "
                "or a weaker model to guide against"
            )
        if options.plus and not (paired and 0 <= weight <= 1):
            raise FastdiffError(
                "plus: CFG++ needs a condition, a null condition and guidance from 0 to 1, got guidance = "
                f"{weight}"
            )

    def check_weaker_model(self) -> None:
        """Raise FastdiffError for a weaker model that cannot stand in the null branch's place."""
        against = self.options.against
        if against is None:
            return
        if self.null is not None:
            raise FastdiffError("against: give a weaker model or a null condition, not both")
        if against.schedule != self.schedule:
            raise FastdiffError(
                f"against: the weaker model must be on the model's own schedule, {self.schedule}: see "
                "Denoiser.on"
            )

    @property
    def schedule(self) -> Schedule:
        """The model's schedule."""
        return self.model.schedule

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Predict x (B, ...) at time t, 0-dim or (B,), for a jump to s."""
        p, lead = self.branches(x, t, s)
        options = self.options
        if lead is None and options.clip is None and options.threshold is None:
            return p
        x0 = self.bounded(p.x0 if lead is None else self.guide(p.x0, lead))
        if options.plus and lead is not None:
            return self.renoised(p, x, x0, p.x0 - lead, t)
        return self.from_x0(p, x, x0, t)

    def branches(self, x: Tensor, t: Tensor, s: Tensor) -> tuple[Prediction, Tensor | None]:
        """Return the prediction under cond, and its lead in x0 over the weaker branch, None if unguided."""
        options = self.options
        within = not self.distilled and (self.guidance != 1 or options.plus) and self.within(t)
        if within is False:
            return self.ask(self.model, x, t, s), None
        due = self.guided_calls % options.every == 0
        self.guided_calls += 1
        if due and options.against is None:
            both = self.ask_both(x, t, s)
            p = self.half(both, len(x))
            self.lead = p.x0 - both.x0[len(x) :]
        else:
            p = self.ask(self.model, x, t, s)
            if due:
                self.lead = p.x0 - self.ask(options.against, x, t, s).x0
        return p, self.lead if within is True else self.lead * like(within, x)

    def within(self, t: Tensor) -> Tensor | bool:
        """Return whether t lies in the interval: a bool for a 0-dim t, which is on the CPU, else (B,)."""
        interval = self.options.interval
        if interval is None:
            return True
        ratio = ratio_of(self.schedule, t)
        inside = (interval[0] < ratio) & (ratio <= interval[1])
        return inside if t.ndim else bool(inside)

    def ask(self, model: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Evaluate a model under cond, and count the evaluation."""
        self.nfe += 1
        return model(x, t, s, self.cond)

    def ask_both(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Evaluate both conditions in one forward pass, cond in the first half of the batch."""
        self.nfe += 2
        both = {name: torch.cat([value, self.null[name]]) for name, value in self.cond.items()}
        t, s = (torch.cat([time, time]) if time is not None and time.ndim else time for time in (t, s))
        return self.model(torch.cat([x, x]), t, s, both)

    def half(self, p: Prediction, n: int) -> Prediction:
        """Return the first n samples of a prediction."""
        levels = p.levels if p.levels is None or isinstance(p.levels[0], float) else None
        extra = None if p.extra is None else p.extra[:n]
        return Prediction(p.x[:n], p.x0[:n], lambda: p.eps[:n], extra, levels)

    def guide(self, x0: Tensor, lead: Tensor) -> Tensor:
        """Return null + guidance (cond - null) from x0 under cond and its lead over null, rescaled."""
        guided = torch.add(x0, lead, alpha=self.guidance - 1)
        return rescaled(guided, x0, self.options.rescale) if self.options.rescale else guided

    def bounded(self, x0: Tensor) -> Tensor:
        """Return x0 within the bounds of the options."""
        if self.options.clip is not None:
            return x0.clamp(-self.options.clip, self.options.clip)
        return x0 if self.options.threshold is None else thresholded(x0, self.options.threshold)

    def from_x0(self, p: Prediction, x: Tensor, x0: Tensor, t: Tensor) -> Prediction:
        """Return a prediction of another x0, with the eps that keeps x = alpha x0 + sigma eps."""
        return Prediction(x, x0, lambda: self.noise_of(x, x0, t), p.extra, p.levels)

    def renoised(self, p: Prediction, x: Tensor, x0: Tensor, null: Tensor, t: Tensor) -> Prediction:
        """Return a prediction of x0 with the eps of the null branch, which moves x: DDIM then is CFG++."""
        alpha, _ = self.schedule.alpha_sigma(t)
        moved = x + like(alpha, x) * (x0 - null)
        return Prediction(moved, x0, lambda: self.noise_of(x, null, t), p.extra, p.levels)

    def noise_of(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Return the noise in x where the clean data are x0."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        return (x - like(alpha, x) * x0) / like(sigma, x)


def rescaled(x0: Tensor, towards: Tensor, share: float) -> Tensor:
    """Return x0 brought by a share to the standard deviation of another, sample by sample.

    A constant sample stays as it is.
    """
    axes = tuple(range(1, x0.ndim))
    ratio = towards.std(axes, correction=0, keepdim=True) / x0.std(axes, correction=0, keepdim=True)
    return x0 * torch.lerp(torch.ones_like(ratio), ratio.nan_to_num(nan=1.0), share)


def thresholded(x0: Tensor, quantile: float) -> Tensor:
    """Return x0 bounded and divided by a quantile of each sample's |x0|, where that is above 1.

    Imagen, Saharia et al. 2022, section 2.3.
    """
    bound = like(x0.flatten(1).abs().quantile(quantile, dim=1).clamp(min=1), x0)
    return x0.clamp(-bound, bound) / bound


def usual_guidance(model: Denoiser) -> float:
    """Return the default weight: 1, or the nearest to 1 in a guidance-distilled model's range."""
    low, high = model.guidance or (1.0, 1.0)
    return min(max(1.0, low), high)
