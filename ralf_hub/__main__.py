"""`python -m ralf_hub` is `ralf-hub`."""

from ralf_hub.cli import main

main()
