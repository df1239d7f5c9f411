// The page: which view is shown, the server's state, the theme, the key.

import { $ } from "./dom.js";
import { Refused, ask, key, setKey } from "./server.js";
import * as live from "./live.js";
import * as playground from "./playground.js";

/** How often the server's state is asked for. */
const STATE_EVERY = 5000;

const VIEWS = ["playground", "live"];
const THEMES = ["system", "light", "dark"];
const THEME = "rescored-theme";

function view() {
  const wanted = location.hash.slice(1);
  const shown = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const name of VIEWS) {
    $(name).hidden = name !== shown;
    if (name === shown) $(`to-${name}`).setAttribute("aria-current", "page");
    else $(`to-${name}`).removeAttribute("aria-current");
  }
  document.title = shown === "live" ? "Live · rescored" : "rescored";
  live.look(shown === "live");
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme-name").textContent = { system: "System", light: "Light", dark: "Dark" }[name];
  $("theme").setAttribute("aria-label", `Theme: ${name}. Change it`);
}

function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function startTheme() {
  const before = stored(THEME);
  theme(THEMES.includes(before) ? before : "system");
  $("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    theme(next);
    try {
      localStorage.setItem(THEME, next);
    } catch {
      // A browser that keeps nothing shows the theme all the same.
    }
  });
}

function showKey() {
  const set = Boolean(key());
  $("open-key").toggleAttribute("data-set", set);
  $("open-key").setAttribute("aria-label", set ? "API key: set. Change it" : "API key: none. Set it");
}

function openKey(reason) {
  const dialog = $("key-dialog");
  if (reason) $("key-reason").textContent = `${reason}. The key is kept in this tab and forgotten when the tab is closed.`;
  $("key").value = key();
  if (!dialog.open) dialog.showModal();
  $("key").focus();
}

function startKey() {
  showKey();
  $("open-key").addEventListener("click", () => openKey());
  $("key-dialog").addEventListener("close", () => {
    const { returnValue } = $("key-dialog");
    if (returnValue === "keep") setKey($("key").value);
    if (returnValue === "forget") setKey("");
    $("key").value = "";
    showKey();
    if (returnValue === "keep") view();
  });
}

let next;

/** Readiness and models; both need no key. */
async function state() {
  clearTimeout(next);
  let word;
  try {
    const { answer } = await ask("info");
    word = answer.readiness;
    $("version").textContent = `rescored ${answer.version}`;
    playground.models(answer.models);
    live.models(answer.models);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    word = error.status === 503 ? "starting" : "gone";
  }
  const place = $("state");
  if (place.dataset.word !== word) {
    place.dataset.word = word;
    place.lastElementChild.textContent = word === "gone" ? "no answer" : word;
  }
  clearTimeout(next);
  if (!document.hidden) next = setTimeout(state, STATE_EVERY);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) state();
});

startTheme();
startKey();
playground.start(openKey);
live.start(openKey);
addEventListener("hashchange", view);
view();
state();
