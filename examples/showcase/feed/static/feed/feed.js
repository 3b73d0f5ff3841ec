// The chart: keeps the last minute of what comes through the WebSocket, and draws it once a frame.

import uPlot from "uplot";
import { connect, problem } from "showcase";

// The server goes on for 12 seconds after it was last asked.
const ASK_MS = 5000;
// Longer without an update, and the page says so.
const SILENCE_MS = 3000;
const TEXT_MS = 250;
// The seconds over which updates are counted.
const RATE_S = 5;

const find = (selector) => document.querySelector(selector);
const button = find("#pause");

let seconds = 60;
let rows = [];
let chart;
// Columns, as the chart wants them: the times, then the values of each series.
let columns = [];
let last; // the number of the last update
let missed = 0;
let heard = 0; // when the last update came
let isPaused = false;

const socket = connect(find("#main").dataset.socket, {
  open: ask,
  series(event) {
    seconds = event.seconds;
    if (!chart) build(event.names);
  },
  history({ updates }) {
    columns = [updates.map(([, at]) => at / 1000)];
    for (const index of rows.keys()) columns.push(updates.map(([, , values]) => values[index]));
    // What the page did not watch is not missed.
    last = updates.at(-1)?.[0];
    draw();
  },
  update({ update: [number, at, values] }) {
    if (isPaused) return; // It was on its way.
    // A smaller number comes from a feed that has begun anew.
    if (last !== undefined && number > last + 1) missed += number - last - 1;
    last = number;
    heard = performance.now();
    columns[0].push(at / 1000);
    values.forEach((value, index) => columns[index + 1].push(value));
    const old = columns[0].findIndex((time) => time >= at / 1000 - seconds);
    if (old > 0) for (const column of columns) column.splice(0, old);
    draw();
  },
  error: ({ text }) => problem(text),
});

// ---- What is asked for ----------------------------------------------------------------------

// Nobody looks at a hidden page, so it asks for nothing.
function ask() {
  if (!isPaused && !document.hidden && socket.status === "open") socket.tell({ type: "watch" });
}

setInterval(ask, ASK_MS);

document.addEventListener("visibilitychange", () => {
  if (document.hidden && socket.status === "open") socket.tell({ type: "pause" });
  ask();
});

button.addEventListener("click", () => {
  isPaused = !isPaused;
  button.textContent = isPaused ? "Continue" : "Pause";
  if (!isPaused) ask();
  else if (socket.status === "open") socket.tell({ type: "pause" });
});

// ---- The chart and the table ----------------------------------------------------------------

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const minuteUntil = (end) => [end - seconds, end];

function build(names) {
  columns = Array.from({ length: names.length + 1 }, () => []);
  rows = names.map(addRow);
  const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
  const clock = new Intl.DateTimeFormat([], { timeStyle: "medium" });
  const place = find("#chart");
  const size = () => ({ width: place.clientWidth, height: place.clientHeight });
  const options = {
    ...size(),
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { range: (_, __, end) => minuteUntil(end ?? Date.now() / 1000) } },
    axes: [
      { ...axis, size: 30, space: 90, values: (_, times) => times.map((time) => clock.format(time * 1000)) },
      { ...axis, size: 48 },
    ],
    series: [
      {},
      ...names.map((label, index) => ({
        label,
        width: 2,
        stroke: () => colour(`--series-${index}`),
        points: { show: false },
      })),
    ],
  };
  chart = new uPlot(options, columns, place);
  new ResizeObserver(() => chart.setSize(size())).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw());
}

function addRow(name, index) {
  const row = find("template#row").content.firstElementChild.cloneNode(true);
  row.querySelector(".name").textContent = name;
  row.style.setProperty("--colour", `var(--series-${index})`);
  const box = row.querySelector("input");
  box.addEventListener("change", () => chart.setSeries(index + 1, { show: box.checked }));
  find("#series").append(row);
  return row;
}

let isDue = false;

// However many updates come between two frames, they are drawn once.
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    chart.setData(columns);
  });
}

// Numbers that change twenty times a second cannot be read.
setInterval(() => {
  const times = columns[0] ?? [];
  const end = times.at(-1);
  const before = times.findLastIndex((time) => time <= end - RATE_S);
  const isSilent = performance.now() - heard > SILENCE_MS;
  find("#rate").textContent = isSilent ? "0" : Math.round((times.length - 1 - before) / RATE_S);
  find("#number").textContent = last ?? "–";
  find("#missed").textContent = missed;
  rows.forEach((row, index) => {
    const values = columns[index + 1];
    if (!values.length) return;
    row.querySelector(".price").textContent = values.at(-1).toFixed(2);
    const change = (values.at(-1) / values[0] - 1) * 100;
    row.querySelector(".change").textContent = `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(1)} %`;
  });
  let note = "";
  if (isPaused) note = "Paused. The server sends nothing to this page.";
  else if (isSilent && socket.status === "open") note = "Waiting for data…";
  if (find("#note").textContent !== note) find("#note").textContent = note;
}, TEXT_MS);
