// Clients from npm against the server: Cohere's SDK, Voyage's SDK, and the AI SDK with its providers.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { DEFAULT, KEY, UNKNOWN, cases, hold, load, url } from "./support.mjs";

const asked = (one, model = DEFAULT) => ({ model, query: one.query, documents: one.documents });

/** One client's tests. Without the client: a failure in CI, a visible skip elsewhere. */
async function suite(name, modules, body) {
  const loaded = await Promise.all(modules.map(load));
  const missing = loaded.map((one) => one.missing).find(Boolean);
  if (!missing) {
    describe(name, () => body(...loaded.map((one) => one.client)));
  } else if (process.env.CI === "true") {
    test(name, () => assert.fail(missing));
  } else {
    test(name, { skip: missing }, () => {});
  }
}

/** The same test for every case; `todo` says what the server still lacks for it. */
function each(name, body, todo = false) {
  for (const one of cases()) test(`${name} [${one.name}]`, { todo }, () => body(one));
}

await suite("cohere-ai", ["cohere-ai"], (cohere) => {
  const pairs = (answer) => answer.results.map((one) => [one.index, one.relevanceScore]);
  const settings = { token: KEY, environment: url(), maxRetries: 0 };
  const clients = { first: cohere.CohereClient, second: cohere.CohereClientV2 };

  for (const [version, Client] of Object.entries(clients)) {
    each(`the ${version} version ranks`, async (one) => {
      const answer = await new Client(settings).rerank(asked(one));
      await hold(one, pairs(answer));
      assert.equal(answer.meta.billedUnits.searchUnits, 1);
    });

    each(`the ${version} version takes the best two`, async (one) => {
      await hold(one, pairs(await new Client(settings).rerank({ ...asked(one), topN: 2 })), 2);
    });

    each(`the ${version} version reports an unknown model`, async (one) => {
      await assert.rejects(new Client(settings).rerank(asked(one, UNKNOWN)), (error) => {
        assert.ok(error instanceof cohere.Cohere.NotFoundError, error.constructor.name);
        assert.equal(error.statusCode, 404);
        return true;
      });
    });
  }

  each("the first version gets its documents back", async (one) => {
    const documents = one.documents.map((text) => ({ text }));
    const answer = await new cohere.CohereClient(settings).rerank({ ...asked(one), documents, returnDocuments: true });
    await hold(one, pairs(answer));
    for (const each of answer.results) assert.equal(each.document.text, one.documents[each.index]);
  });
});

await suite("voyageai", ["voyageai"], (voyage) => {
  const pairs = (answer) => answer.data.map((one) => [one.index, one.relevanceScore]);
  const client = () => new voyage.VoyageAIClient({ apiKey: KEY, environment: `${url()}/voyage/v1`, maxRetries: 0 });

  each("ranks, documents back", async (one) => {
    const answer = await client().rerank({ ...asked(one), returnDocuments: true });
    await hold(one, pairs(answer));
    for (const each of answer.data) assert.equal(each.document, one.documents[each.index]);
    assert.ok(answer.usage.totalTokens > 0);
  });

  each("takes the best two", async (one) => {
    await hold(one, pairs(await client().rerank({ ...asked(one), topK: 2 })), 2);
  });

  each("reports an unknown model", async (one) => {
    await assert.rejects(client().rerank(asked(one, UNKNOWN)), (error) => {
      assert.ok(error instanceof voyage.VoyageAIError, error.constructor.name);
      assert.equal(error.statusCode, 404);
      return true;
    });
  });
});

/** A provider of the AI SDK: how to make its model, and what the server still lacks for it. */
async function provider(module, model, todo) {
  await suite(`ai with ${module}`, ["ai", module], ({ rerank, APICallError }, provided) => {
    const ask = (one, id = DEFAULT) => ({ model: model(provided, id), query: one.query, documents: one.documents });
    const pairs = (answer) => answer.ranking.map((one) => [one.originalIndex, one.score]);

    each("ranks", async (one) => {
      const answer = await rerank({ ...ask(one), maxRetries: 0 });
      await hold(one, pairs(answer));
      assert.deepEqual(answer.rerankedDocuments, answer.ranking.map((each) => one.documents[each.originalIndex]));
    }, todo);

    each("takes the best two", async (one) => {
      await hold(one, pairs(await rerank({ ...ask(one), topN: 2, maxRetries: 0 })), 2);
    }, todo);

    each("reports an unknown model", async (one) => {
      await assert.rejects(rerank({ ...ask(one, UNKNOWN), maxRetries: 0 }), (error) => {
        assert.ok(APICallError.isInstance(error), error.constructor.name);
        assert.equal(error.statusCode, 404);
        return true;
      });
    });
  });
}

await provider("@ai-sdk/cohere", ({ createCohere }, id) =>
  createCohere({ apiKey: KEY, baseURL: `${url()}/v2` }).reranking(id));

await provider("@ai-sdk/togetherai", ({ createTogetherAI }, id) =>
  createTogetherAI({ apiKey: KEY, baseURL: `${url()}/v1` }).reranking(id));

await provider("voyage-ai-provider", ({ createVoyage }, id) =>
  createVoyage({ apiKey: KEY, baseURL: `${url()}/voyage/v1` }).reranking(id));
