// The page of the game: draws what the server says, and tells it where the player wants to go.

import { connect, hueOf, problem } from "showcase";

const SEND_EVERY_MS = 60; // at most; the server ignores what comes much faster
const HERE_EVERY_MS = 1000;
const SILENT_AFTER_MS = 4000;
const TRAIL = 10; // states that a ship's trail reaches back

const find = (selector) => document.querySelector(selector);
const canvas = find("#arena");
const pen = canvas.getContext("2d");

let player, size, room, stepMs; // from the server: who this is, and what the game is like
let playing = false;
let states = []; // the last ones, the newest first
let now; // the newest
let arrivedAt = 0; // when `now` came
let frame; // the next that is drawn

// ---- The server -----------------------------------------------------------------------------

const socket = connect(find("#main").dataset.socket, {
  welcome(event) {
    player = event.player;
    size = event.size;
    room = event.room;
    stepMs = 1000 / event.rate;
    arrivedAt = performance.now();
    if (playing) tellDirection();
    showButtons();
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(draw);
  },
  state(event) {
    now = event;
    states = [event, ...states.slice(0, TRAIL)];
    arrivedAt = performance.now();
    if (pressed) steerTo(pressed);
    showScores();
  },
  error: (event) => problem(event.text),
  status: showButtons,
});

// ---- Steering -------------------------------------------------------------------------------

const KEYS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
  KeyA: [-1, 0],
  KeyD: [1, 0],
  KeyW: [0, -1],
  KeyS: [0, 1],
};

const held = new Set(); // keys
let pressed; // where a finger or the mouse is
let direction = [0, 0];
let told = [0, 0];
let later; // timer

function steer(dx, dy) {
  direction = [dx, dy];
  if (!later && playing && String(direction) !== String(told)) tellDirection();
}

function tellDirection() {
  if (socket.status !== "open") return; // What is pressed meanwhile means nothing afterwards.
  told = direction;
  socket.tell({ type: "steer", dx: told[0], dy: told[1] });
  later = setTimeout(() => {
    later = undefined;
    steer(...direction);
  }, SEND_EVERY_MS);
}

function steerByKeys() {
  const sum = [...held].map((code) => KEYS[code]).reduce(([x, y], [a, b]) => [x + a, y + b], [0, 0]);
  steer(Math.sign(sum[0]), Math.sign(sum[1]));
}

/** Fly to a place on the canvas, given as parts of its width and height. */
function steerTo([x, y]) {
  const own = now?.players.find(({ id }) => id === player);
  if (!own) return;
  const [dx, dy] = [x * size - own.x, y * size - own.y];
  const distance = Math.hypot(dx, dy);
  if (distance < 15) steer(0, 0);
  else steer(...[dx, dy].map((part) => Math.round((part / distance) * 20) / 20));
}

function letGo() {
  held.clear();
  pressed = undefined;
  steer(0, 0);
}

canvas.addEventListener("keydown", (event) => {
  if (!Object.hasOwn(KEYS, event.code) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault(); // Arrow keys would scroll the page.
  held.add(event.code);
  steerByKeys();
});
canvas.addEventListener("keyup", (event) => {
  if (held.delete(event.code)) steerByKeys();
});
canvas.addEventListener("blur", letGo);

function point(event) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  pressed = [(event.clientX - left) / width, (event.clientY - top) / height];
  steerTo(pressed);
}
canvas.addEventListener("pointerdown", (event) => {
  if (!playing) return;
  canvas.setPointerCapture(event.pointerId);
  point(event);
});
canvas.addEventListener("pointermove", (event) => pressed && point(event));
for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, letGo);

// ---- Playing or watching --------------------------------------------------------------------

find("#play").addEventListener("click", () => {
  playing = true;
  told = direction = [0, 0];
  tellDirection();
  showButtons();
  canvas.focus();
});

find("#leave").addEventListener("click", () => {
  playing = false;
  socket.tell({ type: "leave" });
  letGo();
  showButtons();
  find("#play").focus();
});

function showButtons() {
  find("#play").hidden = playing || !player;
  find("#play").disabled = socket.status !== "open";
  find("#leave").hidden = !playing;
  find(".arena").classList.toggle("playing", playing);
}

// The game forgets players of whom it hears nothing, and takes back those of whom it hears again. A
// page that nobody sees tells nothing.
setInterval(() => {
  if (!playing || document.hidden || socket.status !== "open") return;
  if (String(direction) === "0,0") socket.tell({ type: "here" });
  else tellDirection();
  complain();
}, HERE_EVERY_MS);

let complaint = "";

function complain() {
  const silent = performance.now() - arrivedAt > SILENT_AFTER_MS;
  const full = now?.players.length >= room && now.players.every(({ id }) => id !== player);
  const words = silent
    ? "The game does not answer."
    : full
      ? "The arena is full. You come in when somebody leaves."
      : "";
  if (words !== complaint) problem((complaint = words));
}

// ---- Scores, as text ------------------------------------------------------------------------

let shown = "";
let known = new Map(); // names and points

function showScores() {
  const scores = now.players
    .map(({ id, name, points }) => ({ id, name, points }))
    .sort((a, b) => b.points - a.points || a.name.localeCompare(b.name));
  if (JSON.stringify(scores) === shown) return;
  shown = JSON.stringify(scores);
  const items = scores.map(({ id, name, points }) => {
    const item = document.createElement("li");
    item.className = id === player ? "own" : "";
    item.style.setProperty("--hue", hueOf(name));
    item.textContent = id === player ? `${name} (you)` : name;
    const count = document.createElement("span");
    count.textContent = ` ${counted(points)}`;
    item.append(count);
    return item;
  });
  if (!items.length) {
    const item = document.createElement("li");
    item.className = "none";
    item.textContent = "Nobody plays. Be the first!";
    items.push(item);
  }
  find("#scores").replaceChildren(...items);
  tellNews(new Map(scores.map((score) => [score.id, score])));
}

function tellNews(latest) {
  const news = [];
  for (const [id, { name, points }] of latest) {
    if (id === player) {
      if (points && points !== known.get(id)?.points) news.push(`You have ${counted(points)}.`);
    } else if (!known.has(id)) news.push(`${name} plays.`);
  }
  for (const [id, { name }] of known) {
    if (id !== player && !latest.has(id)) news.push(`${name} has left.`);
  }
  if (news.length) find("#news").textContent = news.join(" ");
  known = latest;
}

const counted = (points) => `${points} ${points === 1 ? "point" : "points"}`;

// ---- Drawing --------------------------------------------------------------------------------

function draw(time) {
  if (socket.status === "open") frame = requestAnimationFrame(draw);
  const { clientWidth } = canvas;
  const scale = clientWidth * devicePixelRatio;
  if (canvas.width !== Math.round(scale)) canvas.width = canvas.height = Math.round(scale);
  pen.setTransform(canvas.width / size, 0, 0, canvas.width / size, 0, 0);
  pen.clearRect(0, 0, size, size);
  const style = getComputedStyle(document.body);
  const colour = (name) => style.getPropertyValue(name);
  pen.fillStyle = colour("--line");
  for (let x = 40; x < size; x += 80) for (let y = 40; y < size; y += 80) pen.fillRect(x, y, 3, 3);
  if (!now) return;
  pen.fillStyle = "oklch(72% 0.16 70)";
  now.stars.forEach(([x, y]) => drawStar(x, y));
  // Between the last two states, so that ships glide: what is shown is one step old.
  const part = Math.min(1, Math.max(0, (time - arrivedAt) / stepMs));
  const label = Math.max(15, (13 * size) / clientWidth);
  for (const ship of now.players) {
    const places = states.map(({ players }) => players.find(({ id }) => id === ship.id) ?? ship);
    const trail = places.slice(1).map((from, index) => {
      const to = places[index];
      return [from.x + (to.x - from.x) * part, from.y + (to.y - from.y) * part];
    });
    const [x, y] = trail[0] ?? [ship.x, ship.y];
    pen.fillStyle = `oklch(60% 0.15 ${hueOf(ship.name)})`;
    for (const [index, [x, y]] of trail.entries()) drawDot(x, y, 16 - index, 0.25 - index / 50);
    drawDot(x, y, 16, 1);
    if (ship.id === player) drawRing(x, y, colour("--ink"));
    pen.fillStyle = colour("--ink");
    pen.font = `${label}px system-ui, sans-serif`;
    pen.textAlign = "center";
    const middle = Math.min(size - 50, Math.max(50, x)); // so that all of the name can be read
    pen.fillText(ship.name, middle, y < 60 ? y + 24 + label : y - 26, 200);
  }
}

function drawStar(x, y) {
  pen.beginPath();
  for (let corner = 0; corner < 10; corner++) {
    const radius = corner % 2 ? 5 : 12;
    const angle = (corner * Math.PI) / 5 - Math.PI / 2;
    pen.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  pen.fill();
}

function drawDot(x, y, radius, alpha) {
  pen.globalAlpha = alpha;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
  pen.globalAlpha = 1;
}

function drawRing(x, y, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 3;
  pen.beginPath();
  pen.arc(x, y, 20, 0, 2 * Math.PI);
  pen.stroke();
}
