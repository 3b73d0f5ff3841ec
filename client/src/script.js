/** For pages that load a plain script: one global name. */

import { ReconnectingSocket } from "./reconnecting-socket.js";

globalThis.ReconnectingSocket = ReconnectingSocket;
