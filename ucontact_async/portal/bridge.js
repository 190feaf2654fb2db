"use strict";

// Speaks with the agent portal that embeds this page, in the envelopes of Porthole 1.0.0, and with nobody else.
// ucontact.connect({ portalOrigin }).send(action) gives a promise; forms made by render_action() work by themselves.
(() => {
  // What the portal answers with. An answer names no question, so one action waits for an answer at a time.
  const ANSWERS = { call: "guid", callWithPhone: "guid", CTI: "CTI" };

  const TEXTS = {
    "working": "Waiting for the portal",
    "answered": "Done",
    "posted": "Sent to the portal",
    "not-embedded": "This works only inside the agent portal; nothing was sent",
    "foreign-portal": "This page is embedded by another site than the agent portal; nothing was sent",
    "busy": "Another action still waits for the portal; nothing was sent",
    "unanswered": "The portal did not answer. It may have happened: look before you try again",
    "unsettled": "An earlier call was not answered; look what became of it, then reload this page. Nothing was sent",
    "not-taken": "The portal has done it, but this service did not take the answer",
  };

  let leaving = false; // for another page, where an answer would not be heard

  class PortalError extends Error {
    constructor(code) {
      super(TEXTS[code]);
      this.name = "PortalError";
      this.code = code;
    }
  }

  // Returns the message in the envelope, or null for what is none.
  function opened(text) {
    try {
      const { data } = JSON.parse(text);
      return typeof data === "object" ? data : null;
    } catch {
      return null;
    }
  }

  function connect({ portalOrigin }) {
    if (new URL(portalOrigin).origin !== portalOrigin) throw new TypeError(`${portalOrigin} is not an origin`);
    let waiting = null; // { key, done } of the action in flight
    let overdue = null; // takes the GUID that did not come in time: the next one would be mistaken for it

    window.addEventListener("message", (event) => {
      if (event.source !== window.parent || event.origin !== portalOrigin) return;
      const data = opened(event.data);
      if (data === null) return;
      if (waiting !== null && waiting.key in data) waiting.done(data);
      else if (overdue !== null && "guid" in data) overdue(data);
    });

    // Why nothing can be sent now; null if it can.
    function obstacle(key) {
      if (window.parent === window) return "not-embedded";
      // Where the browser does not tell, the message is not delivered to a foreign page all the same.
      if (location.ancestorOrigins && location.ancestorOrigins[0] !== portalOrigin) return "foreign-portal";
      if (waiting !== null || leaving) return "busy";
      return overdue !== null && key === "guid" ? "unsettled" : null;
    }

    // Resolves to the portal's answer, or to null once an action without one was posted; rejects with a PortalError.
    // One with the code "unanswered" may have happened: its promise `late` resolves if the answer comes after all.
    function send(action, { seconds = 10 } = {}) {
      const key = ANSWERS[action.action];
      const reason = obstacle(key);
      if (reason !== null) return Promise.reject(new PortalError(reason));
      const envelope = {
        data: action,
        sourceOrigin: location.origin,
        targetOrigin: portalOrigin,
        sourceWindowName: window.name, // by which the portal's Porthole knows us
        targetWindowName: "",
      };
      window.parent.postMessage(JSON.stringify(envelope), portalOrigin);
      if (key === undefined) return Promise.resolve(null);
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          const error = new PortalError("unanswered");
          waiting = null;
          error.late = new Promise((arrive) => {
            if (key !== "guid") return; // a read may be asked again
            overdue = (data) => {
              overdue = null;
              arrive(data);
            };
          });
          reject(error);
        }, seconds * 1000);
        const done = (data) => {
          clearTimeout(timer);
          waiting = null;
          resolve(data);
        };
        waiting = { key, done };
      });
    }

    return Object.freeze({ obstacle: () => obstacle(), send });
  }

  // Returns the action of a form with what was typed into it.
  function filled(form, { action, inputs }) {
    const copy = JSON.parse(JSON.stringify(action));
    for (const [name, path] of Object.entries(inputs)) {
      const input = form.elements.namedItem(name);
      const at = path.slice(0, -1).reduce((place, step) => place[step], copy);
      const moment = input.type === "datetime-local";
      at[path.at(-1)] = moment ? input.value.replace("T", " ").padEnd(19, ":00") : input.value.trim();
    }
    return copy;
  }

  // Returns the code of what became of it: the service has the last word, and may lead on to another page.
  async function report(path, result) {
    try {
      const response = await fetch(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(result),
      });
      if (!response.ok) return "not-taken";
      if (!response.redirected) return result.outcome;
      leaving = true;
      location.assign(response.url);
      return "working";
    } catch {
      return "not-taken";
    }
  }

  async function perform(portal, form, config, say) {
    const action = filled(form, config);
    const tell = (outcome, data = null) => report(config.result, { action: action.action, outcome, data });
    try {
      const data = await portal.send(action, { seconds: config.seconds });
      return data === null ? tell("posted") : tell("answered", data);
    } catch (error) {
      if (!(error instanceof PortalError)) throw error;
      if (error.code === "unanswered") {
        error.late.then((data) => tell("answered", data)).then(say);
        await tell("unanswered");
      }
      return error.code;
    }
  }

  const connections = new Map(); // by the portal's origin: all forms of a page share one action in flight

  function attach(form) {
    const config = JSON.parse(form.querySelector("script").textContent);
    const button = form.querySelector("button");
    const output = form.querySelector("output");
    const say = (code) => {
      output.dataset.code = code;
      output.value = config.texts[code] ?? TEXTS[code];
    };
    if (!connections.has(config.portal)) connections.set(config.portal, connect({ portalOrigin: config.portal }));
    const portal = connections.get(config.portal);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      say("working");
      say(await perform(portal, form, config, say));
      button.disabled = leaving;
    });
    const reason = portal.obstacle();
    button.disabled = reason !== null;
    if (reason !== null) say(reason);
  }

  window.ucontact = Object.freeze({ connect, PortalError });
  const start = () => document.querySelectorAll("form.ucontact").forEach(attach);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
