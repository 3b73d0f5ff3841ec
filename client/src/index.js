export { AGAIN, FINAL, REFUSED, SPREAD, sequel } from "./close-codes.js";
export { ReconnectingSocket } from "./reconnecting-socket.js";
