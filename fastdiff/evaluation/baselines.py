"""The default baselines: samplers and step counts that the teacher is measured with."""

BASELINES = ("ddim:50", "ddpm:1000", "dpmpp_2m:4", "dpmpp_2m:8")
