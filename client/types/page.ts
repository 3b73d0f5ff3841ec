/** Not run, only checked: what pages do, and what they may not do. */

import { ReconnectingSocket, sequel, type ReconnectingCloseEvent, type Sequel } from "../index.js";

const socket = new ReconnectingSocket("/ws/chat/lobby/");
socket.onmessage = ({ data }) => console.log(data);
socket.onclose = (event: ReconnectingCloseEvent) => console.log(event.code, event.reconnects);
socket.addEventListener("statuschange", ({ status, delay }) => {
  if (status === "waiting") console.log(delay);
});
socket.addEventListener("drop", ({ data }) => console.log(data));
socket.ontoken = ({ expiresIn, error }) => console.log(error ?? expiresIn);
socket.refresh("a token");
socket.send("text");
socket.send(new Uint8Array([1]));
socket.close(1000, "enough");

new ReconnectingSocket("/ws/", "one");
new ReconnectingSocket("/ws/", ["one", "two"], { queue: 10 });
new ReconnectingSocket(new URL("https://example.com/ws/"), {
  before: async ({ attempt, close }) => {
    if (attempt > 10 || close?.code === 4000) return false;
    const answer = await fetch("/ticket/", { method: "POST" });
    return `/ws/?ticket=${(await answer.json()).ticket}`;
  },
  reconnects: ({ code }) => (code === 1000 ? true : undefined),
});

// It stands where a WebSocket stood.
function listen(to: Pick<WebSocket, "send" | "close" | "readyState" | "url" | "protocol">) {
  return to.readyState;
}
listen(socket);

const next: Sequel = sequel(1012);
console.log(next);

// @ts-expect-error there is no such option
new ReconnectingSocket("/ws/", { delay: 1 });
// @ts-expect-error it is read-only
socket.status = "open";
// @ts-expect-error no such data
socket.send({ type: "object" });
