"""Entry point of the ``omni`` command."""

import atexit
import gc

# What a start imports stays as long as the process: to look for garbage in it, on the way and at
# the end, took a seventh of `omni models list`.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

from omni_cli.cli.app import main  # noqa: E402  # imports most of what the start imports

if __name__ == "__main__":
    main()
