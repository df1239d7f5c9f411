"""How a peer talks to the driver.

A peer answers lines of JSON with lines of JSON. First, unasked, {"ready": name and version} or {"missing": why it cannot
run here}. Then for each {"pairs": [[query, document], ...]} {"seconds": time of tokenising and scoring, "logits": [...]}.
"""

import json
import os
import sys
import time


def run(start):
    """Serves what `start`, called with the command line's arguments, returns: a name and a function from pairs to logits."""
    # Libraries print as they like; the driver's pipe is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    try:
        name, score = start(*sys.argv[1:])
        score([("one", "pair"), ("another", "pair")])
    except Exception as error:  # whatever it is, the table says it
        return answer(missing=f"{type(error).__name__}: {error}")
    answer(ready=name)
    for line in sys.stdin:
        pairs = [tuple(pair) for pair in json.loads(line)["pairs"]]
        started = time.perf_counter()
        logits = score(pairs)
        seconds = time.perf_counter() - started
        answer(seconds=seconds, logits=[float(logit) for logit in logits])
