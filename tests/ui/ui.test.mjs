// The page at /ui in a real browser, against the real server and the real model.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { CHROMIUM, FLAGS, accessibility, open, serve, shot } from "./support.mjs";

const skip = existsSync(CHROMIUM) ? false : `there is no ${CHROMIUM}; \`apt-get install chromium\` brings it, CHROMIUM names another`;
if (skip && process.env.CI) throw new Error(skip);

let browser, server;

before(async () => {
  if (skip) return;
  [server, browser] = await Promise.all([serve(), chromium.launch({ executablePath: CHROMIUM, args: FLAGS })]);
});

after(async () => {
  await browser?.close();
  assert.equal(await server?.stop() ?? 0, 0, "the server ends well");
});

/** Runs with a page of its own, and fails on whatever its console or its network has to say. */
async function visit(options, body, at = server) {
  const view = await open(browser, at, options);
  try {
    await body(view.page, view);
    view.check();
  } finally {
    await view.close();
  }
}

const places = (page) => page.$$eval(".after li", (rows) => rows.map((row) => Number(row.dataset.index)));

async function example(page, name) {
  await page.selectOption("#example", name);
  await page.waitForSelector(".after li");
}

test("passages are ranked, with their movements, timings and the request as curl", { skip }, async () => {
  await visit({}, async (page) => {
    await shot(page, "desktop-empty");
    await page.fill("#query", "how many people live in berlin");
    await page.fill("#passages", "New York is famous for its museums.\nBerlin has a population of 3,520,031 registered inhabitants.\nThe moon is far away.");
    await page.click("#rank");
    await page.waitForSelector(".after li");
    const order = await places(page);
    assert.equal(order[0], 1, "Berlin wins");
    assert.deepEqual(await page.textContent(".after li:first-child .move"), "▲ 1up 1, was 2");
    const scores = await page.$$eval(".after .score", (cells) => cells.map((cell) => Number(cell.textContent.replace("−", "-"))));
    assert.ok(scores[0] > 0.9 && scores[0] > scores[1] && scores[1] >= scores[2], String(scores));
    const timings = await page.$$eval(".timing dt", (names) => names.map((name) => name.textContent));
    for (const name of ["read", "cache", "inference", "print", "in all", "as seen here"]) assert.ok(timings.includes(name), `${name} is timed: ${timings}`);
    assert.equal(await page.locator(".lines path").count(), 3, "every item has a line from where it stood");
    await page.click("#tab-request");
    const curl = await page.textContent("#curl");
    assert.ok(curl.startsWith(`curl -s ${server.url}/v1/rerank`) && curl.includes("how many people live in berlin"), curl);
    await page.click("#tab-answer");
    assert.ok((await page.textContent("#panel")).includes("server-timing"));
  });
});

test("the curl command gives the same ranking", { skip }, async () => {
  const { execFileSync } = await import("node:child_process");
  await visit({}, async (page) => {
    await example(page, "Which gift (JSON)");
    const shown = await places(page);
    await page.click("#tab-request");
    const command = (await page.textContent("#curl")).replace("curl -s", "curl -s --noproxy '*'");
    const answer = JSON.parse(execFileSync("sh", ["-c", command], { encoding: "utf8" }));
    assert.deepEqual(answer.results.map((result) => result.index), shown);
  });
});

for (const [name, first] of [["An OpenSearch response", 2], ["A Vespa result", 1]]) {
  test(`${name} comes back in the model's order, beside the engine's scores`, { skip }, async () => {
    await visit({}, async (page) => {
      await example(page, name);
      assert.equal((await places(page))[0], first);
      assert.match(await page.textContent(".after li:first-child .score small"), /^was [\d.]+$/);
      assert.ok((await page.locator("#known-fields .chip[aria-pressed=true]").count()) === 2, "its fields are offered");
    });
  });
}

test("cut passages are marked, and others are not", { skip }, async () => {
  await visit({}, async (page) => {
    await page.fill("#query", "rivers");
    await page.fill("#passages", `${"a long river with many bends ".repeat(200)}\na short brook`);
    await page.click("#rank");
    await page.waitForSelector(".after li");
    assert.equal(await page.locator(".after li[data-index='0'] .tag").count(), 1);
    assert.equal(await page.locator(".after li[data-index='1'] .tag").count(), 0);
    assert.match(await page.textContent(".facts .cut"), /1 cut/);
  });
});

test("what the form lacks is said beside its field, and nothing is sent", { skip }, async () => {
  await visit({}, async (page) => {
    const sent = [];
    page.on("request", (request) => request.method() === "POST" && sent.push(request.url()));
    await page.click("#rank");
    assert.match(await page.textContent("#query-problem"), /query is empty/);
    assert.equal(await page.evaluate(() => document.activeElement.id), "query");
    await page.fill("#query", "x");
    await page.check("input[value=json]");
    await page.fill("#passages", "[1,");
    await page.click("#rank");
    assert.match(await page.textContent("#passages-problem"), /not JSON/);
    assert.deepEqual(sent, []);
    assert.deepEqual(await accessibility(page), []);
  });
});

test("a refusal shows the server's own sentence", { skip }, async () => {
  await visit({}, async (page, view) => {
    view.expect(422);
    await page.fill("#query", "rivers");
    await page.fill("#passages", "river ".repeat(900));
    await page.click("summary");
    await page.check("input[name=whole]");
    await page.click("#rank");
    await page.waitForSelector("#banner .note.bad");
    const text = await page.textContent("#banner");
    assert.match(text, /documents\[0\]: \d+ tokens with its query, the limit is 512/);
    assert.match(text, /422 · Validation/);
    assert.ok(!text.includes("river river"), "an error repeats no text");
    await shot(page, "desktop-error");
    assert.deepEqual(await accessibility(page), []);
  });
});

test("an overload has a banner that offers another try", { skip }, async () => {
  const settings = { RESCORED_WORKERS: "1", RESCORED_QUEUE_TOKENS: "600", RESCORED_MAX_DOCUMENTS: "400", RESCORED_BATCH_TOKENS: "512", RESCORED_CACHE_BYTES: "0" };
  const small = await serve(settings);
  try {
    await visit({}, async (page, view) => {
      view.expect(429);
      const words = Array.from({ length: 60 }, (_, at) => `river number ${at} `.repeat(60));
      const body = JSON.stringify({ query: "a long request that fills the queue", documents: words });
      const busy = fetch(`${small.url}/v1/rerank`, { method: "POST", headers: { "content-type": "application/json" }, body });
      const full = async () => Number(/rescored_queue_tokens (\d+)/.exec(await (await fetch(`${small.url}/metrics`)).text())[1]) > 600;
      while (!(await full())) await new Promise((resolve) => setTimeout(resolve, 20));
      await page.fill("#query", "a long request that fills the queue");
      await page.fill("#passages", "A short passage.\nAnother one.");
      await page.click("#rank");
      await page.waitForSelector("#banner .note.warn");
      const text = await page.textContent("#banner");
      assert.match(text, /no room just now/);
      assert.match(text, /429 · Overloaded/);
      assert.match(text, /Try again/);
      await shot(page, "desktop-overload");
      assert.deepEqual(await accessibility(page), []);
      await page.goto(`${small.url}/ui#live`);
      await page.waitForSelector("#live-banner .note.warn", { timeout: 15_000 });
      await shot(page, "live-overload");
      assert.equal((await busy).status, 200, "what was admitted is answered");
      await page.goto(`${small.url}/ui#playground`);
      await page.fill("#query", "again");
      await page.fill("#passages", "A short passage.");
      await page.click("#rank");
      await page.waitForSelector(".after li");
      assert.ok(await page.isHidden("#banner"), "the banner goes with the overload");
    }, small);
  } finally {
    await small.stop();
  }
});

test("with keys set the page loads, asks for one, and keeps it to its tab", { skip }, async () => {
  const file = join(mkdtempSync(join(tmpdir(), "rescored-ui-")), "keys");
  writeFileSync(file, "a-key-for-the-test\n");
  const guarded = await serve({ RESCORED_API_KEYS_FILE: file });
  try {
    await visit({}, async (page, view) => {
      view.expect(401);
      await page.fill("#query", "q");
      await page.fill("#passages", "a passage");
      await page.click("#rank");
      await page.waitForSelector("#key-dialog[open]");
      assert.deepEqual(await accessibility(page), []);
      await shot(page, "desktop-key");
      await page.keyboard.type("a-key-for-the-test");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#key-dialog", { state: "hidden" });
      await page.click("#rank");
      await page.waitForSelector(".after li");
      await page.click("#tab-request");
      const curl = await page.textContent("#curl");
      assert.ok(curl.includes("$RESCORED_KEY") && !curl.includes("a-key-for-the-test"), "the key is not printed");
      await page.click("#to-live");
      await page.waitForSelector(".tile .big");
      await page.waitForFunction(() => document.querySelector("[data-tile=Requests] .big").textContent !== "");
      assert.equal(await page.evaluate(() => localStorage.getItem("rescored-key")), null);
    }, guarded);
    assert.ok(!guarded.log().includes("a-key-for-the-test"), "nor logged");
  } finally {
    await guarded.stop();
  }
});

test("the live view counts what happens, and can be paused", { skip }, async () => {
  await visit({ path: "/ui#live" }, async (page) => {
    const body = (n) => JSON.stringify({ query: "a busy minute", documents: [`passage ${n}`, "the same passage"] });
    for (let n = 0; n < 30; n += 1) {
      await fetch(`${server.url}/v1/rerank`, { method: "POST", headers: { "content-type": "application/json" }, body: body(n) });
    }
    const highest = () => Number(/at most ([\d.]+)\/s/.exec(document.querySelector("[data-tile=Pairs] svg").getAttribute("aria-label"))?.[1]);
    await page.waitForFunction(highest, null, { timeout: 15_000 });
    assert.match(await page.getAttribute("[data-tile=Latency] svg", "aria-label"), /p99: now .* (ms|µs|s)/);
    assert.match(await page.textContent(".model"), /Provider\s*cpu/);
    await page.hover("[data-tile=Pairs] .chart", { position: { x: 245, y: 20 } });
    await shot(page, "desktop-live");
    assert.deepEqual(await accessibility(page), []);
    await page.click("#pause");
    let asked = 0;
    page.on("request", (request) => { asked += Number(request.url().includes("/ui/live")); });
    await page.waitForTimeout(2600);
    assert.equal(asked, 0, "a paused view asks for nothing");
  });
});

test("the whole way by keyboard", { skip }, async () => {
  await visit({}, async (page) => {
    const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
    await press("Tab");
    assert.equal(await focused(), "Skip to the page");
    await press("Enter", "Tab");
    assert.equal(await focused(), "query");
    await page.keyboard.type("how many people live in berlin");
    await press("Tab", "ArrowRight");
    assert.equal(await page.isChecked("input[value=json]"), true);
    await press("Tab");
    assert.equal(await focused(), "passages");
    await page.keyboard.type('["Museums.", "Berlin has 3.5 million inhabitants."]');
    await press("Control+Enter");
    await page.waitForSelector(".after li");
    assert.deepEqual(await places(page), [1, 0]);
    await page.focus("#tab-ranking");
    await press("ArrowRight");
    assert.equal(await focused(), "tab-request");
    assert.equal(await page.getAttribute("#tab-request", "aria-selected"), "true");
    await press("Tab");
    assert.equal(await focused(), "panel");
    await page.waitForFunction(() => document.querySelector("#announcer").textContent.startsWith("2 ranked"));
    const hidden = await page.evaluate(() => [...document.querySelectorAll("button, a, input, select, textarea")].filter((node) => node.offsetParent && getComputedStyle(node).outlineStyle === "none" && node.matches(":focus-visible")).length);
    assert.equal(hidden, 0, "what has the focus shows it");
  });
});

for (const theme of ["light", "dark"]) {
  for (const [place, size] of [["desktop", { width: 1360, height: 900 }], ["phone", { width: 390, height: 844 }]]) {
    test(`nothing overflows and axe finds nothing: ${place}, ${theme}`, { skip }, async () => {
      await visit({ ...size, theme }, async (page) => {
        for (const [name, shows] of [["A city's people (lines)", "lines"], ["An OpenSearch response", "engine"]]) {
          await example(page, name);
          await page.waitForTimeout(300);
          assert.deepEqual(await accessibility(page), [], name);
          const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          assert.ok(over <= 0, `${name}: ${over} pixels too wide`);
          await shot(page, `${place}-${theme}-${shows}`);
        }
        await page.click("#to-live");
        await page.waitForFunction(() => document.querySelector("[data-tile=Pairs] .big")?.textContent);
        assert.deepEqual(await accessibility(page), [], "live");
        await shot(page, `${place}-${theme}-live`);
      });
    });
  }
}

test("the theme follows the system until it is chosen, and the choice stays", { skip }, async () => {
  await visit({ theme: "dark" }, async (page) => {
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await paper();
    await page.click("#theme");
    assert.equal(await page.textContent("#theme-name"), "Light");
    assert.notEqual(await paper(), dark);
    await page.reload();
    assert.equal(await page.textContent("#theme-name"), "Light");
    await page.click("#theme");
    assert.equal(await paper(), dark);
  });
});

test("the server's log holds no text of a request", { skip }, async () => {
  assert.doesNotMatch(server.log(), /\bberlin\b|\briver\b|\bcaffeine\b/i);
});
