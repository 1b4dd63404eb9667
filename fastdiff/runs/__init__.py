"""Recipes, and the runs that train, benchmark and report them. It may import from everything except cli.

A recipe:
    recipe          a whole recipe, read and checked, and the data and model that it opens
    known_keys      a first check of a recipe's keys, without torch
    recipe_file     the YAML file of a recipe: includes, and key=value overrides
    model_config    the model of a recipe: network, schedule, and encoders of images and prompts
    stage_config    the stages of a recipe: settings and chains
    references      references to other stages, paths and hub ids

A run:
    first_recipe    a recipe that fits a data set and this machine
    run             a run: every stage, the benchmark, the report
    claim           the claim of a directory by a recipe: stages that were made with other settings
    context         the context that all stages of a run share
    baseline_teacher  the model that the benchmark measures with the baselines
    stage           one stage: trains and exports a student, or stores pairs
    student         loads a stage's student and teacher
    origin          the origin of a stage's model, by which finished stages are recognised
    checks          checks that a stage's models fit its data
    cards           model cards with the run's recipe and benchmark rows
    hub_pins        the commits of hub ids, kept in pins.json

Around a run:
    status          the status of a run in progress, for `fastdiff status`
    trackers        experiment trackers: settings, sheets of samples, benchmark rows
    crash_report    the report of a crash, without secrets
    disk_errors     disk errors as one-line messages
    doctor          checks of an installation
"""
