"""LiteLLM's `rerank`, which speaks as many dialects as it has providers."""

import asyncio

import pytest
from support import DEFAULT, KEY, UNKNOWN, hold, hold_logits, need

litellm = need("litellm")

# Provider and the base below the server's address.
PROVIDERS = [
    ("cohere", ""),
    ("cohere", "/cohere/v2/rerank"),
    ("jina_ai", ""),
    ("huggingface", ""),
    ("huggingface", "/tei"),
    ("infinity", "/infinity"),
    ("hosted_vllm", ""),
    ("hosted_vllm", "/vllm"),
    ("voyage", "/voyage"),
    ("together_ai", "/v1"),
]
# Those that send the model's name and tell the status of an error.
NAMING = [one for one in PROVIDERS if one[0] not in ("huggingface", "together_ai")]


def pairs(answer):
    return [(one["index"], one["relevance_score"]) for one in answer.results]


def settings(url, provider, base):
    return {"custom_llm_provider": provider, "api_base": url + base, "api_key": KEY, "max_retries": 0}


def request(url, case, provider, base, **more):
    return {"query": case.query, "documents": case.documents, **settings(url, provider, base), **more}


@pytest.mark.parametrize("provider,base", PROVIDERS)
def test_rerank(url, case, provider, base):
    answer = litellm.rerank(model=DEFAULT, **request(url, case, provider, base))
    hold(url, case, pairs(answer))


@pytest.mark.parametrize("provider,base", PROVIDERS)
def test_top_n(url, case, provider, base):
    answer = litellm.rerank(model=DEFAULT, **request(url, case, provider, base, top_n=2))
    hold(url, case, pairs(answer), top=2)


@pytest.mark.parametrize("provider,base", [one for one in PROVIDERS if one[0] != "huggingface"])
def test_documents_come_back(url, case, provider, base):
    asked = request(url, case, provider, base, return_documents=True)
    for one in litellm.rerank(model=DEFAULT, **asked).results:
        if case.documents[one["index"]]:
            assert one["document"]["text"] == case.documents[one["index"]]


@pytest.mark.parametrize("model,base", [(f"ranking/{DEFAULT}", ""), (DEFAULT, "/v1/retrieval/nvidia/reranking")])
def test_nvidia_nim(url, case, model, base):
    answer = litellm.rerank(model=model, **request(url, case, "nvidia_nim", base))
    hold_logits(url, case, pairs(answer))


def test_arerank(url, case):
    answer = asyncio.run(litellm.arerank(model=DEFAULT, **request(url, case, "cohere", "")))
    hold(url, case, pairs(answer))


@pytest.mark.parametrize("provider,base", NAMING)
def test_an_unknown_model_is_not_found(url, case, provider, base):
    with pytest.raises(litellm.NotFoundError, match=UNKNOWN):
        litellm.rerank(model=UNKNOWN, **request(url, case, provider, base))


def test_an_unknown_model_is_told_by_together(url, case):
    """LiteLLM wraps a bare Exception with the server's body here, whatever the status."""
    with pytest.raises(Exception, match=UNKNOWN):
        litellm.rerank(model=UNKNOWN, **request(url, case, "together_ai", "/v1"))


@pytest.mark.parametrize("base", ["", "/tei"])
def test_no_documents_is_a_bad_request_to_huggingface(url, base):
    with pytest.raises(litellm.BadRequestError, match="texts"):
        litellm.rerank(model=DEFAULT, query="q", documents=[], **settings(url, "huggingface", base))
