"""Cards that state a licence."""

import yaml

CARD = "README.md"


NONCOMMERCIAL = {"license": "cc-by-nc-4.0", "base_model": "someone/first", "tags": ["theirs"]}


def stated(folder, front):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text(f"---\n{yaml.safe_dump(front)}---\n# A model\n")
    return folder
