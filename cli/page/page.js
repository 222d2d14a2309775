"use strict";
// What is marked data-live is exchanged for what the server says now; without this script the page loads itself again.
const pause = 3000;
let tag = null;

async function look() {
  const answer = await fetch(location.href, {
    headers: tag ? {"If-None-Match": tag} : {}, cache: "no-store", redirect: "manual",
  });
  if (answer.type === "opaqueredirect") { location.reload(); return; }
  if (!answer.ok) { return; }
  tag = answer.headers.get("Etag");
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = next.getElementById(old.id);
    if (fresh && !fresh.isEqualNode(old)) { exchange(old, fresh); }
  }
}

function exchange(old, fresh) {
  const focus = old.contains(document.activeElement) ? document.activeElement : null;
  for (const open of old.querySelectorAll("details[open][id]")) {
    const same = fresh.querySelector("#" + CSS.escape(open.id));
    if (same) { same.open = true; }
  }
  if (focus && !focus.id) { return; } // somebody is in the middle of something there
  old.replaceWith(fresh);
  if (focus) { document.getElementById(focus.id)?.focus(); }
}

// Arrow keys go from box to box; Tab goes on as everywhere.
document.addEventListener("keydown", (event) => {
  const row = event.target.closest?.(".boxes");
  const way = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 0, ArrowUp: 0}[event.key];
  if (!row || way === undefined || event.altKey || event.ctrlKey || event.metaKey) { return; }
  const cells = [...row.querySelectorAll("a.cell")];
  const at = cells.indexOf(event.target);
  let next = cells[at + way];
  if (way === 0) {
    const rows = [...document.querySelectorAll(".boxes")];
    const other = rows[rows.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1)];
    next = other?.querySelectorAll("a.cell")[at];
  }
  if (next) { event.preventDefault(); next.focus(); }
});

setInterval(() => { if (!document.hidden) { look().catch(() => {}); } }, pause);
