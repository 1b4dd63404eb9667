"""The examples under the help of each command."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "fastdiff run recipes/toy.yaml",
        "fastdiff run recipes/toy.yaml stages.teacher.train.lr=3e-4 -o checkpoints/try",
    ),
    "init": ("fastdiff init path/to/images --minutes 30",),
    "features": ("fastdiff features path/to/images --out features",),
    "status": ("fastdiff status checkpoints/toy",),
    "sample": (
        "fastdiff sample checkpoints/digits/consistency --steps 2 -n 64 -o grid.png",
        "fastdiff sample checkpoints/digits/teacher --sampler heun --spacing karras",
    ),
    "bench": ("fastdiff bench TEACHER STUDENT --steps 1,2,4 --baselines ddim:50 -n 512",),
    "report": ("fastdiff report checkpoints/toy --csv",),
    "judge": ("fastdiff judge checkpoints/digits --a consistency:2 --b real --open",),
    "evaluate": ("fastdiff evaluate path/to/images --data path/to/real/images",),
    "search": ("fastdiff search checkpoints/digits/consistency --steps 2",),
    "export": ("fastdiff export checkpoints/digits/teacher -o digits-teacher",),
    "list": ("fastdiff list", "fastdiff list methods", "fastdiff list methods ect", "fastdiff list train"),
    "doctor": ("fastdiff doctor",),
}


def epilog(command: str) -> str | None:
    """Return the text under a command's help, in which no line is wrapped; None without examples."""
    lines = EXAMPLES.get(command, ())
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *lines]) if lines else None
