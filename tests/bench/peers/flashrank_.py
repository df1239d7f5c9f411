"""FlashRank over a local folder. Arguments: the model's folder, a graph in it, threads (FlashRank takes all cores)."""

import math
import tempfile
from pathlib import Path

import protocol

# A name that FlashRank knows; the weights are the folder's.
NAME = "ms-marco-MiniLM-L-12-v2"


def start(folder, graph, _threads):
    import importlib.metadata

    from flashrank import Ranker, RerankRequest
    from flashrank.Config import model_file_map

    home = Path(tempfile.mkdtemp())
    place = home / NAME
    place.mkdir()
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (place / file).symlink_to(Path(folder, file).resolve())
    (place / model_file_map[NAME]).symlink_to(Path(folder, graph).resolve())
    ranker = Ranker(NAME, str(home), log_level="WARNING")

    def score(pairs):
        passages = [{"id": at, "text": document} for at, (_, document) in enumerate(pairs)]
        ranked = ranker.rerank(RerankRequest(pairs[0][0], passages))
        return [logit(one["score"]) for one in sorted(ranked, key=lambda one: one["id"])]

    return f"flashrank {importlib.metadata.version('flashrank')}", score


def logit(score):
    """The inverse of the sigmoid, as far as 32 bits keep it."""
    score = min(max(float(score), 1e-12), 1 - 6e-8)
    return math.log(score / (1 - score))


protocol.run(start)
