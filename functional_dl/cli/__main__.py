"""``python -m functional_dl.cli``."""

from functional_dl.cli import main

if __name__ == "__main__":
    main()
