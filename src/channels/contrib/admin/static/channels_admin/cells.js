// What tables and cards of the live page are made of. Texts come from clients: they are set with
// textContent only, never as HTML.
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const KEPT = 60; // figures of a line

  const number = new Intl.NumberFormat(document.documentElement.lang || undefined, {maximumFractionDigits: 1});
  const short = new Intl.NumberFormat(document.documentElement.lang || undefined, {
    notation: "compact",
    maximumFractionDigits: 1,
  });

  // A figure as text, with at most a digit after the point.
  function figure(value, unit = "") {
    if (value === null || value === undefined) return "–";
    const scaled = unit === "ms" ? value * 1000 : value;
    const exact = Math.abs(scaled) < 10000;
    const text = exact ? number.format(scaled < 100 ? scaled : Math.round(scaled)) : short.format(scaled);
    return unit ? `${text} ${unit}` : text;
  }

  // A time span in its largest unit.
  function span(seconds) {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  }

  // An element with a text, or with other elements.
  function element(tag, content, attributes = {}) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (Array.isArray(content)) made.append(...content);
    else made.textContent = content;
    return made;
  }

  const cell = (content) => element("td", content);
  const amount = (content) => element("td", content, {class: "number"});

  // Show these rows, of which `make` returns the cells. A cell that has not changed stays, so that a
  // selection, the focus, or a click that is under way is not lost.
  function fill(body, rows, make, none = "") {
    const shown = rows.length || !none ? rows : [null];
    shown.forEach((row, index) => {
      const made = element(body.tagName === "UL" ? "li" : "tr", row === null ? [cell(none)] : make(row));
      const known = body.children[index];
      if (known) patch(known, made);
      else body.append(made);
    });
    while (body.children.length > shown.length) body.lastElementChild.remove();
  }

  function patch(known, made) {
    const nodes = [...made.childNodes];
    nodes.forEach((node, index) => {
      const before = known.childNodes[index];
      if (!before) known.append(node);
      else if (!before.isEqualNode(node)) before.replaceWith(node);
    });
    while (known.childNodes.length > nodes.length) known.lastChild.remove();
  }

  const histories = new Map();

  // The latest values of something as a line, whose top is their largest.
  function draw(svg, name, value) {
    const values = histories.get(name) || [];
    histories.set(name, values);
    values.push(value ?? 0);
    if (values.length > KEPT) values.shift();
    const top = Math.max(...values, 1e-9);
    const points = values.map((each, index) => {
      const x = ((KEPT - values.length + index) * 100) / (KEPT - 1);
      return `${x.toFixed(1)},${(29 - (each / top) * 27).toFixed(1)}`;
    });
    if (!svg.firstChild) {
      svg.setAttribute("viewBox", "0 0 100 30");
      svg.setAttribute("preserveAspectRatio", "none");
      for (const tag of ["polygon", "polyline"]) svg.append(document.createElementNS(SVG, tag));
    }
    const first = points[0].split(",")[0];
    svg.firstChild.setAttribute("points", `${first},30 ${points.join(" ")} 100,30`);
    svg.lastChild.setAttribute("points", points.join(" "));
  }

  globalThis.liveCells = {amount, cell, draw, element, figure, fill, span};
})();
