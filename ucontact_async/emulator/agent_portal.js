"use strict";

// Everything that comes from outside becomes text, never markup: textContent only.

const form = document.getElementById("form");

function say(id, text) {
  const place = document.getElementById(id);
  if (place.textContent !== text) place.textContent = text;
}

function post(door, body) {
  return fetch(`/_emulator/portal/${door}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

function rows(asked) {
  const body = document.getElementById("asked");
  body.replaceChildren(
    ...asked.map((one) => {
      const row = document.createElement("tr");
      for (const [name, kind] of [["action", ""], ["campaign", "name"], ["number", ""], ["answer", one.answer]]) {
        const cell = row.insertCell();
        cell.className = kind;
        cell.textContent = one[name];
      }
      return row;
    }),
  );
}

let shown = "";

async function refresh() {
  const text = await (await fetch("/_emulator/portal/desk")).text();
  if (text === shown) return; // so that a selection survives
  shown = text;
  const { agent, phone, waiting, call, asked } = JSON.parse(text);
  say("agent", agent);
  say("phone", phone);
  say("waiting", String(waiting));
  document.getElementById("next").disabled = waiting === 0;
  document.getElementById("call").hidden = call === null;
  document.getElementById("no_call").hidden = call !== null;
  if (call !== null) {
    say("call_state", call.ended === null ? `live since ${call.started.slice(11)}` : `ended at ${call.ended.slice(11)}`);
    say("call_campaign", call.campaign);
    say("call_number", call.number);
    say("call_dialer", call.dialer || "none");
  }
  rows(asked);
  document.getElementById("no_asked").hidden = asked.length > 0;
}

window.addEventListener("message", async (event) => {
  if (event.source !== form.contentWindow || event.origin !== form.dataset.origin) return;
  const response = await post("act", event.data);
  if (response.status === 200) form.contentWindow.postMessage(await response.text(), event.origin);
  await refresh();
});

document.getElementById("next").addEventListener("click", async () => {
  await post("next");
  await refresh();
});

refresh();
setInterval(() => refresh().catch(() => {}), 1000); // it may have ended; the next one shows itself
