"""Entry point of the ``omni`` command."""

from omni_cli.cli.app import main

if __name__ == "__main__":
    main()
