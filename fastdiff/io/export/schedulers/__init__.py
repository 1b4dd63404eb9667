"""The schedulers of diffusers that take the same steps as a model's own sampler.

Files:
    description   DiffusersScheduler, a scheduler with the loop around it, and NoMatchingSchedulerError
    network       conversions between a network's time, input and output and those of a scheduler
    own_table     DDIM, DDPM, LCM and TCD on the training timesteps of a variance-preserving schedule
    made_table    LCM and TCD on a table of betas that is built from the grid's times
    tables        the choice between own_table and made_table
    flow          Euler's method of flow matching, flow maps, and sCM on the trigonometric schedule
    karras        EDM's Euler method and consistency models, on EDM's noise levels
    recorded      settings that follow from a model's recorded bounds of x0, end and variance
    match         the scheduler of a model, by its schedule and sampler
"""
