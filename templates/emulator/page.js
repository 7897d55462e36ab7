// Keeps the page current without moving it. Without this script it reloads itself every few seconds instead.
"use strict";

const ROOT = document.documentElement.dataset.root;
const EVERY = 1500; // milliseconds

// The portal's links hide what they mean behind the '#', where a server cannot see it.
function followPortalLink() {
  const meant = decodeURIComponent(location.hash);
  const task = meant.match(/(ServerTasks|Deployments|RunbookRuns)-\d+(?!.*(ServerTasks|Deployments|RunbookRuns)-\d)/);
  if (task) {
    const folder = { ServerTasks: "tasks", Deployments: "deployments", RunbookRuns: "runbookruns" }[task[1]];
    location.replace(`${ROOT}/${folder}/${task[0]}`);
    return;
  }
  const project = meant.match(/Projects-\d+/);
  location.replace(`${ROOT}/${project ? "#" + project[0] : ""}`);
}

const shown = new Map(); // by id: the HTML of each live part as the server last sent it
const opened = new Map(); // by id: what a person has opened or closed

function parts(page) {
  return [...page.querySelectorAll("[data-live][id]")];
}

function isInUse(part) {
  const chosen = getSelection();
  const typing = part.contains(document.activeElement) && document.activeElement.matches("textarea, input");
  const typed = [...part.querySelectorAll("textarea")].some((field) => field.value);
  return typing || typed || (chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode));
}

function show(page) {
  const fresh = parts(page);
  const ids = new Set(fresh.map((part) => part.id));
  if (parts(document).length !== fresh.length || parts(document).some((part) => !ids.has(part.id))) {
    location.reload(); // a space came or went
    return;
  }
  const root = document.scrollingElement;
  const isAtEnd = root.scrollTop > 0 && root.scrollHeight - root.scrollTop - root.clientHeight < 8;
  const top = root.scrollTop;
  for (const part of fresh) {
    const old = document.getElementById(part.id);
    const html = part.outerHTML;
    if (shown.get(part.id) === html || isInUse(old)) continue;
    shown.set(part.id, html);
    const next = document.importNode(part, true);
    for (const details of next.querySelectorAll("details[id]")) {
      if (opened.has(details.id)) details.open = opened.get(details.id);
    }
    old.replaceWith(next);
  }
  root.scrollTop = isAtEnd ? root.scrollHeight : top;
  document.body.dataset.live = page.body.dataset.live;
}

async function refresh() {
  const away = document.getElementById("away");
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      away.hidden = true;
    } catch {
      away.hidden = false;
    }
  }
  if (document.body.dataset.live === "yes") setTimeout(refresh, EVERY);
}

document.addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary) opened.set(summary.parentElement.id, !summary.parentElement.open);
});

if (location.pathname.replace(/\/$/, "") === `${ROOT}/app` && location.hash) {
  followPortalLink();
} else {
  addEventListener("hashchange", () => location.pathname === `${ROOT}/app` && followPortalLink());
  for (const part of parts(document)) shown.set(part.id, part.outerHTML);
  if (document.body.dataset.live === "yes") setTimeout(refresh, EVERY);
}
