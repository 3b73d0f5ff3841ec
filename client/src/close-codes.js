/**
 * What a client does when a WebSocket has closed, by the code. The server side has the same table:
 * `channels.close_codes`.
 */

/** The connection is not made again. */
export const FINAL = "final";
/** Come back after a delay that grows with each attempt. */
export const AGAIN = "again";
/** Come back at some time within the spread: all clients of a process were told so at once. */
export const SPREAD = "spread";
/** Something that the page has sent was refused. Come back, unless that goes on. */
export const REFUSED = "refused";

const CODES = {
  1000: FINAL, // the server has finished
  1002: REFUSED, // protocol error
  1003: REFUSED, // unsupported data
  1007: REFUSED, // invalid payload
  1008: FINAL, // policy violation
  1009: REFUSED, // message too big
  1010: FINAL, // extension missing
  1012: SPREAD, // the server restarts
  1013: SPREAD, // the server is overloaded, or this client has read too slowly
  4419: AGAIN, // what the client has shown has expired: it comes with something fresh
  4429: REFUSED, // over a limit
};

/** What follows a close with `code`. */
export function sequel(code) {
  return CODES[code] || (code >= 4400 && code < 4500 ? FINAL : AGAIN);
}
