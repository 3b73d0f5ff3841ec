// The devices: shows their state as the server tells it, and sends what somebody wants of them.

import { connect, problem } from "showcase";

// The server goes on for a minute after it was last asked.
const ASK_MS = 5000;
// A device that is missed for longer is gone.
const GONE_MS = 10_000;
// Between two wishes while a slider is moved.
const PACE_MS = 100;
// The line of a thermometer: how often it goes on, its points, and the least height in degrees.
const TREND_MS = 1000;
const TREND = 60;
const LEAST_SPAN = 2;

const find = (selector) => document.querySelector(selector);
const cards = new Map(); // by the name of the device

const socket = connect(find("#main").dataset.socket, {
  open: ask,
  state({ broker, devices, rubbish }) {
    const words = broker.is_there
      ? `Broker: ${broker.kind} on ${broker.address}`
      : `The broker (${broker.kind} on ${broker.address}) is away. Waiting for it…`;
    if (find("#broker").textContent !== words) find("#broker").textContent = words;
    find("#rubbish").textContent = rubbish;
    for (const device of devices) show(device, broker.is_there);
    const names = new Set(devices.map((device) => device.name));
    for (const [name, card] of cards) if (!names.has(name)) miss(name, card);
  },
  error: ({ text }) => problem(text),
});

// Nobody looks at a hidden page.
function ask() {
  if (socket.status === "open") socket.tell({ type: document.hidden ? "rest" : "watch" });
}

setInterval(ask, ASK_MS);
setInterval(() => {
  for (const card of cards.values()) if (card.dataset.kind === "thermometer") continueLine(card);
}, TREND_MS);
document.addEventListener("visibilitychange", ask);

function show({ name, online, state }, isKnown) {
  let card = cards.get(name);
  if (card && card.dataset.kind !== state.kind) {
    card.remove();
    card = undefined;
  }
  if (!card) card = add(name, state.kind);
  clearTimeout(card.end);
  card.end = undefined;
  const isOnline = online && isKnown;
  showOnline(card, isOnline);
  if (state.kind === "lamp") showLamp(card, state, isOnline);
  else showThermometer(card, state);
}

function showOnline(card, isOnline) {
  card.classList.toggle("offline", !isOnline);
  card.querySelector(".online").textContent = isOnline ? "Online" : "Offline";
}

// It is not there any more, or the broker has begun anew, and the device is about to come back.
function miss(name, card) {
  showOnline(card, false);
  card.end ??= setTimeout(() => {
    card.remove();
    cards.delete(name);
  }, GONE_MS);
}

function add(name, kind) {
  const card = find(`template#${kind}`).content.firstElementChild.cloneNode(true);
  card.dataset.kind = kind;
  card.ariaLabel = name;
  card.querySelector(".name").textContent = name;
  const [after] = [...cards].filter(([other]) => other > name).sort(([a], [b]) => (a < b ? -1 : 1));
  find("#devices").insertBefore(card, after?.[1] ?? null);
  cards.set(name, card);
  if (kind === "lamp") steer(name, card);
  return card;
}

function showLamp(card, { on, brightness }, isOnline) {
  const [box, slider] = card.querySelectorAll("input");
  for (const input of [box, slider]) input.disabled = !isOnline;
  box.checked = on;
  // Who moves the slider is ahead of the lamp.
  if (!slider.matches(":active")) slider.value = brightness;
  card.querySelector("output").textContent = `${brightness} %`;
  card.querySelector(".bulb").style.setProperty("--level", on ? brightness : 0);
}

function steer(name, card) {
  const [box, slider] = card.querySelectorAll("input");
  let due;
  const tell = () => {
    due = undefined;
    const [on, brightness] = [box.checked, Number(slider.value)];
    problem("");
    socket.tell({ type: "set", device: name, on, brightness });
  };
  box.addEventListener("change", tell);
  slider.addEventListener("input", () => (due ??= setTimeout(tell, PACE_MS)));
}

function showThermometer(card, { celsius }) {
  card.querySelector(".celsius").textContent = `${celsius.toFixed(1)} °C`;
  card.celsius = celsius;
}

function continueLine(card) {
  const values = (card.values ??= []);
  values.push(card.celsius);
  if (values.length > TREND) values.shift();
  const middle = (Math.min(...values) + Math.max(...values)) / 2;
  const span = Math.max(LEAST_SPAN, Math.max(...values) - Math.min(...values));
  const points = values.map((value, index) => {
    const x = 100 - ((values.length - 1 - index) * 100) / (TREND - 1);
    return `${x.toFixed(1)},${(20 - ((value - middle) / span) * 36).toFixed(1)}`;
  });
  card.querySelector("polyline").setAttribute("points", points.join(" "));
}
