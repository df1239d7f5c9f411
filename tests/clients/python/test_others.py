"""Clients with one call each: Infinity, Xinference, Together, Haystack, Triton, Hugging Face."""

import pytest
from support import DEFAULT, KEY, UNKNOWN, best_first, hold, hold_in_order, hold_logits, need

# Documents of one request at most, unless RESCORED_MAX_DOCUMENTS says otherwise.
LIMIT = 10_000


class TestInfinity:
    """The client generated from Infinity's OpenAPI document; documents are strings there."""

    rerank = staticmethod(lambda *args, **more: need("infinity_client.api.default.rerank").sync_detailed(*args, **more))

    def ask(self, url, case, **more):
        client = need("infinity_client").Client(base_url=f"{url}/infinity", raise_on_unexpected_status=True)
        body = need("infinity_client.models").RerankInput(query=case.query, documents=case.documents, **more)
        return self.rerank(client=client, body=body).parsed

    def test_rerank(self, url, case):
        answer = self.ask(url, case, return_documents=True)
        hold(url, case, [(one.index, one.relevance_score) for one in answer.results])
        assert [one.document for one in answer.results] == [case.documents[one.index] for one in answer.results]
        assert answer.usage.total_tokens > 0

    def test_raw_scores(self, url, case):
        answer = self.ask(url, case, raw_scores=True)
        hold_logits(url, case, [(one.index, one.relevance_score) for one in answer.results])

    def test_an_unknown_model_is_the_clients_unexpected_status(self, url, case):
        with pytest.raises(need("infinity_client.errors").UnexpectedStatus) as caught:
            self.ask(url, case, model=UNKNOWN)
        assert caught.value.status_code == 404


class TestXinference:
    """The model handle of Xinference's client."""

    def handle(self, url, model):
        restful = need("xinference_client.client.restful.restful_client")
        return restful.RESTfulRerankModelHandle(model, url, {})

    def test_rerank(self, url, case):
        answer = self.handle(url, DEFAULT).rerank(case.documents, case.query, return_documents=True)
        results = answer["results"]
        hold(url, case, [(one["index"], one["relevance_score"]) for one in results])
        assert [one["document"]["text"] for one in results] == [case.documents[one["index"]] for one in results]

    def test_top_n(self, url, case):
        results = self.handle(url, DEFAULT).rerank(case.documents, case.query, top_n=2)["results"]
        hold(url, case, [(one["index"], one["relevance_score"]) for one in results], top=2)

    def test_an_unknown_model_is_told(self, url, case):
        with pytest.raises(RuntimeError, match=UNKNOWN):
            self.handle(url, UNKNOWN).rerank(case.documents, case.query)


class TestTogether:
    """Together's SDK."""

    def ask(self, url, case, model, **more):
        client = need("together").Together(api_key=KEY, base_url=url, max_retries=0)
        return client.rerank.create(model=model, query=case.query, documents=case.documents, **more)

    def test_rerank(self, url, case):
        results = self.ask(url, case, DEFAULT, return_documents=True).results
        hold(url, case, [(one.index, one.relevance_score) for one in results])
        assert [one.document.text for one in results] == [case.documents[one.index] for one in results]

    def test_top_n(self, url, case):
        results = self.ask(url, case, DEFAULT, top_n=2).results
        hold(url, case, [(one.index, one.relevance_score) for one in results], top=2)

    def test_an_unknown_model_is_the_clients_not_found(self, url, case):
        with pytest.raises(need("together").NotFoundError):
            self.ask(url, case, UNKNOWN)


class TestHaystack:
    """Haystack's rankers for TEI and Cohere."""

    def documents(self, case):
        make = need("haystack").Document
        return [make(id=str(index), content=text) for index, text in enumerate(case.documents)]

    def pairs(self, answer):
        return [(int(one.id), one.score) for one in answer["documents"]]

    def cohere(self, url, model, top_k):
        ranker = need("haystack_integrations.components.rankers.cohere").CohereRanker
        secret = need("haystack.utils").Secret.from_token(KEY)
        return ranker(model=model, top_k=top_k, api_key=secret, api_base_url=url)

    def tei(self, url, **more):
        ranker = need("haystack_integrations.components.rankers.huggingface_api").HuggingFaceTEIRanker
        return ranker(url=url, token=None, max_retries=1, **more)

    def test_cohere(self, url, case):
        answer = self.cohere(url, DEFAULT, len(case.documents)).run(case.query, self.documents(case))
        hold(url, case, self.pairs(answer))

    def test_cohere_tells_an_unknown_model(self, url, case):
        with pytest.raises(need("cohere").NotFoundError):
            self.cohere(url, UNKNOWN, 2).run(case.query, self.documents(case))

    def test_tei(self, url, case):
        answer = self.tei(url, top_k=len(case.documents)).run(query=case.query, documents=self.documents(case))
        hold(url, case, self.pairs(answer))

    def test_tei_raw_scores(self, url, case):
        ranker = self.tei(url, top_k=len(case.documents), raw_scores=True)
        hold_logits(url, case, self.pairs(ranker.run(query=case.query, documents=self.documents(case))))

    def test_tei_tells_more_documents_than_the_server_takes(self, url):
        make = need("haystack").Document
        documents = [make(id=str(index), content="a") for index in range(LIMIT + 1)]
        with pytest.raises(RuntimeError, match=str(LIMIT)):
            self.tei(url).run(query="q", documents=documents)


class TestTriton:
    """Triton's HTTP client: tensors of the open inference protocol, in JSON."""

    def tensor(self, name, texts):
        http, numpy = need("tritonclient.http"), need("numpy")
        made = http.InferInput(name, [len(texts), 1], "BYTES")
        made.set_data_from_numpy(numpy.array([[text.encode()] for text in texts], dtype=object), binary_data=False)
        return made

    def test_infer(self, url, case):
        http = need("tritonclient.http")
        with http.InferenceServerClient(url.removeprefix("http://")) as client:
            assert client.is_server_live() and client.is_server_ready()
            names = [one["name"] for one in client.get_model_metadata("default")["inputs"]]
            assert names == ["query", "passage"]
            inputs = [self.tensor("query", [case.query]), self.tensor("passage", case.documents)]
            wanted = [http.InferRequestedOutput("logit", binary_data=False)]
            answer = client.infer("default", inputs, outputs=wanted, request_id="one")
        assert answer.get_response()["id"] == "one"
        hold_logits(url, case, best_first(answer.as_numpy("logit").reshape(-1).tolist()))

    def test_an_unknown_model_is_the_clients_error(self, url, case):
        http, utils = need("tritonclient.http"), need("tritonclient.utils")
        inputs = [self.tensor("query", [case.query]), self.tensor("passage", case.documents)]
        with http.InferenceServerClient(url.removeprefix("http://")) as client:
            with pytest.raises(utils.InferenceServerException, match=UNKNOWN) as caught:
                client.infer(UNKNOWN, inputs)
        assert "404" in caught.value.status()


class TestHuggingFace:
    """huggingface_hub has no call for ranking; text classification of a pair is what an endpoint of TEI takes."""

    def classify(self, url, pair):
        client = need("huggingface_hub").InferenceClient(model=f"{url}/predict")
        return client.text_classification(pair)

    def test_text_classification_of_pairs(self, url, case):
        answers = [self.classify(url, [[case.query, text]]) for text in case.documents]
        assert all(len(answer) == 1 for answer in answers), "one label a pair"
        hold_in_order(url, case, [answer[0].score for answer in answers])

    def test_a_bad_pair_is_the_clients_http_error(self, url):
        errors = need("huggingface_hub.errors")
        with pytest.raises(errors.HfHubHTTPError) as caught:
            self.classify(url, [["one", "two", "three"]])
        assert 400 <= caught.value.response.status_code < 500
