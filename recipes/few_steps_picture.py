"""Draw the README's picture from shipped checkpoints: teacher and students, from the same noise.

    python recipes/few_steps_picture.py

Writes checkpoints/few-steps.png in about a minute on one core. Column i starts from the noise of sample i of
seed 0 and asks for the class i modulo 10, in every row.
"""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

import fastdiff
from fastdiff.data.image_grid import picture, save

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
TEACHER = "digits-labels/teacher"
ROWS = [
    ("teacher, DDIM, 1000 steps", TEACHER, "ddim", 1000),
    ("MeanFlow, 4 steps", "digits-methods-long/meanflow", None, 4),
    ("progressive, 2 steps", "digits-methods-long/progressive-2", None, 2),
    ("f-distill, 1 step", "digits-methods-long/f-distill-refined", None, 1),
    ("teacher, DDIM, 4 steps", TEACHER, "ddim", 4),
    ("teacher, DDIM, 2 steps", TEACHER, "ddim", 2),
    ("teacher, DDIM, 1 step", TEACHER, "ddim", 1),
]
N, ZOOM, GAP, MARGIN = 20, 4, 4, 220  # samples in a row; pixels


def main() -> None:
    """Sample every row and write the picture."""
    side = 8 * ZOOM + GAP
    drawn = Image.new("L", (MARGIN + N * side, (side + GAP) * len(ROWS) + GAP), 255)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=16)
    for row, (title, folder, sampler, steps) in enumerate(ROWS):
        model = fastdiff.load(CHECKPOINTS / folder)
        x = fastdiff.sample(model, sampler, steps=steps, n=N, seed=0, labels=torch.arange(N) % 10)
        top = 2 * GAP + row * (side + GAP)
        pen.text((2 * GAP, top + side // 2), title, fill=0, font=font, anchor="lm")
        for column, image in enumerate(x):
            drawn.paste(picture(image[None], columns=1, zoom=ZOOM), (MARGIN + column * side, top))
    save(drawn, CHECKPOINTS / "few-steps.png")


if __name__ == "__main__":
    main()
