"""``python -m locum``: the same as the command ``locum``."""

from .master.commands.main import main

if __name__ == "__main__":
    main()
