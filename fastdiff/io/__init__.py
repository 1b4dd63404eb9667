"""Models on disk; imports core, networks and samplers.

Files:
    load              opens a model: an export, a pipeline of diffusers, a network of EDM, an id on the hub
    metadata          fastdiff.json, the metadata of a model
    fingerprint       hashes that identify a model
    hub               ids and commits on the Hugging Face hub
    licences          licences of weights and data, as cards state them
    diffusers_names   names and betas of diffusers
    formats           readers of models that others have saved
    export            the writers: networks, schedulers, pipelines, scripts and cards
"""
