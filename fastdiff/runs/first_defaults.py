"""The first defaults of methods' settings whose defaults have changed since a version that trained models.

An origin records the settings that differ from these, so that a setting which is absent from the origin of a
finished stage means what it meant when the stage was trained.
"""

from typing import Any

# By method and setting, values as an origin holds them.
FIRST_DEFAULTS: dict[str, dict[str, Any]] = {
    "ect": {"times": "Uniform(t_min=0.001, t_top=1.0)", "halvings": 8, "k": 0.0, "clock": "time"},
    "cd": {
        "times": "Uniform(t_min=0.001, t_top=1.0)",
        "halvings": 8,
        "k": 0.0,
        "clock": "time",
        "distance": "PseudoHuber(c=0.00054)",
        "solver": "euler",
    },
    "tcm": {"k": 0.0, "clock": "time"},
    "pcm": {"weights": "(4.5, 4.5)", "mu": 0.95},
    "meanflow": {"label_dropout": 0.0},
    "imf": {"label_dropout": 0.0},
}
FIRST_DEFAULTS["consistency"] = FIRST_DEFAULTS["ect"]
