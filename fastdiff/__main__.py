"""python -m fastdiff = the fastdiff command."""

from .cli import main

main()
