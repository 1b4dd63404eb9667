"""The baselines that a teacher is measured with where a recipe or a command names none."""

BASELINES = ("ddim:50", "ddpm:1000", "dpmpp_2m:4", "dpmpp_2m:8")
