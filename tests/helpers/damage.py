"""Files that strangers send."""

import json
import os

DEEP = "[" * 100_000 + "]" * 100_000


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"


RECIPE = {
    "name": "tiny",
    "data": {"name": "toy", "n": 32},
    "model": {"net": {"name": "mlp", "width": 8, "depth": 1}},
    "train": {"steps": 1, "batch": 8},
    "stages": {"teacher": {"method": "denoising"}},
    "bench": {"steps": [1], "baselines": [], "n": 8},
}


def change(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


class Bomb:
    """Leaves a marker where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)
