"""fastembed over a local folder. Arguments: the model's folder, a graph in it, threads."""

import protocol


def start(folder, graph, threads):
    import importlib.metadata

    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model(
        model="bench/local", model_file=graph, sources=ModelSource(hf="bench/local"), license="", size_in_gb=0.0
    )
    model = TextCrossEncoder("bench/local", threads=int(threads), specific_model_path=folder)

    def score(pairs):
        return list(model.rerank(pairs[0][0], [document for _, document in pairs]))

    return f"fastembed {importlib.metadata.version('fastembed')}", score


protocol.run(start)
