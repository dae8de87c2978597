// The console's script. Every page works without it; it refreshes what has `data-live`, and adds keys and a theme.

const REFRESH_MS = 4000, SLOW_EVERY = 4, SILENT_MS = 1000;

// ── Refresh ───────────────────────────────────────────────────────────────────────────────────────────────────────

const live = () => [...document.querySelectorAll("[data-live][id]")];
const state = document.getElementById("live-state");
let still = false, round = 0, timer = 0, away = false;

// A page that somebody reads stays as it is: text is selected, rows are chosen, a form is being filled in.
function isRead() {
  const selection = getSelection();
  if (selection && !selection.isCollapsed) return true;
  if (document.querySelector("[data-live] input:checked, [data-live] details[open], dialog[open]")) return true;
  const active = document.activeElement;
  return !!active && active.matches("input:not([type=checkbox]), textarea, select") && !!active.closest("[data-live]");
}

async function refresh() {
  clearTimeout(timer);
  timer = setTimeout(refresh, REFRESH_MS);
  if (still || document.hidden || !live().length || isRead()) return;
  round += 1;
  try {
    const response = await fetch(location.href, { headers: { "X-Refresh": "1" }, redirect: "error" });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!response.ok) throw new Error(page.querySelector("[role=alert]")?.textContent || `the server answers ${response.status}`);
    if (isRead()) return;
    for (const old of live()) {
      const fresh = page.getElementById(old.id);
      if (!fresh) continue;
      if ("liveSlow" in old.dataset && round % SLOW_EVERY) continue;
      if (old.innerHTML !== fresh.innerHTML || old.className !== fresh.className) swap(old, fresh);
    }
    away = false;
    say(`Refreshed ${new Date().toLocaleTimeString()}`);
  } catch (error) {
    if (!away) say(`Not refreshed since ${new Date().toLocaleTimeString()}: ${error.message}`);
    away = true;
  }
}

function swap(old, fresh) {
  const path = pathTo(document.activeElement, old), isAtEnd = old.scrollTop + old.clientHeight > old.scrollHeight - 8;
  old.className = fresh.className;
  old.replaceChildren(...fresh.childNodes);
  if (path) path.reduce((node, index) => node?.children[index], old)?.focus?.({ preventScroll: true });
  if (isAtEnd) old.scrollTop = old.scrollHeight; // a log that somebody follows
  mark();
}

// Where the focus is inside an element, as the numbers of children, so that it can be put back after a swap.
function pathTo(node, root) {
  if (!root.contains(node)) return null;
  const path = [];
  for (; node !== root; node = node.parentElement) path.unshift([...node.parentElement.children].indexOf(node));
  return path;
}

function say(text) {
  if (state) state.textContent = text;
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
const pause = document.querySelector("[data-pause-live]");
if (pause && live().length) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    still = !still;
    pause.setAttribute("aria-pressed", String(still));
    pause.textContent = still ? "Refresh again" : "Hold still";
  });
}
timer = setTimeout(refresh, REFRESH_MS);

// On a phone the navigation is longer than the screen.
document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

// The beginning of an id is looked for in some of the tasks at a time.
const further = document.querySelector("[data-further]");
if (further) location.replace(further.href);

// ── A task that runs: its events instead of polling ───────────────────────────────────────────────────────────────

const events = document.querySelector("[data-events]");
if (events && window.EventSource) {
  let due = 0;
  const lines = document.getElementById("lines");
  lines.scrollTop = lines.scrollHeight;
  const source = new EventSource(events.dataset.events);
  const soon = () => { if (!due) due = setTimeout(() => { due = 0; refresh(); }, 300); };
  for (const kind of ["status", "progress", "log", "message"]) source.addEventListener(kind, soon);
  source.addEventListener("end", () => { source.close(); soon(); });
  addEventListener("pagehide", () => source.close());
}

// ── Rows: choose all, count what is chosen ────────────────────────────────────────────────────────────────────────

const all = document.querySelector("[data-all]"), count = document.querySelector("[data-chosen]");
const showCount = () => { if (count) count.textContent = ` (${document.querySelectorAll("input[name=id]:checked").length})`; };
if (all) all.hidden = false;
showCount();
document.addEventListener("change", ({ target }) => {
  if (target.matches?.("[data-all]")) {
    for (const box of document.querySelectorAll("input[name=id]")) box.checked = target.checked;
  }
  showCount();
});

// ── Search: complete the word that is being typed ─────────────────────────────────────────────────────────────────

const search = document.querySelector("input[data-complete]");
const offered = search && document.getElementById(search.getAttribute("list"));
if (offered) {
  const words = [...offered.options].map((option) => option.value);
  search.addEventListener("input", () => {
    const before = search.value.replace(/\S*$/, "");
    offered.replaceChildren(...words.filter((word) => !before.includes(word)).map((word) => new Option(before + word, before + word)));
  });
}

// ── Keys, which can be turned off (WCAG 2.1.4) ────────────────────────────────────────────────────────────────────

const kept = { get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
               set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* no storage: for this page only */ } } };
let keysOff = kept.get("keys") === "off", went = 0;
const keysSwitch = document.querySelector("[data-keys-switch]");
if (keysSwitch) {
  const label = () => { keysSwitch.textContent = keysOff ? "Turn keys on" : "Turn keys off"; };
  keysSwitch.hidden = false;
  label();
  keysSwitch.addEventListener("click", () => { keysOff = !keysOff; kept.set("keys", keysOff ? "off" : "on"); label(); });
}

const rows = () => [...document.querySelectorAll("table.rows tbody tr:has(a)")];
let at = -1;
function mark() {
  for (const [index, row] of rows().entries()) row.classList.toggle("at", index === at);
}
function move(step) {
  const all = rows();
  if (!all.length) return;
  at = Math.max(0, Math.min(all.length - 1, at + step));
  mark();
  all[at].querySelector("a").focus();
}

document.addEventListener("keydown", (event) => {
  if (keysOff || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  if (went && Date.now() - went < SILENT_MS) {
    went = 0;
    const link = document.querySelector(`nav [data-key="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  switch (event.key) {
    case "g": went = Date.now(); break;
    case "/": {
      event.preventDefault();
      const field = document.querySelector("input[type=search]");
      if (field) field.focus(); else document.querySelector("nav [data-key=t]")?.click();
      break;
    }
    case "?": document.getElementById("keys")?.showModal(); break;
    case "j": move(1); break;
    case "k": move(-1); break;
    case "x": rows()[at]?.querySelector("input[type=checkbox]")?.click(); break;
  }
});

// ── Theme ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const themes = ["auto", "light", "dark"], theme = document.querySelector("[data-theme]");
function show(name) {
  if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
  if (theme) theme.textContent = `Theme: ${name}`;
}
let chosen = themes.includes(kept.get("theme")) ? kept.get("theme") : "auto";
show(chosen);
if (theme) {
  theme.hidden = false;
  theme.addEventListener("click", () => { chosen = themes[(themes.indexOf(chosen) + 1) % 3]; kept.set("theme", chosen); show(chosen); });
}
