"""`python -m working_with_text_data.storyland`: see `corpus.main`."""

from utils.cli import run_main
from working_with_text_data.storyland.corpus import main

if __name__ == "__main__":
    raise SystemExit(run_main(main))
