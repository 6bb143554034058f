"""`python -m wallet_http` is the `wallet` command."""

from .cli import main

if __name__ == "__main__":
    main()
