// Servers with the real model on ports of their own, and pages of a real browser that watches what they do.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { readFileSync } from "node:fs";

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const BINARY = process.env.RESCORED_BIN ?? "target/release/rescored";

/** Chromium as Debian has it, or what CHROMIUM names. */
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Without these, Chromium asks its maker for updates at every start. */
export const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

async function freePort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts a server and waits until it is ready. */
export async function serve(settings = {}) {
  const port = await freePort();
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("RESCORED_"));
  const env = { ...Object.fromEntries(kept), RESCORED_LISTEN: `127.0.0.1:${port}`, ...settings };
  const child = spawn(BINARY, ["serve"], { env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (piece) => { log += piece; });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 480; tries += 1) {
    if (child.exitCode !== null) break;
    const ready = await fetch(`${url}/readyz`).then((answer) => answer.ok, () => false);
    if (ready) return { url, log: () => log, stop: () => stop(child) };
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  child.kill("SIGKILL");
  throw new Error(`the server did not become ready:\n${log.slice(-2000)}`);
}

async function stop(child) {
  if (child.exitCode !== null) return child.exitCode;
  child.kill("SIGTERM");
  await once(child, "exit");
  return child.exitCode;
}

/** A page whose errors and requests are kept; `check` fails on any that should not be. */
export async function open(browser, server, { width = 1360, height = 900, theme = "light", path = "/ui" } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: "reduce" });
  const page = await context.newPage();
  const complaints = [];
  const expected = new Set();
  page.on("console", (message) => {
    const refused = /Failed to load resource.*status of (\d+)/.exec(message.text());
    if (refused && expected.has(Number(refused[1]))) return;
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url)) complaints.push(`outside request: ${request.url()}`);
  });
  await page.goto(server.url + path);
  await page.waitForFunction(() => document.querySelector("#state").dataset.word);
  return {
    page,
    /** Answers with this status belong to the test. */
    expect: (status) => expected.add(status),
    /** Nothing was complained of. */
    check: () => {
      if (complaints.length > 0) throw new Error(complaints.join("\n"));
    },
    close: () => context.close(),
  };
}

/** What axe-core finds wrong with a page, one line each. Its source is put into the page's own world by the debugger. */
export async function accessibility(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  return found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary.replaceAll(/\s+/g, " ")}`));
}

/** A picture for eyes, where UI_SHOTS names a folder. */
export async function shot(page, name) {
  const folder = process.env.UI_SHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}
