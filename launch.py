#!/usr/bin/env python3
"""The command line of this project: see `cli`."""

from cli.app import main

if __name__ == "__main__":
    main()
