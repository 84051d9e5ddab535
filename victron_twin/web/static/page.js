"use strict";
// Follows /events: "health" and one piece for each shadow, each sent whole when it has changed.

const text = (tag, content, name) => {
  const element = document.createElement(tag);
  element.textContent = content;
  if (name) element.className = name;
  return element;
};

const leaves = (section, above = []) => Object.entries(section).flatMap(([key, value]) =>
  value !== null && typeof value === "object" && !Array.isArray(value)
    ? leaves(value, [...above, key]) : [[[...above, key].join("."), value]]);

const ago = (milliseconds) => milliseconds === null ? "never"
  : `${Math.max(0, Math.round((Date.now() - milliseconds) / 1000))} s`;

let health = null;
const cards = new Map();

function showHealth() {
  if (!health) return;
  const rows = health.gx.map((gx) => {
    const row = document.createElement("tr");
    const good = gx.connected && gx.state === "live";
    row.append(text("td", `GX ${gx.host}${gx.portalId ? ` (${gx.portalId})` : ""}`),
      text("td", gx.connected ? gx.state : "not connected", good ? "good" : "bad"),
      text("td", ago(health.lastDataReceived)), text("td", gx.problem));
    return row;
  });
  const row = document.createElement("tr");
  const wait = health.oldestUnacknowledged;
  row.append(text("td", `Shadows (${health.backend})`),
    text("td", wait > 60 ? `waiting ${Math.round(wait)} s` : "acknowledged", wait > 60 ? "bad" : "good"),
    text("td", ""), text("td", health.problems.filter((p) => p.startsWith("victron-")).join("; ")));
  document.querySelector("#links tbody").replaceChildren(...rows, row);
}

function deviceRows(section, units, before, gone) {
  return leaves(section).map(([name, value]) => {
    const row = document.createElement("tr");
    if (gone) row.className = "gone";
    const unit = units[name] ? ` ${units[name]}` : "";
    const shown = text("td", `${value}${unit}`);
    if (before && before.get(name) !== undefined && before.get(name) !== value) shown.className = "changed";
    row.append(text("td", name), shown);
    return row;
  });
}

function showShadow(piece) {
  const { thing, name, title, version, reported, units } = piece;
  const key = `${thing}/${name}`;
  const before = cards.get(key);
  const { devices = {}, connected, since, ...own } = reported;
  const card = document.createElement("article");
  card.id = name;
  card.append(text("h3", `${title} `));
  card.firstChild.append(text("small", `${name}, version ${version}`));
  if (connected !== undefined) {
    if (!connected) card.className = "gone";
    card.append(text("p", connected ? `connected since ${since}` : `gone since ${since}: the values are the last known`,
      connected ? "good" : "bad"));
  }
  const body = document.createElement("tbody");
  body.append(...deviceRows(own, units, before && before.own, connected === false));
  for (const [instance, device] of Object.entries(devices)) {
    const { connected: there, since: from, ...fields } = device;
    const head = document.createElement("tr");
    head.className = "device";
    const title = text("th", `device ${instance}: ${there ? "connected" : "gone"} since ${from}`, there ? "good" : "bad");
    title.colSpan = 2;
    head.append(title);
    body.append(head, ...deviceRows(fields, units, before && before.devices.get(instance), !there));
  }
  const table = document.createElement("table");
  table.append(body);
  card.append(table);
  const holder = document.getElementById("shadows");
  holder.querySelector(".none")?.remove();
  if (before) before.card.replaceWith(card); else holder.append(card);
  cards.set(key, { card, own: new Map(leaves(own)),
    devices: new Map(Object.entries(devices).map(([i, d]) => [i, new Map(leaves(d))])) });
}

const stream = document.getElementById("stream");
const events = new EventSource("events");
events.addEventListener("open", () => { stream.textContent = "following live"; stream.className = "good"; });
events.addEventListener("error", () => {
  stream.textContent = "the service does not answer: what is shown may be old";
  stream.className = "bad";
  document.querySelectorAll("article").forEach((card) => card.classList.add("gone"));
});
events.addEventListener("health", (event) => { health = JSON.parse(event.data); showHealth(); });
events.addEventListener("shadow", (event) => showShadow(JSON.parse(event.data)));
setInterval(showHealth, 1000);
