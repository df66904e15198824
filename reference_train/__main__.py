"""`python -m reference_train`."""

from reference_train.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
