"""LangChain's document compressors: Cohere and NVIDIA."""

import pytest
from support import DEFAULT, KEY, UNKNOWN, hold, hold_logits, need

langchain_cohere = need("langchain_cohere")
langchain_nvidia = need("langchain_nvidia_ai_endpoints")
documents = need("langchain_core.documents")


def passages(case):
    return [documents.Document(page_content=text, metadata={"at": index}) for index, text in enumerate(case.documents)]


def test_cohere_rerank(url, case):
    compressor = cohere(url, DEFAULT)
    found = compressor.rerank(case.documents, case.query, top_n=None)
    hold(url, case, [(one["index"], one["relevance_score"]) for one in found])


def test_cohere_compresses_documents(url, case):
    found = cohere(url, DEFAULT).compress_documents(passages(case), case.query)
    hold(url, case, [(one.metadata["at"], one.metadata["relevance_score"]) for one in found], top=3)


def test_cohere_tells_an_unknown_model(url, case):
    errors = need("cohere.errors")
    with pytest.raises(errors.NotFoundError):
        cohere(url, UNKNOWN).compress_documents(passages(case), case.query)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("prefix", ["", "/nim"])
def test_nvidia_compresses_documents(url, case, prefix):
    compressor = langchain_nvidia.NVIDIARerank(base_url=f"{url}{prefix}/v1", top_n=len(case.documents), truncate="END")
    found = compressor.compress_documents(passages(case), case.query)
    hold_logits(url, case, [(one.metadata["at"], one.metadata["relevance_score"]) for one in found])


@pytest.mark.filterwarnings("ignore")
def test_nvidia_tells_an_unknown_model(url, case):
    with pytest.raises(Exception, match=UNKNOWN):
        compressor = langchain_nvidia.NVIDIARerank(base_url=f"{url}/v1", model=UNKNOWN)
        compressor.compress_documents(passages(case), case.query)


def cohere(url, model):
    return langchain_cohere.CohereRerank(cohere_api_key=KEY, base_url=url, model=model, top_n=3)
