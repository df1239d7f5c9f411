"""Cohere's own SDK, first and second version of the API, sync and async."""

import asyncio

import pytest
from support import DEFAULT, KEY, UNKNOWN, hold, need

cohere = need("cohere")


def pairs(answer):
    return [(one.index, one.relevance_score) for one in answer.results]


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
@pytest.mark.parametrize("prefix", ["", "/cohere"])
def test_rerank(url, case, version, prefix):
    client = cohere_client(version, url + prefix)
    answer = client.rerank(model=DEFAULT, query=case.query, documents=case.documents)
    hold(url, case, pairs(answer))
    assert answer.id
    assert answer.meta.billed_units.search_units == 1


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
def test_top_n(url, case, version):
    client = cohere_client(version, url)
    hold(url, case, pairs(client.rerank(model=DEFAULT, query=case.query, documents=case.documents, top_n=2)), top=2)


def test_documents_come_back_from_the_first_version(url, case):
    client = cohere_client("Client", url)
    documents = [{"text": text} for text in case.documents]
    answer = client.rerank(model=DEFAULT, query=case.query, documents=documents, return_documents=True)
    hold(url, case, pairs(answer))
    assert [one.document.text for one in answer.results] == [case.documents[one.index] for one in answer.results]


def test_rank_fields_of_the_first_version(url, case):
    client = cohere_client("Client", url)
    documents = [{"id": str(index), "body": text} for index, text in enumerate(case.documents)]
    answer = client.rerank(model=DEFAULT, query=case.query, documents=documents, rank_fields=["body"])
    assert answer.results[0].index == case.best
    assert len(answer.results) == len(documents)


@pytest.mark.parametrize("version", ["AsyncClient", "AsyncClientV2"])
def test_rerank_async(url, case, version):
    async def rerank():
        async with cohere_client(version, url) as client:
            return await client.rerank(model=DEFAULT, query=case.query, documents=case.documents)

    hold(url, case, pairs(asyncio.run(rerank())))


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
def test_an_unknown_model_is_the_clients_not_found(url, case, version):
    with pytest.raises(cohere.NotFoundError) as caught:
        cohere_client(version, url).rerank(model=UNKNOWN, query=case.query, documents=case.documents)
    assert caught.value.status_code == 404
    assert "model" in str(caught.value.body)


@pytest.mark.parametrize("version", ["Client", "ClientV2"])
def test_no_documents_is_the_clients_bad_request(url, version):
    with pytest.raises(cohere.BadRequestError):
        cohere_client(version, url).rerank(model=DEFAULT, query="q", documents=[])


def cohere_client(version, address):
    return getattr(cohere, version)(api_key=KEY, base_url=address)
