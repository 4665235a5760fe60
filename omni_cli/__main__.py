"""Entry point of the ``omni`` command."""

import atexit
import gc
import sys

# What a start imports stays as long as the process: to look for garbage in it, on the way and at
# the end, took a seventh of `omni models list`.
gc.set_threshold(100_000)
atexit.register(gc.freeze)


def main() -> None:
    """Run one command and leave with its exit code (cli/exits.py)."""
    if sys.argv[1:] == ["statusline"]:
        from omni_cli.statusline import short

        if short():
            return
    from omni_cli.cli.app import main as whole

    whole()


if __name__ == "__main__":
    main()
