// The live page of the admin: asks for what is to be seen, shows what comes, disconnects.
(() => {
  "use strict";

  const {amount, cell, draw, element, figure, fill, span} = globalThis.liveCells;
  const root = document.getElementById("live");
  const at = (id) => document.getElementById(`live-${id}`);
  const words = root.dataset;
  const mayDisconnect = "mayDisconnect" in words;
  const ROWS = 50;
  const FARTHEST = 450;
  const TYPING = 300; // milliseconds after a key
  const OLD = 10000; // milliseconds, beside twice the pause, without figures after which these are old

  const wanted = {text: "", group: "", sort: "age", ascending: false, offset: 0};
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new globalThis.ReconnectingSocket(`${scheme}//${location.host}${words.url}`);
  let failures = 0;
  let old;

  const watch = () => {
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({type: "watch", page: words.page, ...wanted, paused: document.hidden}));
  };

  function want(changes) {
    Object.assign(wanted, {offset: 0}, changes);
    for (const button of root.querySelectorAll("[data-sort]")) {
      const chosen = button.dataset.sort === wanted.sort;
      const direction = wanted.ascending ? "ascending" : "descending";
      button.closest("th").setAttribute("aria-sort", chosen ? direction : "none");
    }
    watch();
  }

  // What comes

  socket.onopen = () => {
    failures = 0;
    at("help").hidden = true;
    watch();
  };

  socket.onclose = ({code}) => {
    failures += 1;
    if (code !== 1012 && failures >= 3) at("help").hidden = false;
  };

  socket.onstatuschange = ({status, reason}) => {
    root.dataset.status = status;
    at("status").textContent = status === "failed" && reason ? `${words.failed} (${reason})` : words[status];
  };

  socket.onmessage = ({data}) => {
    const message = JSON.parse(data);
    if (message.type === "figures") {
      clearTimeout(old);
      old = setTimeout(() => say(words.old), OLD + 2000 * message.pause);
      show(message);
    } else if (message.type === "disconnected") {
      say(`${words.done} ${message.value}`);
    } else if (message.type === "error") {
      say(`${words.notDone} ${message.detail}`);
    } else if (message.type === "unreachable") {
      say(words.old);
    }
    if (message.type === "figures" || message.type === "unreachable") socket.send('{"type":"seen"}');
  };

  function say(text) {
    at("note").textContent = text;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => {
      at("note").textContent = "";
    }, 8000);
  }

  function show(found) {
    for (const card of root.querySelectorAll("[data-total]")) {
      const {total, unit, bad} = card.dataset;
      const value = found.totals[total];
      const scaled = unit === "ms" ? value * 1000 : value;
      card.querySelector("dd").textContent = figure(value, unit);
      card.classList.toggle("bad", bad !== undefined && scaled >= Number(bad));
      draw(card.querySelector("svg"), total, value);
    }
    for (const section of root.querySelectorAll("[data-when-any]")) {
      section.hidden = !found[section.dataset.whenAny].length;
    }
    const hidden = found.totals.processes - found.processes.length;
    fill(at("process-rows"), found.processes, processCells);
    at("processes").textContent = hidden > 0 ? `${words.more} ${hidden}` : "";
    showConnections(found.connections);
    fill(at("user-rows"), found.users, userCells, words.none);
    fill(at("group-rows"), found.groups, groupCells, words.none);
    fill(at("consumer-rows"), found.consumers, countCells, words.none);
    fill(at("dropped-rows"), found.dropped, countCells, words.none);
    fill(at("limit-rows"), found.limits, countCells, words.none);
    fill(at("slow-rows"), found.slow, slowCells);
    fill(at("crash-rows"), found.crashes, crashParts);
  }

  function showConnections({total, offset, rows}) {
    const last = offset + rows.length;
    at("found").textContent = rows.length ? `${offset + 1}–${last} / ${figure(total)}` : figure(total);
    at("back").disabled = offset === 0;
    at("next").disabled = last >= total || offset >= FARTHEST;
    fill(at("connection-rows"), rows, connectionCells, words.none);
  }

  // Rows

  function processCells(process) {
    const {age, connections, received, sent, layer, jobs, dropped, slow, lag} = process;
    const kind = process.draining ? `${process.kind}, ${words.draining}` : process.kind;
    return [
      element("th", `${process.host} ${process.pid}`, {scope: "row", title: process.version}),
      cell(kind),
      amount(span(age)),
      ...[connections, received, sent, layer, jobs, dropped, slow].map((each) => amount(figure(each))),
      amount(figure(lag, "ms")),
      amount(`${process.busy}/${process.threads}`),
    ];
  }

  // In a second, and on demand how many since somebody looks.
  const rate = (value, total) => element("td", figure(value), {class: "number", title: figure(total)});

  const person = (row) => row.username || row.user || words.anonymous;

  function connectionCells(row) {
    const groups = row.groups.map((name) => filter(name, {group: name}));
    if (row.more_groups) groups.push(element("span", `+${row.more_groups}`));
    const what = `${person(row)}, ${row.path}, ${row.address}`;
    return [
      cell(row.user ? [filter(person(row), {text: row.username || row.user})] : person(row)),
      cell([element("code", row.path, {title: row.path})]),
      element("td", row.consumer.split(".").pop(), {title: row.consumer}),
      cell(row.address),
      element("td", groups, {class: "live-groups"}),
      amount(span(row.age)),
      rate(row.receiving, row.received),
      rate(row.sending, row.sent),
      amount(figure(row.unsent, "B")),
      amount(figure(row.mailbox)),
      amount(row.waiting ? span(row.waiting) : "–"),
      end(what, row.channel && {by: "channel", value: row.channel}),
    ];
  }

  function userCells([key, name, count]) {
    const shown = name ? [filter(name, {text: name}), element("span", ` ${key}`, {class: "quiet"})] : [filter(key, {text: key})];
    return [cell(shown), amount(figure(count)), end(name || key, {by: "user", value: key})];
  }

  function groupCells([layer, name, members]) {
    const shown = [filter(name, {group: name})];
    if (layer !== "default") shown.push(element("span", ` ${layer}`, {class: "quiet"}));
    return [cell(shown), amount(figure(members)), end(name, {by: "group", value: name, layer})];
  }

  function slowCells(row) {
    const what = `${person(row)}, ${row.path}, ${row.address}`;
    return [
      cell(person(row)),
      cell([element("code", row.path)]),
      cell(row.address),
      amount(span(row.waiting)),
      amount(figure(row.unsent, "B")),
      end(what, row.channel && {by: "channel", value: row.channel}),
    ];
  }

  const countCells = ([name, count]) => [cell(name), amount(figure(count))];

  function crashParts([when, consumer, path, error, where]) {
    const date = new Date(when * 1000);
    return [
      element("time", date.toLocaleString(document.documentElement.lang || undefined), {datetime: date.toISOString()}),
      element("span", ` ${consumer} `),
      element("code", path),
      element("strong", error),
      element("span", where, {class: "quiet"}),
    ];
  }

  // A word that narrows the list of connections.
  function filter(text, changes) {
    const key = JSON.stringify(changes);
    const button = element("button", text, {type: "button", class: "live-filter", title: text, "data-key": key});
    button.addEventListener("click", () => {
      const form = at("search");
      for (const [name, value] of Object.entries({text: "", group: "", ...changes})) form.elements[name].value = value;
      want({text: "", group: "", ...changes});
      form.scrollIntoView({block: "nearest"});
    });
    return button;
  }

  // Disconnecting

  function end(what, target) {
    if (!mayDisconnect || !target) return cell("");
    const label = `${words.disconnect}: ${what}`;
    const attributes = {type: "button", class: "live-end", title: label, "aria-label": label};
    const button = element("button", "✕", {...attributes, "data-key": JSON.stringify(target)});
    button.addEventListener("click", () => confirmEnd(what, target));
    return element("td", [button], {class: "number"});
  }

  function confirmEnd(what, target) {
    const dialog = at("ask");
    at("ask-what").textContent = what;
    dialog.returnValue = "";
    dialog.onclose = () => {
      if (dialog.returnValue === "yes") socket.send(JSON.stringify({type: "disconnect", ...target}));
    };
    dialog.showModal();
  }

  // What people do

  let typing;
  at("search").addEventListener("input", ({currentTarget: {elements}}) => {
    clearTimeout(typing);
    typing = setTimeout(() => want({text: elements.text.value, group: elements.group.value}), TYPING);
  });
  at("search").addEventListener("submit", (event) => event.preventDefault());
  for (const button of root.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      const {sort} = button.dataset;
      want({sort, ascending: wanted.sort === sort && !wanted.ascending});
    });
  }
  at("back").addEventListener("click", () => want({offset: Math.max(wanted.offset - ROWS, 0)}));
  at("next").addEventListener("click", () => want({offset: Math.min(wanted.offset + ROWS, FARTHEST)}));
  document.addEventListener("visibilitychange", watch);
  want({});
})();
