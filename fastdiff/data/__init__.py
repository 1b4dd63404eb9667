"""Data sets, the batches and latents that are made of them, and image grids."""
