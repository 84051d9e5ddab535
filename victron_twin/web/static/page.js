"use strict";
// Follows /events. "health": the links. "fields": what is said of a shadow's fields. "shadow": a shadow as it is now.
// Each comes whole when it has changed; what is on the page is changed in place.

// Own parts of every device, which its heading tells.
const HEADING = new Set(["connected", "since", "lastUpdate", "missing", "deviceInstance", "devices", "commands"]);
// A shadow that the service has not told of so long after it answered is none of its shadows now, in ms.
const BURST = 1000;
// The health comes every second: after so long without anything the service does not answer, in ms.
const SILENCE = 6000;
const RETRY = 3000;

// How long a value that has changed stays marked, in ms: one that changes all the time does not blink.
const MARKED = 2500;

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Change a text only where it differs: nothing is laid out anew, and no reader is disturbed.
function say(node, text, kind) {
  if (node.textContent !== text) node.textContent = text;
  if (kind !== undefined && node.className !== kind) node.className = kind;
}

function leaves(section, above = "") {
  return Object.entries(section).flatMap(([key, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? leaves(value, `${above}${key}.`) : [[above + key, value]]);
}

// A long name may go on in the next line after a dot.
const breakable = (name) => name.split(".").flatMap((part, number) => number ? [".", element("wbr"), part] : [part]);

const shown = (value) => Array.isArray(value) ? value.join(", ") || "none" : value === "" ? "–" : String(value);

function moment(iso) {
  const time = new Date(iso);
  const today = time.toDateString() === new Date().toDateString();
  return today ? time.toLocaleTimeString() : time.toLocaleString();
}

const duration = (seconds) => seconds < 120 ? `${Math.round(seconds)} s`
  : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;

const marked = new Map();

function mark(cell) {
  cell.className = "changed";
  marked.set(cell, performance.now());
}

function unmark() {
  for (const [cell, since] of marked) {
    if (performance.now() - since > MARKED) {
      cell.className = "";
      marked.delete(cell);
    }
  }
}

// A table whose rows come, change and go by their names.
class Table {
  constructor(label) {
    this.body = element("tbody");
    this.node = element("table", { "aria-label": label }, this.body);
    this.rows = new Map();
  }

  // `entries` in their order: {name, title, value, unit}.
  show(entries) {
    let next = this.body.firstChild;
    for (const { name, title, value, unit } of entries) {
      const text = unit ? `${shown(value)} ${unit}` : shown(value);
      let row = this.rows.get(name);
      if (row === undefined) {
        const cell = element("td", {}, text);
        const head = element("th", { scope: "row" }, ...breakable(name));
        if (title) head.title = title;
        row = { node: element("tr", {}, head, cell), cell };
        this.rows.set(name, row);
      } else if (row.cell.textContent !== text) {
        row.cell.textContent = text;
        mark(row.cell);
      }
      if (row.node === next) next = next.nextSibling;
      else this.body.insertBefore(row.node, next);
    }
    if (this.rows.size > entries.length) {
      const names = new Set(entries.map((entry) => entry.name));
      for (const [name, row] of this.rows) {
        if (!names.has(name)) {
          row.node.remove();
          this.rows.delete(name);
        }
      }
    }
  }
}

// One device, or what stands at the top of a shadow: whether it is live, its first fields, and the rest to unfold.
class Device {
  constructor(label) {
    this.state = element("p", { class: "state" });
    this.note = element("p", { class: "note stale" });
    this.first = new Table(label);
    this.rest = new Table(`${label}, further fields`);
    this.summary = element("summary");
    this.more = element("details", {}, this.summary, this.rest.node);
    this.node = element("div", {}, this.state, this.note, this.first.node, this.more);
    this.section = {};
  }

  show(section, fields) {
    this.section = section;
    const own = Object.entries(section).filter(([key]) => !HEADING.has(key));
    const order = new Map(Object.keys(fields).map((name, number) => [name, number]));
    const place = (entry) => order.get(entry.name) ?? Infinity;
    const entries = leaves(Object.fromEntries(own))
      .map(([name, value]) => ({ name, value, ...fields[name] }))
      .sort((one, other) => place(one) - place(other) || (one.name < other.name ? -1 : 1));
    const first = entries.filter((entry) => entry.first);
    const rest = [...entries.filter((entry) => !entry.first), ...commands(section.commands ?? {})];
    this.first.show(first);
    this.rest.show(rest);
    say(this.summary, `${rest.length} further fields`);
    this.more.hidden = rest.length === 0;
    say(this.note, section.missing ? `the GX does not tell: ${section.missing}` : "");
  }

  // `lost`: why nothing is known of it now, or nothing.
  judge(lost) {
    const { connected, since, lastUpdate } = this.section;
    const last = lastUpdate ? `, last value ${moment(lastUpdate)}` : "";
    const old = Boolean(lost) || connected === false;
    if (lost) say(this.state, `old: ${lost}${last}`, "state bad");
    else if (connected === undefined) say(this.state, "", "state");
    else if (connected) say(this.state, `live since ${moment(since)}${last}`, "state good");
    else say(this.state, `not live since ${moment(since)}, these are the last known values`, "state bad");
    const kind = old ? "old" : "";
    if (this.node.className !== kind) this.node.className = kind;
  }
}

function commands(section) {
  return Object.entries(section).map(([name, { status, value, reason, at }]) => ({
    name: `commands.${name}`,
    value: `${shown(value)}: ${status}${reason ? ` (${reason})` : ""}${at ? `, ${moment(at)}` : ""}`,
  }));
}

// One shadow.
class Card {
  constructor(thing, name, title) {
    this.fields = {};
    this.told = false;
    this.version = element("small");
    const id = `${thing}/${name}`;
    this.problem = element("p", { class: "note bad" });
    this.top = new Device(title);
    this.devices = new Map();
    this.node = element("article", { "aria-labelledby": id, "data-shadow": name },
      element("h3", { id }, `${title} `, this.version), this.problem, this.top.node);
  }

  show({ name, version, problem, reported }) {
    this.told = true;
    const device = reported.deviceInstance === undefined ? "" : `, device ${reported.deviceInstance}`;
    say(this.version, `${name}, version ${version}${device}`);
    say(this.problem, problem ? `the shadow cannot be written: ${problem}` : "");
    this.top.show(reported, this.fields);
    const devices = reported.devices ?? {};
    for (const [instance, section] of Object.entries(devices)) {
      if (!this.devices.has(instance)) {
        const label = `Device ${instance}`;
        const device = new Device(label);
        device.node.prepend(element("h4", {}, label));
        this.devices.set(instance, device);
        this.node.append(device.node);
      }
      this.devices.get(instance).show(section, this.fields);
    }
    for (const [instance, device] of this.devices) {
      if (!(instance in devices)) {
        device.node.remove();
        this.devices.delete(instance);
      }
    }
  }

  judge(lost) {
    const why = lost || (this.told || !settled ? "" : "the service does not tell of it any more");
    this.top.judge(why);
    for (const device of this.devices.values()) device.judge(why);
    if (this.node.className !== this.top.node.className) this.node.className = this.top.node.className;
  }
}

const things = new Map();
const cards = new Map();

function describe({ thing, name, title, order, fields }) {
  const key = `${thing}/${name}`;
  if (!cards.has(key)) {
    byId("none").hidden = true;
    if (!things.has(thing)) {
      const holder = element("div", { class: "cards" });
      const id = `thing/${thing}`;
      byId("none").before(element("section", { "aria-labelledby": id }, element("h2", { id }, `Shadows of ${thing}`), holder));
      things.set(thing, holder);
    }
    const card = new Card(thing, name, title);
    card.node.dataset.order = order;
    const holder = things.get(thing);
    holder.insertBefore(card.node, [...holder.children].find((other) => other.dataset.order > order) ?? null);
    cards.set(key, card);
  }
  cards.get(key).fields = fields;
}

// The links, and whether the service itself answers.
const links = new Map();
let health = null;
let heard = 0; // when, by this page's clock
let lost = "";
let settled = false;

function link(name, detail, state, kind, problem, last) {
  let row = links.get(name);
  if (row === undefined) {
    row = { detail: element("small"), state: element("span"), problem: element("small"), last: element("td") };
    const head = element("th", { scope: "row" }, `${name} `, row.detail);
    row.node = element("tr", {}, head, element("td", {}, row.state, row.problem), row.last);
    links.set(name, row);
    document.querySelector("#links tbody").append(row.node);
  }
  say(row.detail, detail);
  say(row.state, lost ? "unknown" : state, lost ? "bad" : kind);
  say(row.problem, problem);
  say(row.last, last);
}

function showLinks() {
  if (health === null) return;
  const now = health.time + (performance.now() - heard);
  const age = (time) => time === null ? "none yet" : `${duration(Math.max(0, now - time) / 1000)} ago`;
  const told = new Set();
  for (const { host, portalId, connected, state, problem, lastDataReceived } of health.gx) {
    told.add(`${host}: ${problem}`);
    const kind = !connected ? "bad" : { live: "good", filling: "stale" }[state] ?? "bad";
    link(`GX ${host}`, portalId ?? "", connected ? state : "not connected", kind, problem, age(lastDataReceived));
  }
  const waits = Math.round(health.oldestUnacknowledged);
  const kind = waits > 60 ? "bad" : waits > 15 ? "stale" : "good";
  const problems = health.problems.filter((problem) => !told.has(problem)).join("; ");
  const written = waits > 15 ? `an update has been waiting for ${duration(waits)}` : "acknowledged";
  link("Shadows", health.backend, written, kind, problems, "");
}

// The audit log: asked for anew when what became of a desire has changed, or a link has come back.
const AUDIT = 20;
const outcomes = new Map();

async function showCommands() {
  const answer = await fetch(`api/commands?limit=${AUDIT}`).catch(() => null);
  const steps = answer?.ok ? await answer.json() : [];
  document.querySelector("#commands table").hidden = steps.length === 0;
  document.querySelector("#commands tbody").replaceChildren(...steps.map(({ at, shadow, field, old, new: asked, step, result, reason }) => {
    const text = (value) => value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : shown(value);
    const bad = ["rejected", "unconfirmed", "expired"].includes(result);
    return element("tr", {}, element("td", {}, moment(at)),
      element("td", {}, `${shadow} ${field}: ${text(old)} → ${text(asked)}`), element("td", {}, step),
      element("td", { class: bad ? "bad" : "" }, reason ? `${result}: ${reason}` : result));
  }));
}

// The emergency off of all commands: a button where no token is needed, or one was typed, which is kept nowhere.
const BY_HAND = "off (by hand)";
const switchForm = byId("switch");
const tokenInput = byId("token").querySelector("input");
let needsToken = true;

function showMode() {
  const off = health?.commands === BY_HAND;
  say(byId("mode"), health ? `The cloud may do: ${off ? "nothing, switched off by hand" : health.commands}` : "", off ? "bad" : "");
  const button = switchForm.querySelector("button");
  say(button, off ? "Switch commands on" : "Switch all commands off");
  button.disabled = health === null || lost !== "" || (needsToken && tokenInput.value.trim() === "");
}

async function askForMode() {
  const answer = await fetch("api/commands/mode").catch(() => null);
  if (answer?.ok) needsToken = (await answer.json()).token;
  byId("token").hidden = !needsToken;
  showMode();
}

switchForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const mode = health.commands === BY_HAND ? "on" : "off";
  const headers = needsToken ? { Authorization: `Bearer ${tokenInput.value.trim()}` } : {};
  const answer = await fetch("api/commands/mode", { method: "POST", headers, body: JSON.stringify({ mode }) }).catch(() => null);
  const told = await answer?.json().catch(() => null);
  say(byId("switch-problem"), answer?.ok ? "" : told?.message ?? "the service does not answer");
  if (answer?.ok) health.commands = told.mode;
  showMode();
});
tokenInput.addEventListener("input", showMode);

function judge(why) {
  lost = why;
  say(byId("service"), why || "following live", why ? "bad" : "good");
  showLinks();
  showMode();
  for (const card of cards.values()) card.judge(why);
}

let events;

function follow() {
  events = new EventSource("events");
  const on = (name, act) => events.addEventListener(name, (event) => {
    heard = performance.now();
    act(JSON.parse(event.data));
    if (lost !== "") judge("");
  });
  on("health", (report) => { health = report; showLinks(); showMode(); });
  on("fields", describe);
  on("shadow", (piece) => {
    const card = cards.get(`${piece.thing}/${piece.name}`);
    card.show(piece);
    card.judge(lost);
    const key = `${piece.thing}/${piece.name}`;
    const outcome = JSON.stringify(piece.reported.commands ?? {});
    if ((outcomes.get(key) ?? "{}") !== outcome) {
      outcomes.set(key, outcome);
      setTimeout(showCommands, 500); // the last step is noted after it is reported
    }
  });
  events.addEventListener("open", () => {
    askForMode();
    settled = false;
    for (const card of cards.values()) card.told = false;
    setTimeout(() => {
      settled = true;
      judge(lost);
    }, BURST);
  });
  events.addEventListener("error", () => {
    judge("the service does not answer");
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, RETRY);
  });
}

setInterval(() => {
  unmark();
  if (health !== null && performance.now() - heard > SILENCE) judge("the service does not answer");
  else showLinks();
}, 1000);
judge("connecting to the service");
follow();
