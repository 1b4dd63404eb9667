"""python -m fastdiff = the fastdiff command."""

from .cli.app import main

main()
