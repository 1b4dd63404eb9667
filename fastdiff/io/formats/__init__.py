"""Models that others have saved; imports from the wings below io.

Files:
    reader             opens a folder: pipelines of diffusers by their class, and networks of EDM
    unconditional      pipelines without prompts: UNet2DModel, DiT, consistency models
    text_to_image      pipelines with prompts: Stable Diffusion, SDXL, LCM, PixArt, Stable Diffusion 3, Flux
    components         the parts of a pipeline's folder
    scheduler_config   the configurations of schedulers: schedule, prediction and sampling
    edm                networks of EDM with ADM's architecture
"""
