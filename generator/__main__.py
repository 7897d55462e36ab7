"""`python -m generator` is `octosteps`."""

from generator.cli import main

if __name__ == "__main__":
    main()
