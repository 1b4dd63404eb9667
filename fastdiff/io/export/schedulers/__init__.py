"""Schedulers of diffusers that take the steps of a model's own sampler; imports from the wings below io.

Files:
    description   a scheduler of diffusers with the loop around it, and the error without one
    network       how a scheduler's time, input and output follow from what the network takes and predicts
    own_table     DDIM, DDPM, LCM and TCD on the training timesteps of a variance-preserving schedule
    made_table    LCM and TCD on a table of betas made of the grid's own times
    tables        the choice between these two
    flow          Euler's method of flow matching, flow maps, and sCM on the trigonometric schedule
    karras        EDM's Euler method and consistency models, in EDM's levels of noise
    match         the scheduler of a model, by its schedule and sampler
"""
