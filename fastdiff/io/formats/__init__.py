"""Readers of models that other programs have saved.

Files:
    reader             chooses the reader of a folder: a pipeline of diffusers by its class, or an EDM network
    unconditional      pipelines without prompts: UNet2DModel, DiT, consistency models
    text_to_image      pipelines with prompts: Stable Diffusion, SDXL, LCM, PixArt, Stable Diffusion 3, Flux
    components         the components in a pipeline's folder
    scheduler_config   the configurations of schedulers: their choice, consistency models, flow matching
    table_config       schedulers with a table of betas: schedule, prediction and default sampling
    euler_config       those in sigma / alpha: Euler's, and those with the same grids
    solver_config      those of multistep solvers
    notices            warnings of settings that are replaced by near ones
    edm                EDM networks with ADM's architecture
"""
