"""Models on disk: loading, exporting, metadata and licences. It may import from core, networks and samplers.

Files:
    load              loads a model: an export, a diffusers pipeline, an EDM network, or an id on the hub
    training_state    STAGE@STEP: a model from a state of its training
    metadata          fastdiff.json, the metadata of a model
    fingerprint       hashes that identify a model
    hub               ids, commits and downloads on the Hugging Face hub
    licences          licences of weights and data, as model cards state them
    safeguards        safety checkers and watermarkers that students lack, named on their cards
    diffusers_names   the names that diffusers uses, and schedules as its tables of betas
    formats           readers of models that other programs have saved
    export            writers of networks, schedulers, pipelines, scripts and cards
"""
