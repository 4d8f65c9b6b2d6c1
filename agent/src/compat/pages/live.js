// Keeps the status page up to date and sends its forms without leaving it. The page is complete
// without this script; all markup comes from the server, where everything foreign is escaped.
"use strict";

(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const byId = (id) => document.getElementById(id);

  // Addresses are relative to the page, which a proxy may show under a path of its own; a name and a
  // password in the page's own address are left out, with which nothing could be fetched.
  const absolute = (path) => new URL(path, location.origin + location.pathname);

  // Without a word for so long, what is shown counts as out of date. The server beats every 10 s.
  const SILENCE = 25000;
  const RETRY = 3000;

  let source = null;
  let heard = new Date();
  let retry = 0;

  const clock = (at) => at.toLocaleTimeString();

  function markStale() {
    if (document.body.classList.contains("stale")) return;
    document.body.classList.add("stale");
    byId("stale").textContent =
      `Connection lost. Nothing heard since ${clock(heard)}: what is shown may be out of date. Trying again.`;
    byId("mode").textContent = "Not updating.";
  }

  function markFresh(asof) {
    heard = new Date();
    document.body.classList.remove("stale");
    byId("stale").textContent = "";
    byId("asof").textContent = asof;
    byId("mode").textContent = "Updates by itself.";
  }

  function disconnect() {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
  }

  function connect() {
    disconnect();
    if (document.hidden) return;
    source = new EventSource(absolute(live.dataset.from));
    source.addEventListener("all", on(showAll));
    source.addEventListener("some", on(showSome));
    source.addEventListener("beat", on(() => {}));
    source.onerror = () => {
      markStale();
      disconnect();
      retry = setTimeout(connect, RETRY);
    };
  }

  function on(show) {
    return (event) => {
      const data = JSON.parse(event.data);
      show(data);
      markFresh(data.asof);
    };
  }

  function showAll(data) {
    for (const field of document.querySelectorAll("input[name=token]")) field.value = data.token;
    showSummary(data.summary);
    keepingFocus(() => { byId("processes").innerHTML = data.table; });
    begin(live);
  }

  function showSome(data) {
    showSummary(data.summary);
    const holder = document.createElement("tbody");
    holder.innerHTML = data.rows.join("");
    for (const row of [...holder.children]) {
      const old = byId(row.id);
      if (!old) continue;
      keepingFocus(() => old.replaceWith(row));
      begin(row);
    }
  }

  function showSummary(html) {
    const summary = byId("summary");
    if (summary.dataset.shown === html) return;
    summary.dataset.shown = html;
    keepingFocus(() => { summary.innerHTML = html; });
  }

  // Replaces something and puts the focus where it was: on the same control, or, when that is gone,
  // on the name in its row, where pressing a key again does no harm.
  function keepingFocus(replace) {
    const active = document.activeElement;
    const row = active && active.closest("tr[id]");
    const name = active && (active.getAttribute("aria-label") || active.getAttribute("href"));
    replace();
    if (!active || active.isConnected) return;
    const place = row ? byId(row.id) : byId("summary");
    const same = place && [...place.querySelectorAll("a, button")].find(
      (one) => name === (one.getAttribute("aria-label") || one.getAttribute("href")));
    const next = same || (place && place.querySelector("a")) || byId("content");
    next.focus({ preventScroll: true });
  }

  // Uptimes go on here, from what the server said.
  function begin(within) {
    for (const one of within.querySelectorAll(".uptime")) {
      one.dataset.since = Date.now() - 1000 * Number(one.dataset.seconds);
    }
  }

  function words(seconds) {
    const days = Math.floor(seconds / 86400);
    const two = (n) => String(Math.floor(n) % 60).padStart(2, "0");
    const time = `${Math.floor(seconds / 3600) % 24}:${two(seconds / 60)}:${two(seconds)}`;
    return days === 0 ? time : `${days} day${days === 1 ? "" : "s"}, ${time}`;
  }

  function tick() {
    if (document.hidden) return;
    if (Date.now() - heard > SILENCE) {
      markStale();
      if (source) connect();
    }
    if (document.body.classList.contains("stale")) return;
    for (const one of live.querySelectorAll(".uptime")) {
      const text = words(Math.max(0, Math.floor((Date.now() - one.dataset.since) / 1000)));
      if (one.textContent !== text) one.textContent = text;
    }
  }

  function say(text) {
    const message = byId("statusmessage");
    message.classList.toggle("failed", text.startsWith("ERROR"));
    message.textContent = text;
  }

  async function send(form, button) {
    const fields = new URLSearchParams(new FormData(form));
    fields.set("action", button.value);
    say(`${button.getAttribute("aria-label") || button.textContent}: asked, waiting.`);
    let answer;
    try {
      answer = await fetch(absolute(form.getAttribute("action")), {
        method: "POST",
        headers: { Accept: "application/json" },
        body: fields,
      });
    } catch {
      return say("ERROR: no answer came. It is not known whether this was done.");
    }
    if (!answer.ok) return say(`ERROR: refused with HTTP status ${answer.status}.`);
    try {
      say((await answer.json()).message);
    } catch {
      say("ERROR: the answer broke off. It is not known whether this was done.");
    }
  }

  const busy = new Set();
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const button = event.submitter;
    if (form.method !== "post" || !button || button.value === "refresh") return;
    event.preventDefault();
    const what = `${form.processname ? form.processname.value : ""} ${button.value}`;
    if (busy.has(what)) return;
    busy.add(what);
    await send(form, button);
    busy.delete(what);
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return disconnect();
    heard = new Date();
    connect();
  });
  addEventListener("pagehide", disconnect);
  begin(live);
  setInterval(tick, 1000);
  connect();
})();
