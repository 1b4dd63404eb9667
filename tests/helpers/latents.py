"""The shipped autoencoder and text encoder of the digits, and a recipe that uses them."""

from pathlib import Path

PIPELINE = Path("checkpoints/digits-latent/pipeline")


SOURCE = {
    "name": "prompts",
    "data": {"name": "digits", "captions": "the digit {class}"},
    "model": {
        "net": {"name": "text_unet", "channels": [16, 16], "layers": 1, "attention": [4], "heads": 2},
        "autoencoder": str(PIPELINE),
        "text": str(PIPELINE),
    },
    "train": {"batch": 16, "save_every": 2, "log_every": 1},
    "stages": {
        "teacher": {"method": "denoising", "train": {"steps": 3}},
        "guided": {"method": "guided", "teacher": "teacher", "train": {"steps": 2}},
        "progressive": {
            "method": {"name": "progressive", "steps": [2, 1]},
            "teacher": "teacher",
            "train": {"steps": 2},
        },
    },
    "bench": {"steps": [1, 2], "baselines": [], "n": 64, "batch": 64},
}
