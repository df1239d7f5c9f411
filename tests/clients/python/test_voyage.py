"""Voyage's own SDK, sync and async."""

import asyncio

import pytest
from support import DEFAULT, KEY, UNKNOWN, hold, need

voyageai = need("voyageai")


def pairs(answer):
    return [(one.index, one.relevance_score) for one in answer.results]


@pytest.mark.parametrize("base", ["/voyage", "/voyage/v1"])
def test_rerank(url, case, base):
    client = voyageai.Client(api_key=KEY, base_url=url + base)
    answer = client.rerank(case.query, case.documents, model=DEFAULT)
    hold(url, case, pairs(answer))
    assert [one.document for one in answer.results] == [case.documents[one.index] for one in answer.results]
    assert answer.total_tokens > 0


def test_top_k(url, case):
    client = voyageai.Client(api_key=KEY, base_url=f"{url}/voyage/v1")
    hold(url, case, pairs(client.rerank(case.query, case.documents, model=DEFAULT, top_k=2)), top=2)


def test_rerank_async(url, case):
    async def rerank():
        client = voyageai.AsyncClient(api_key=KEY, base_url=f"{url}/voyage/v1")
        return await client.rerank(case.query, case.documents, model=DEFAULT)

    hold(url, case, pairs(asyncio.run(rerank())))


def test_no_documents_is_the_clients_invalid_request(url):
    client = voyageai.Client(api_key=KEY, base_url=f"{url}/voyage/v1")
    with pytest.raises(voyageai.error.InvalidRequestError, match="documents"):
        client.rerank("q", [], model=DEFAULT)


def test_an_unknown_model_is_the_clients_error(url, case):
    client = voyageai.Client(api_key=KEY, base_url=f"{url}/voyage/v1")
    with pytest.raises(voyageai.error.VoyageError) as caught:
        client.rerank(case.query, case.documents, model=UNKNOWN)
    assert caught.value.http_status == 404
