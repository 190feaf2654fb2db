"use strict";

// Everything that comes from outside becomes text, never markup: textContent only.

const SPAN = 60; // seconds on the line
const FIGURES = [
  "applied", "requests", "in_flight", "max_in_flight", "spool", "schedule", "logins", "sessions", "faults_hit",
];
const figure = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
let history = []; // {at, applied, rate}, oldest first

function element(id) {
  return document.getElementById(id);
}

function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// A cell is its text and its class.
const plain = (text) => [text, ""];
const name = (text) => [text, "name"];
const count = (value) => [figure.format(value), "count"];
const flag = (value) => (value ? ["yes", ""] : ["no", "missing"]);

// Rows are kept and rewritten where they differ, so that a selection or a screen reader's place survives.
function fill(id, rows) {
  const body = element(id);
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] ?? body.insertRow();
    cells.forEach(([text, kind], column) => {
      const cell = row.cells[column] ?? row.insertCell();
      cell.className = kind;
      say(cell, text);
    });
  });
}

// The rate is taken over the last second: that of a single tick would jump.
function rateNow(at, applied) {
  const last = history.at(-1);
  if (last !== undefined && (at <= last.at || applied < last.applied)) history = []; // another run of the emulator
  const since = history.findLast((point) => point.at <= at - 1) ?? history[0];
  const rate = since === undefined ? 0 : (applied - since.applied) / (at - since.at);
  history.push({ at, applied, rate });
  history = history.filter((point) => point.at >= at - SPAN);
  return rate;
}

function draw(at) {
  const peak = Math.max(...history.map((point) => point.rate));
  const top = Math.max(peak, 1);
  const points = history.map(({ at: then, rate }) => {
    const x = 240 * (1 - (at - then) / SPAN);
    return `${x.toFixed(2)} ${(58 - (54 * rate) / top).toFixed(2)}`;
  });
  const line = points.join(" L");
  const first = points[0].split(" ")[0];
  element("line").setAttribute("d", `M${line}`);
  element("area").setAttribute("d", `M${first} 60 L${line} L240 60 Z`);
  say(element("peak"), figure.format(peak));
}

function show(board) {
  for (const id of FIGURES) say(element(id), figure.format(board[id]));
  say(element("rate"), figure.format(rateNow(board.at, board.applied)));
  draw(board.at);
  fill("campaigns", board.campaigns.map((row) => [
    name(row.campaign), count(row.spool), count(row.schedule), count(row.applied),
  ]));
  fill("latest", board.latest.map((entry) => [
    plain(entry.endpoint.split("/").at(-1)), name(entry.campaign), plain(entry.number), flag(entry.answered),
  ]));
  fill("faults", board.faults.map((rule) => [plain(rule.fault), name(rule.endpoint), count(rule.struck)]));
  element("more_campaigns").hidden = !board.more_campaigns;
  element("no_campaigns").hidden = board.campaigns.length > 0;
  element("no_latest").hidden = board.latest.length > 0;
  element("faulty").hidden = board.faults.length === 0;
}

function connection(live, text) {
  document.body.classList.toggle("live", live);
  say(element("connection"), text);
}

const source = new EventSource("/_emulator/events");
source.onmessage = (event) => {
  connection(true, "Live");
  show(JSON.parse(event.data));
};
source.onerror = () => {
  const ended = source.readyState === EventSource.CLOSED;
  connection(false, ended ? "Not connected; reload the page to try again" : "Not connected; trying again");
};
