"""Guidance: the function that samplers call, a model with a condition, guidance and bounds of x0."""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from .bounds import bounded, with_recorded
from .broadcast import like
from .condition import without_negative
from .denoiser import Cond, Denoiser
from .errors import FastdiffError
from .network import network_name
from .oversaturation import rescaled
from .prediction import Prediction, ratio_of, rounded_time
from .public_arguments import as_model
from .sampling import Sampling
from .schedule import Schedule
from .schedule_end import with_end
from .validation import Bound, check_bounds

RescaledQuantity = Literal["output", "x0"]


@dataclass(frozen=True)
class GuidanceOptions:
    """The settings of guidance other than its weight, and bounds of x0.

    `sample`, `edit` and Guided take them by name: sample(model, labels=3, guidance=2.0, rescale=0.7).

    Args:
        clip: bound of |x0|, above 0; inf for no bound. With neither clip nor threshold the model's own bounds
            hold, those of `model.sampling`.
        against: a weaker model, a Denoiser on the same schedule, evaluated under the same condition in place
            of the null branch (autoguidance, Karras et al. 2024); None for the null branch.
        interval: (low, high): guide only where low < sigma / alpha <= high (Kynkäänniemi et al. 2024); None
            to guide at all times.
        rescale: fraction, 0 to 1, by which the standard deviation of the guided output returns to that of the
            unguided output (Lin et al. 2023, algorithm 2; diffusers' guidance_rescale).
        rescale_of: whose standard deviation that is: output, the quantity that the network predicts; or x0.
        plus: CFG++ (Chung et al. 2024): the guidance weight is its lambda, 0 to 1, and eps is that of the
            null branch, also at a weight of 1.
        threshold: quantile of |x0|, between 0 and 1; where it is above 1, x0 is clipped to it and divided by
            it (dynamic thresholding, Saharia et al. 2022); None to turn it off.
        threshold_max: largest bound that the quantile gives, at least 1; None for no largest.
        keep_eps: where x0 is bounded, let DDIM's step keep the network's eps, as diffusers' DDIMScheduler
            does; None for the model's own.
        end: (alpha, sigma) at which the last step ends, (1, 0) for data; None for the model's own.
        time_rounding: rounding of the network's time: exact (none), nearest or floor; None for the model's.
        every: evaluate the weaker branch only at every `every`-th guided call, and reuse its last difference
            in x0 between them.

    Raises:
        FastdiffError: for a value out of its range, and if clip and threshold are both set.
    """

    clip: Annotated[Bound, Field(gt=0)] | None = None
    against: Any = None
    interval: tuple[float, Bound] | None = None
    rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    rescale_of: RescaledQuantity = "output"
    plus: bool = False
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    every: Annotated[int, Field(ge=1)] = 1
    threshold_max: Annotated[float, Field(ge=1)] | None = None
    keep_eps: bool | None = None
    end: tuple[float, float] | None = None
    time_rounding: Literal["exact", "nearest", "floor"] | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.interval is not None and not 0 <= self.interval[0] < self.interval[1]:
            raise FastdiffError(
                f"interval = {self.interval}: expected (low, high) of sigma / alpha with 0 <= low < high",
                key="interval",
            )
        if self.rescale_of not in get_args(RescaledQuantity):
            raise FastdiffError(f"rescale_of = {self.rescale_of!r}: expected output or x0", key="rescale_of")
        if self.clip is not None and self.threshold is not None:
            raise FastdiffError("clip and threshold both bound x0: set only one of them")

    @property
    def idle_without_guidance(self) -> str | None:
        """The name of a setting that has no effect without guidance; None if all settings have an effect."""
        names = ("interval", "rescale", "every", "against")
        return next((name for name in names if getattr(self, name) != getattr(NO_OPTIONS, name)), None)

    @property
    def needs_two_branches(self) -> bool:
        """True if a setting needs a second branch to guide against."""
        return bool(self.against or self.interval or self.rescale or self.plus or self.every != 1)


NO_OPTIONS = GuidanceOptions()
GUIDANCE_OPTIONS = tuple(field.name for field in fields(GuidanceOptions))


class Guided:
    """A model with a condition and guidance, as the function denoise(x, t, s) that a sampler calls.

        denoise = Guided(model, cond, model.null(cond), guidance=2.0)
        for state in SAMPLERS["heun"](denoise, x, time_grid(model.schedule, 18)):
            ...

    One object serves one batch, since it counts evaluations. A guidance-distilled model (`model.guidance` is
    set) takes the weight as an input and is evaluated once per call; `null` is then ignored.

    Args:
        model: the model to evaluate, or what `sample` opens.
        cond: condition of the guided branch with one row per sample, see `core.condition`; None for none.
        null: condition of the null branch of classifier-free guidance (Ho & Salimans 2022).
        guidance: weight w in x0 = null + w (cond - null); 1 turns guidance off.
        clip: bound of |x0|; None for the model's own, inf for no bound.
        options: the other settings of GuidanceOptions, by name.

    Attributes:
        schedule: the model's noise schedule, with the level at which samples end at time 0.
        nfe: network evaluations so far: 2 for a call that also evaluates the weaker branch, else 1. With
            times (B,) an interval saves no evaluations.

    Raises:
        FastdiffError: if settings do not fit each other or the model.
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
        self.model = as_model(model)
        self.cond = without_negative(cond)
        self.null = null
        self.guidance = guidance
        self.options = with_recorded(GuidanceOptions(clip, **options), self.model.sampling)
        self.schedule: Schedule = with_end(self.model.schedule, self.options.end)
        self.nfe = self.guided_calls = 0
        self.direction: Tensor | None = None
        self.distilled = self.model.guidance is not None
        self.check_weight()
        self.check_weaker_model()
        if self.distilled and cond:
            example = next(iter(cond.values()))
            self.cond = cond | {"guidance": torch.full((len(example),), guidance, device=example.device)}

    def check_weight(self) -> None:
        """Raise FastdiffError if the guidance weight does not fit the model, conditions or options."""
        weight, options = self.guidance, self.options
        if not math.isfinite(weight):
            raise FastdiffError(f"guidance = {weight}: expected a finite number; 1 turns guidance off")
        if self.distilled:
            low, high = self.model.guidance
            if not low <= weight <= high:
                raise FastdiffError(
                    f"guidance = {weight:g}: this model was trained for guidance from {low:g} to {high:g}"
                )
            if options.needs_two_branches:
                raise FastdiffError(
                    "this model takes a guidance weight and is evaluated once: leave out against, interval, "
                    "rescale, plus and every"
                )
        paired = self.cond is not None and (self.null is not None or self.distilled)
        if weight != 1 and options.against is None and not paired:
            raise FastdiffError(
                f"guidance = {weight} needs both a condition and a null condition, "
                "or a weaker model to guide against"
            )
        if options.plus and not (paired and 0 <= weight <= 1):
            raise FastdiffError(
                f"guidance = {weight}: plus (CFG++) expects a condition, a null condition and a weight "
                "from 0 to 1"
            )

    def check_weaker_model(self) -> None:
        """Raise FastdiffError if there is a weaker model that cannot replace the null branch."""
        against = self.options.against
        if against is None:
            return
        if self.null is not None:
            raise FastdiffError("against: give either a weaker model or a null condition, not both")
        if against.schedule != self.model.schedule:
            raise FastdiffError(
                f"against: expected a weaker model on the schedule {self.model.schedule}, got one on "
                f"{against.schedule}; see Denoiser.with_schedule"
            )

    def __repr__(self) -> str:
        plain = with_recorded(NO_OPTIONS, Sampling())  # of a model that records nothing
        changed = {k: v for k, v in vars(self.options).items() if v != getattr(plain, k)}
        if self.options.against is not None:
            changed["against"] = network_name(self.options.against.net)
        settings = ", ".join(f"{name}={value}" for name, value in changed.items())
        keys = ", ".join(self.cond or {}) or "none"
        return (
            f"Guided({network_name(self.model.net)}, condition: {keys}, guidance={self.guidance:g}, "
            f"{settings + ', ' if settings else ''}nfe={self.nfe})"
        )

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Return the guided prediction for x (B, ...) at time t, 0-dim or (B,), for a jump to time s."""
        p, direction = self.branches(x, t, s)
        options = self.options
        if direction is None and options.clip is None and options.threshold is None:
            return p
        guided = p.x0 if direction is None else self.guide(p, direction, t)
        x0 = bounded(guided, options)
        if options.plus and direction is not None:
            return self.renoised(p, x, x0, p.x0 - direction, t)
        return self.from_x0(p, x, x0, guided, t)

    def branches(self, x: Tensor, t: Tensor, s: Tensor) -> tuple[Prediction, Tensor | None]:
        """Return the prediction under cond, and its x0 minus that of the weaker branch; None if unguided."""
        options = self.options
        in_interval = not self.distilled and (self.guidance != 1 or options.plus) and self.in_interval(t)
        if in_interval is False:
            return self.evaluate(self.model, x, t, s), None
        due = self.guided_calls % options.every == 0
        self.guided_calls += 1
        if due and options.against is None:
            both = self.evaluate_both(x, t, s)
            p = self.first_samples(both, len(x))
            self.direction = p.x0 - both.x0[len(x) :]
        else:
            p = self.evaluate(self.model, x, t, s)
            if due:
                self.direction = p.x0 - self.evaluate(options.against, x, t, s).x0
        return p, self.direction if in_interval is True else self.direction * like(in_interval, x)

    def in_interval(self, t: Tensor) -> Tensor | bool:
        """Return whether t is in the guidance interval: a bool for a 0-dim t on the CPU, else (B,)."""
        interval = self.options.interval
        if interval is None:
            return True
        ratio = ratio_of(self.schedule, t)
        inside = (interval[0] < ratio) & (ratio <= interval[1])
        return inside if t.ndim else bool(inside)

    def evaluate(self, model: Denoiser, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Evaluate a model under cond and count the evaluation."""
        self.nfe += 1
        return self.predict(model, x, t, s, self.cond)

    def evaluate_both(self, x: Tensor, t: Tensor, s: Tensor) -> Prediction:
        """Evaluate cond and null in one forward pass, cond in the first half of the batch."""
        self.nfe += 2
        both = {name: torch.cat([value, self.null[name]]) for name, value in self.cond.items()}
        t, s = (torch.cat([time, time]) if time is not None and time.ndim else time for time in (t, s))
        return self.predict(self.model, torch.cat([x, x]), t, s, both)

    def predict(self, model: Denoiser, x: Tensor, t: Tensor, s: Tensor, cond: Cond) -> Prediction:
        """Return a model's prediction, with the network's time rounded as the options say."""
        if self.options.time_rounding == "exact":
            return model(x, t, s, cond)
        at = rounded_time(model.solve_coefficients(t), self.options.time_rounding)
        return model.to_prediction(x, model.call_network(x, at, t, s, cond), at)

    def first_samples(self, p: Prediction, n: int) -> Prediction:
        """Return the first n samples of a prediction."""
        levels = p.levels if p.levels is None or isinstance(p.levels[0], float) else None
        extra = None if p.extra is None else p.extra[:n]
        return Prediction(p.x[:n], p.x0[:n], lambda: p.eps[:n], extra, levels)

    def guide(self, p: Prediction, direction: Tensor, t: Tensor) -> Tensor:
        """Return the guided x0 = null + guidance (cond - null) of p at t, rescaled by the options."""
        guided = torch.add(p.x0, direction, alpha=self.guidance - 1)
        if not self.options.rescale:
            return guided
        origin = 0.0
        if self.options.rescale_of == "output":  # which is (x0 - x_x0 x) / out_x0
            origin = like(self.model.solve_coefficients(t).x_x0, p.x) * p.x
        return rescaled(guided, p.x0, self.options.rescale, origin)

    def from_x0(self, p: Prediction, x: Tensor, x0: Tensor, guided: Tensor, t: Tensor) -> Prediction:
        """Return the prediction at x of another x0; with keep_eps, DDIM takes the noise of `guided`."""
        kept = (lambda: self.noise_of(x, guided, t)) if self.options.keep_eps else None
        return Prediction(x, x0, lambda: self.noise_of(x, x0, t), p.extra, p.levels, kept)

    def renoised(self, p: Prediction, x: Tensor, x0: Tensor, null: Tensor, t: Tensor) -> Prediction:
        """Return the prediction of x0 and the null branch's eps at the x that they imply: CFG++."""
        alpha, _ = self.schedule.alpha_sigma(t)
        moved = x + like(alpha, x) * (x0 - null)
        return Prediction(moved, x0, lambda: self.noise_of(x, null, t), p.extra, p.levels)

    def noise_of(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """Return the eps for which x = alpha x0 + sigma eps."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        return (x - like(alpha, x) * x0) / like(sigma, x)


def usual_guidance(model: Denoiser) -> float:
    """Return the default guidance weight: 1, or the nearest weight in a guidance-distilled model's range."""
    low, high = model.guidance or (1.0, 1.0)
    return min(max(1.0, low), high)
