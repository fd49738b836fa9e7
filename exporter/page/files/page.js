// Updates, filters and sorts the page without reloading it, and copies commands.
// The page works without this script, which only replaces parts of it with HTML from the server.

const LIVE = ["summary", "findings"];
const TYPING_MS = 300;
const PATIENCE_MS = 20_000;
const every = Number(document.body.dataset.refreshSeconds) * 1000;
const form = document.querySelector("form");
const news = document.getElementById("news");
const old = document.getElementById("old");
const checked = document.getElementById("checked");
// HTML of the last response. The page differs from it by its state, such as open details and copied buttons.
const sent = new Map(LIVE.map((id) => [id, document.getElementById(id).innerHTML]));
let etag = "";
let answered = new Date();
let latest = 0;
let timer = 0;
let typing = 0;

document.documentElement.classList.add("scripted");
schedule();

// Polling

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(() => (document.hidden ? schedule() : load(location.href)), every);
}

/** Get a page and show it. Only the newest request counts. */
async function load(url, { asked = false } = {}) {
  const number = ++latest;
  clearTimeout(timer);
  try {
    const headers = etag && !asked ? { "If-None-Match": etag } : {};
    const answer = await fetch(url, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    const body = answer.ok ? await answer.text() : "";
    if (number !== latest) return;
    if (answer.status !== 304) {
      const page = new DOMParser().parseFromString(body, "text/html");
      // A proxy may respond with its own page, such as a login.
      if (!answer.ok || !LIVE.every((id) => page.getElementById(id))) throw new Error(`status ${answer.status}`);
      etag = answer.headers.get("ETag") ?? "";
      show(page, asked);
    }
    answered = new Date();
    checked.textContent = `Last checked ${clock(answered)}`;
    if (!old.hidden) say("The exporter is reachable again.");
    old.hidden = true;
  } catch (error) {
    if (number !== latest) return;
    const why = error instanceof TypeError || error.name === "TimeoutError" ? "unreachable" : error.message;
    checked.textContent = `Not updated since ${clock(answered)}`;
    old.textContent = `The list may be out of date: no update from the exporter since ${clock(answered)} (${why}).`;
    if (old.hidden) say(old.textContent);
    old.hidden = false;
  }
  schedule();
}

/** Replace changed parts, and keep the focus, open details and the scroll position. */
function show(page, asked) {
  const focused = document.activeElement?.id;
  let changed = false;
  for (const id of LIVE) {
    const [now, then] = [document.getElementById(id), page.getElementById(id)];
    if (sent.get(id) === then.innerHTML) continue;
    sent.set(id, then.innerHTML);
    changed = true;
    const open = [...now.querySelectorAll("details[open]")].map((details) => details.id);
    then.querySelectorAll("details").forEach((details) => (details.open = open.includes(details.id)));
    const [x, y] = [scrollX, scrollY];
    now.replaceChildren(...then.childNodes);
    scrollTo(x, y);
  }
  if (focused && document.activeElement?.id !== focused) {
    document.getElementById(focused)?.focus({ preventScroll: true });
  }
  document.title = page.title;
  if (asked) say(document.querySelector(".count, .empty").textContent);
  else if (changed) say("The list has changed.");
}

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

function clock(time) {
  return time.toLocaleTimeString([], { hour12: false });
}

// Filters, order and pages

function go(url, { typed = false } = {}) {
  history[typed ? "replaceState" : "pushState"](null, "", url);
  load(location.href, { asked: true });
}

function filtered({ typed = false } = {}) {
  clearTimeout(typing);
  const given = [...new FormData(form)].filter(([, value]) => value.trim());
  const query = new URLSearchParams(given).toString();
  const url = query ? `?${query}` : "./";
  if (new URL(url, location.href).href !== location.href) go(url, { typed });
}

/** Set the form from the URL. */
function restore() {
  const asked = new URLSearchParams(location.search);
  for (const field of form.elements) if (field.name) field.value = asked.get(field.name) ?? "";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  filtered();
});
form.addEventListener("change", () => filtered());
form.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => filtered({ typed: true }), TYPING_MS);
});
addEventListener("popstate", () => {
  restore();
  load(location.href, { asked: true });
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) load(location.href);
});

document.querySelector("main").addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const link = event.target.closest("a");
  const plainClick = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plainClick || link.origin !== location.origin || link.pathname !== location.pathname) return;
  event.preventDefault();
  go(link.href);
  restore();
  if (link.closest("nav")) document.getElementById("findings").focus();
});

// Commands

async function copy(button) {
  const command = document.getElementById(button.dataset.copy).textContent;
  const done = await write(command, button);
  say(done ? `Copied: ${button.dataset.says}.` : "The browser refused to copy. Open Show commands and copy the text.");
  if (!done) return;
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 2000);
}

/** Write to the clipboard. Over plain HTTP from another host, browsers only support the older API. */
async function write(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    button.focus({ preventScroll: true });
    return done;
  }
}
