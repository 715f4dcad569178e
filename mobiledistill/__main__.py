"""``python -m mobiledistill`` is the command line; ``accelerate launch -m mobiledistill`` runs it on many GPUs."""

from mobiledistill.cli import main

if __name__ == "__main__":
    main()
