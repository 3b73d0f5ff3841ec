/**
 * What every page of the showcase does with its socket or stream: parse events, show whether the
 * server is there, and say what went wrong.
 *
 * A page has an element #status (role="status") and an element #problem (role="alert").
 */

import { ReconnectingSocket } from "channels";

const WORDS = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Reconnecting…",
  closed: "Disconnected",
  failed: "Disconnected",
};

/**
 * Connect, and pass each event `{type, …}` on to the handler with the name of its type.
 *
 * @param path of the socket.
 * @param handlers functions by the type of event; `open` is called on each connection, `status` on
 *   each change.
 * @param options of ReconnectingSocket.
 * @returns the socket, with a method `tell(content)` that sends JSON.
 */
export function connect(path, handlers, options = {}) {
  const socket = new ReconnectingSocket(path, options);
  socket.tell = (content) => socket.send(JSON.stringify(content));
  socket.onopen = () => {
    problem("");
    handlers.open?.();
  };
  socket.onmessage = ({ data }) => {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return problem("The server has sent something that is no JSON.");
    }
    const handle = Object.hasOwn(handlers, event?.type) && handlers[event.type];
    if (handle) handle(event);
    else problem("This page is older than the server. Reload it.");
  };
  socket.ondrop = () => problem("What you have sent last was not delivered: there is no connection.");
  socket.onclose = ({ code, reason, reconnects }) => {
    if (code === 4401) return location.assign(document.body.dataset.signIn);
    if (!reconnects) problem(reason || "The server has ended the connection. Reload the page.");
  };
  socket.onstatuschange = ({ status }) => {
    show(status, WORDS[status]);
    handlers.status?.(status);
  };
  show(socket.status, WORDS[socket.status]);
  return socket;
}

/**
 * Read a stream of server-sent events, and pass each on to the handler with the name of its type.
 *
 * A browser comes back by itself when the connection breaks, and names the last event that it had.
 * It gives up when it gets another answer than a stream, such as that of a proxy whose server is
 * away; then this begins anew. The server sends `signed-out` to somebody it does not know.
 *
 * @param path of the stream.
 * @param handlers functions by the type of event.
 */
export function listen(path, handlers) {
  const source = new EventSource(path);
  const become = (status) => show(status, WORDS[status]);
  become("connecting");
  source.onopen = () => {
    become("open");
    problem("");
  };
  source.onerror = () => {
    become("waiting");
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(listen, 1000 + Math.random() * 4000, path, handlers);
  };
  for (const [type, handle] of Object.entries(handlers)) {
    source.addEventListener(type, ({ data }) => handle(JSON.parse(data)));
  }
  source.addEventListener("signed-out", () => {
    source.close();
    location.assign(document.body.dataset.signIn);
  });
}

function show(state, words) {
  const status = document.querySelector("#status");
  if (!status) return;
  status.dataset.state = state;
  status.textContent = words;
}

/** Say what is wrong; an empty text takes it back. */
export function problem(words) {
  const element = document.querySelector("#problem");
  if (element) element.textContent = words;
}

/** The hue of somebody's colour: the same in every window. */
export function hueOf(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 9973;
  return (hash * 137) % 360;
}
