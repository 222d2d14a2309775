"""`python -m cli`: the `nonet` command without an installed script."""

from cli.main import main

if __name__ == "__main__":
    main()
