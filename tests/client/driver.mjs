/**
 * A page without a browser: does what the test says, a line of JSON for each command, and prints a
 * line of JSON for each event.
 */

import { createInterface } from "node:readline";
import * as client from "../../src/channels/static/channels/channels.mjs";

const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const started = Date.now();
const sockets = new Map();

const shown = async (data) => {
  if (typeof data === "string") return data;
  const bytes = data instanceof Blob ? await data.arrayBuffer() : data;
  return { bytes: [...new Uint8Array(bytes)], kind: data.constructor.name };
};

const commands = {
  open({ name, url, protocols, options = {}, before }) {
    if (before) {
      const answers = [...before];
      options.before = async (about) => {
        say({ name, event: "before", attempt: about.attempt, code: about.close?.code });
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        if (answer === "throw") throw new Error("no token");
        return answer ?? undefined;
      };
    }
    const socket = new client.ReconnectingSocket(url, protocols ?? options, options);
    sockets.set(name, socket);
    const at = () => Date.now() - started;
    socket.onopen = () =>
      say({ name, event: "open", at: at(), protocol: socket.protocol, transport: socket.transport });
    socket.onmessage = async ({ data }) => say({ name, event: "message", data: await shown(data) });
    socket.onclose = ({ code, reason, reconnects }) =>
      say({ name, event: "close", at: at(), code, reason, reconnects, state: socket.readyState });
    socket.onstatuschange = ({ status, delay }) => say({ name, event: "status", status, delay });
    socket.ondrop = ({ data }) => say({ name, event: "drop", data });
    socket.ontoken = ({ expiresIn, error }) => say({ name, event: "token", expiresIn, error });
  },
  send({ name, data }) {
    sockets.get(name).send(Array.isArray(data) ? new Uint8Array(data) : data);
  },
  close({ name, code, reason }) {
    sockets.get(name).close(code, reason);
  },
  refresh({ name, token }) {
    sockets.get(name).refresh(token);
  },
  reconnect({ name }) {
    sockets.get(name).reconnect();
  },
  set({ name, key, value }) {
    sockets.get(name)[key] = value;
  },
  global({ type }) {
    globalThis.dispatchEvent(new Event(type));
  },
  get({ name, key }) {
    say({ name, event: "value", value: sockets.get(name)[key] });
  },
  sequels() {
    const codes = {};
    for (let code = 1000; code < 5000; code++) codes[code] = client.sequel(code);
    say({ event: "sequels", codes });
  },
  end() {
    process.exit(0);
  },
};

// Node has no window that is told of the network; pages have.
const target = new EventTarget();
globalThis.addEventListener ??= target.addEventListener.bind(target);
globalThis.dispatchEvent ??= target.dispatchEvent.bind(target);

for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...details } = JSON.parse(line);
  try {
    commands[what](details);
  } catch (error) {
    say({ name: details.name, event: "thrown", error: `${error.name}: ${error.message}` });
  }
}
