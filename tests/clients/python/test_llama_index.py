"""LlamaIndex's rerankers: TEI, Cohere, NVIDIA, Xinference."""

import warnings

import pytest
from support import DEFAULT, KEY, UNKNOWN, hold, hold_logits, need

schema = need("llama_index.core.schema")
cohere_rerank = need("llama_index.postprocessor.cohere_rerank")
nvidia_rerank = need("llama_index.postprocessor.nvidia_rerank")
tei_rerank = need("llama_index.postprocessor.tei_rerank")
xinference_rerank = need("llama_index.postprocessor.xinference_rerank")


def nodes(case):
    node = lambda index, text: schema.NodeWithScore(node=schema.TextNode(text=text, id_=str(index)), score=0.5)
    return [node(index, text) for index, text in enumerate(case.documents)]


def ranked(reranker, case):
    found = reranker.postprocess_nodes(nodes(case), query_str=case.query)
    return [(int(one.node.node_id), one.score) for one in found]


@pytest.mark.parametrize("prefix", ["", "/tei"])
def test_tei(url, case, prefix):
    reranker = tei_rerank.TextEmbeddingInference(base_url=url + prefix, top_n=len(case.documents))
    hold(url, case, ranked(reranker, case))


def test_tei_top_n_and_key(url, case):
    reranker = tei_rerank.TextEmbeddingInference(base_url=url, top_n=2, auth_token=f"Bearer {KEY}")
    hold(url, case, ranked(reranker, case), top=2)


def test_cohere(url, case):
    hold(url, case, ranked(cohere(url, DEFAULT, len(case.documents)), case))


def test_cohere_top_n(url, case):
    hold(url, case, ranked(cohere(url, DEFAULT, 2), case), top=2)


def test_cohere_tells_an_unknown_model(url, case):
    errors = need("cohere.errors")
    with pytest.raises(errors.NotFoundError):
        ranked(cohere(url, UNKNOWN, 2), case)


def test_nvidia(url, case):
    """Asks `/v1/models` for the model's name, then ranks by logits."""
    with warnings.catch_warnings(record=True):
        reranker = nvidia_rerank.NVIDIARerank(base_url=f"{url}/v1", top_n=len(case.documents), truncate="END")
    hold_logits(url, case, ranked(reranker, case))


def test_nvidia_in_several_batches(url, case):
    with warnings.catch_warnings(record=True):
        reranker = nvidia_rerank.NVIDIARerank(base_url=f"{url}/nim/v1", top_n=len(case.documents), max_batch_size=3)
    hold_logits(url, case, ranked(reranker, case))


def test_nvidia_refuses_a_model_that_the_server_does_not_list(url):
    with pytest.raises(ValueError, match=UNKNOWN):
        nvidia_rerank.NVIDIARerank(base_url=f"{url}/v1", model=UNKNOWN)


def test_xinference(url, case):
    reranker = xinference_rerank.XinferenceRerank(base_url=url, model=DEFAULT, top_n=len(case.documents))
    hold(url, case, ranked(reranker, case))


def test_xinference_tells_an_unknown_model(url, case):
    reranker = xinference_rerank.XinferenceRerank(base_url=url, model=UNKNOWN, top_n=2)
    with pytest.raises(Exception, match="status code 404.*model"):
        ranked(reranker, case)


def cohere(url, model, top_n):
    return cohere_rerank.CohereRerank(api_key=KEY, base_url=url, model=model, top_n=top_n)
