// The numbers of one server process: shows each snapshot, and what lies between two of them.

import uPlot from "uplot";
import { connect, problem } from "showcase";

const SECONDS = 60;
const TROUBLE = {
  opened: "Connections opened",
  refused: "Connections refused",
  crashed: "Handlers that failed",
  cancelled: "Handlers cancelled after their client had gone",
  unsent: "Sent to clients that had gone",
  stalled: "Clients cut off because they did not read",
};

const find = (selector) => document.querySelector(selector);

let last; // the snapshot before

const rates = chart("#rate-chart");
const opens = chart("#open-chart");

const socket = connect(find("#main").dataset.socket, {
  open: look,
  snapshot(event) {
    // Another process after a reconnection, or the same after a rest.
    const follows = last && last.process.pid === event.process.pid && event.at - last.at < 5;
    show(event, follows ? rate(last, event) : null);
    last = event;
  },
  error: ({ text }) => problem(text),
});

// Nobody looks at a hidden page.
function look() {
  if (socket.status === "open") socket.tell({ type: document.hidden ? "rest" : "look" });
}

document.addEventListener("visibilitychange", look);

const sum = (numbers) => Object.values(numbers).reduce((total, number) => total + number, 0);
const total = (event, name) => sum(event.layers.map((layer) => layer[name]));

function rate(before, event) {
  return (total(event, "delivered") - total(before, "delivered")) / (event.at - before.at);
}

function show(event, perSecond) {
  // Consumers of named channels serve no clients.
  const clients = event.consumers.filter((consumer) => consumer.protocol !== "channel");
  const open = sum(clients.map((consumer) => consumer.open));
  const { pid, host, age } = event.process;
  find("#pid").textContent = pid;
  find("#host").textContent = host;
  find("#age").textContent = duration(age);
  find("#open").textContent = open;
  find("#rate").textContent = perSecond === null ? "–" : Math.round(perSecond);
  find("#pending").textContent = total(event, "pending");
  find("#dropped").textContent = sum(event.layers.map((layer) => sum(layer.dropped)));
  fill("#consumers", event.consumers.map(({ name, protocol, open }) => [name, protocol, open]));
  fill("#layers", event.layers.map((layer) => [layer.alias, layer.delivered, layer.pending, reasons(layer.dropped)]));
  const trouble = { opened: event.opened, ...event.trouble };
  fill("#trouble", Object.entries(TROUBLE).map(([name, words]) => [words, trouble[name] ?? 0]));
  rates.add(event.at, perSecond);
  opens.add(event.at, open);
}

function reasons(dropped) {
  const words = Object.entries(dropped).map(([reason, count]) => `${count} ${reason}`);
  return words.join(", ") || "0";
}

function duration(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${Math.floor(seconds) % 60} s`;
}

function fill(selector, rows) {
  find(selector).replaceChildren(
    ...rows.map(([head, ...cells]) => {
      const row = document.createElement("tr");
      const header = document.createElement("th");
      header.scope = "row";
      header.textContent = head;
      row.append(header);
      for (const cell of cells) row.insertCell().textContent = cell;
      return row;
    }),
  );
}

// A line over the last minute, that begins at zero.
function chart(selector) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const place = find(selector);
  const size = () => ({ width: place.clientWidth, height: place.clientHeight });
  const clock = new Intl.DateTimeFormat([], { timeStyle: "medium" });
  const axis = {
    stroke: () => colour("--soft"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { show: false },
  };
  const columns = [[], []];
  const plot = new uPlot(
    {
      ...size(),
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { range: (_, __, end) => ((last) => [last - SECONDS, last])(end ?? Date.now() / 1000) },
        y: { range: (_, __, most) => [0, Math.max(5, (most ?? 0) * 1.2)] },
      },
      axes: [
        { ...axis, size: 26, space: 90, values: (_, times) => times.map((time) => clock.format(time * 1000)) },
        { ...axis, size: 44 },
      ],
      series: [
        {},
        { width: 2, stroke: () => colour("--accent"), fill: () => colour("--tint"), points: { show: false } },
      ],
    },
    columns,
    place,
  );
  new ResizeObserver(() => plot.setSize(size())).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw());
  return {
    add(at, value) {
      columns[0].push(at);
      columns[1].push(value);
      while (columns[0][0] < at - SECONDS) for (const column of columns) column.shift();
      plot.setData(columns);
    },
  };
}
