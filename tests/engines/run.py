#!/usr/bin/env python3
"""Runs every engine's test, and says at the end what was skipped and why.

A part of them: `run.py -k OpenSearch`. What ENGINES_REQUIRED names (`OpenSearch Vespa`) fails when it is skipped.
ENGINES_JUDGE=1 judges latencies, too, which takes an idle machine and a release build; else they are printed.
"""

import argparse
import os
import pathlib
import sys
import time
import unittest


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("-k", action="append", help="only tests whose name holds this")
    options = parser.parse_args()
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{part}*" for part in options.k] if options.k else None
    folder = pathlib.Path(__file__).resolve().parent
    start = time.monotonic()
    outcome = unittest.TextTestRunner(verbosity=2).run(loader.discover(str(folder), pattern="test_*.py"))
    for test, reason in outcome.skipped:
        print(f"skipped: {test}: {reason}", file=sys.stderr)
    print(f"{outcome.testsRun} tests of engines in {time.monotonic() - start:.0f} s", file=sys.stderr)
    required = os.environ.get("ENGINES_REQUIRED", "").split()
    refused = any(name in str(test) for name in required for test, _ in outcome.skipped)
    sys.exit(0 if outcome.wasSuccessful() and (outcome.testsRun or outcome.skipped) and not refused else 1)


if __name__ == "__main__":
    main()
