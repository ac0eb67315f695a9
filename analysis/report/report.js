"use strict";
const state = JSON.parse(document.getElementById("state").textContent);
const split = state.split;
const $ = (id) => document.getElementById(id);
const NEUTRAL = "#000000";
const QUALITIES = [
  { name: "accuracy", title: "accuracy (%)", better: 1 },
  { name: "nll", title: "NLL (nats)", better: -1 },
];
const names = Object.keys(state.trials.varied);
const trials = state.trials.varied.key.map((_, i) => {
  const row = { ...state.trials.same };
  for (const name of names) row[name] = state.trials.varied[name][i];
  row.place = `${row.dataset} · ${row.model}`;
  return row;
});
const byKey = new Map(trials.map((row) => [row.key, row]));
let view = null, visible = [], order = [], at = -1, all = false;

const dark = () => document.documentElement.dataset.theme === "dark";
// On a dark page the neutral colour is light, and the others are lightened by a third.
function colour(name) {
  const look = state.looks[name];
  if (!look || !dark()) return look;
  if (look === NEUTRAL) return "#e6e6e3";
  const parts = [1, 3, 5].map((at) => parseInt(look.slice(at, at + 2), 16));
  return `rgb(${parts.map((part) => Math.round(part + (255 - part) / 3)).join(",")})`;
}
const format = (value, digits = 4) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(digits)).toString().replace("-", "−") : String(value ?? "–");
const quality = () => QUALITIES.find((q) => q.name === $("quality").value) ?? QUALITIES[0];

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function config() {
  const ink = dark() ? "#e6e6e3" : "#1a1a1a", line = dark() ? "#3a3a38" : "#e2e2de";
  const axis = { labelColor: ink, titleColor: ink, domainColor: ink, tickColor: ink, gridColor: line };
  return { background: "transparent", font: "system-ui, sans-serif", axis, title: { color: ink }, view: { stroke: null } };
}

// Not dominated by validation connectivity and quality; the deep ensembles are what the others are compared with.
function front(rows) {
  const { name, better } = quality();
  const score = (row) => (row[`val_${name}`] == null ? null : better * row[`val_${name}`]);
  const able = rows.filter((row) => row.construction !== "deep" && row.val_q != null && score(row) != null);
  able.sort((a, b) => b.val_q - a.val_q || score(b) - score(a));
  const kept = [];
  for (const row of able) if (!kept.length || score(row) > score(kept[kept.length - 1])) kept.push(row);
  return kept;
}

function filtered() {
  const wanted = new Set([...document.querySelectorAll("input[name=construction]:checked")].map((box) => box.value));
  const setting = $("setting").value, role = $("role").value;
  return trials.filter((row) => wanted.has(row.construction) && row.place === setting && (!role || row.role === role));
}

function datasets() {
  const { name } = quality(), field = `${split}_${name}`;
  const points = visible.filter((row) => row.q != null && row[field] != null).map((row) => ({ ...row, x: row.q, y: row[field] }));
  const deep = state.deep[$("setting").value]?.[name];
  const shown = new Set(visible.map((row) => row.construction));
  const cells = name === "accuracy" ? state.cells.filter((cell) => cell.setting === $("setting").value && shown.has(cell.construction)) : [];
  const line = front(visible).filter((row) => row[field] != null).map((row) => ({ x: row.q, y: row[field] }));
  // On the split shown the front by validation may dip: the line keeps what is not dominated there.
  line.sort((a, b) => b.x - a.x || quality().better * (b.y - a.y));
  const step = [];
  for (const point of line) if (!step.length || quality().better * (point.y - step[step.length - 1].y) > 0) step.push(point);
  return { points, deep: deep == null ? [] : [{ y: deep }], cells, front: step.reverse() };
}

// What a construction does not have is not said of it.
function tip(fields, sanitize) {
  const rows = Object.entries(fields).filter(([, value]) => value !== "null");
  return `<table>${rows.map(([name, value]) => `<tr><td class="key">${sanitize(name)}</td><td>${sanitize(value)}</td></tr>`).join("")}</table>`;
}

// Failed trials would press all others into one line: beyond Tukey's far fence they are counted, not drawn.
function fence(points) {
  const { better } = quality(), scores = points.map((point) => better * point.y).sort((a, b) => a - b);
  const at = (share) => scores[Math.floor(share * (scores.length - 1))];
  return at(0.25) - 3 * Math.max(at(0.75) - at(0.25), 0.01 * Math.abs(at(0.5)));
}

async function draw() {
  const spec = structuredClone(state.spec);
  spec.datasets = datasets();
  if (!$("failed").checked) {
    const { points, cells } = spec.datasets, low = fence(points), good = (point) => quality().better * point.y >= low;
    spec.datasets.points = points.filter(good);
    spec.datasets.cells = cells.filter(good);
    const less = points.length - spec.datasets.points.length;
    if (less) $("count").textContent += ` Not drawn, for they failed: ${less}.`;
  }
  spec.layer = spec.layer.filter((layer) => spec.datasets[layer.data.name].length); // an empty one has no extent
  const range = Object.keys(state.looks).map(colour);
  for (const layer of spec.layer) {
    const { x, y, color } = layer.encoding;
    if (x) x.axis.title = `${split} connectivity q̄ (accuracy points)`;
    if (y) y.title = `${split} ${quality().title}`;
    if (color?.scale) color.scale.range = range;
    if (color?.value) color.value = colour("deep") ?? (dark() ? "#e6e6e3" : "#1a1a1a");
  }
  const options = { actions: false, renderer: "svg", config: config(), tooltip: { theme: dark() ? "dark" : "light", formatTooltip: tip } };
  view = (await vegaEmbed("#chart", spec, options)).view;
  view.addEventListener("click", (_, item) => item?.datum?.key && open(item.datum.key));
}

function refresh() {
  visible = filtered();
  order = visible.filter((row) => row.q != null).sort((a, b) => a.q - b.q);
  at = -1;
  const hidden = trials.length - visible.length;
  $("count").textContent = `${visible.length} trials shown` + (hidden ? `, ${hidden} filtered out` : "") + ".";
  list();
  return draw();
}

function list() {
  const best = new Set(front(visible).map((row) => row.key)), { name, better } = quality(), field = `${split}_${name}`;
  const score = (row) => (row[field] == null ? -Infinity : better * row[field]);
  const rows = [...visible].sort((a, b) => best.has(b.key) - best.has(a.key) || score(b) - score(a));
  const columns = ["construction", "role", "seed", ...state.trials.searched, "q", ...[field, `${split}_member_mean_accuracy`].filter((n) => names.includes(n))];
  const head = element("thead"), body = element("tbody"), headings = element("tr");
  for (const column of ["trial", ...columns]) headings.append(element("th", column === "q" ? `${split} q̄` : column, { scope: "col" }));
  head.append(headings);
  for (const row of rows.slice(0, all ? rows.length : 25)) {
    const line = element("tr", undefined, best.has(row.key) ? { class: "front" } : {});
    const cell = element("td"), button = element("button", row.key.slice(0, 8), { type: "button", "aria-label": `Open trial ${row.key}` });
    button.addEventListener("click", () => open(row.key, button));
    cell.append(button);
    line.append(cell, ...columns.map((column) => element("td", format(row[column]))));
    body.append(line);
  }
  $("list").replaceChildren($("list").caption, head, body);
  $("more").hidden = all || rows.length <= 25;
  $("more").textContent = `Show all ${rows.length}`;
}

function plot(holder, title, spec) {
  const figure = element("figure", undefined, { style: "margin:0" }), place = element("div");
  figure.append(element("figcaption", title), place);
  holder.append(figure);
  const whole = { $schema: state.spec.$schema, width: "container", height: 190, autosize: { type: "fit", contains: "padding" }, ...spec };
  return vegaEmbed(place, whole, { actions: false, renderer: "svg", config: config() });
}

function pathPlot(holder, paths, look) {
  const rows = Object.entries(paths).flatMap(([policy, points]) =>
    points.flatMap(([alpha, average, worst]) => [{ policy, alpha, y: average, of: "mean" }, { policy, alpha, y: worst, of: "worst pair" }]));
  return plot(holder, `Accuracy along the paths between members (%), ${split}: mean of pairs, and worst pair (thin)`, {
    data: { values: rows }, mark: { type: "line", color: look },
    encoding: {
      x: { field: "alpha", type: "quantitative", title: "α" },
      y: { field: "y", type: "quantitative", title: null, scale: { zero: false } },
      strokeDash: { field: "policy", type: "nominal", title: "statistics", legend: Object.keys(paths).length > 1 ? { orient: "bottom", labelColor: config().axis.labelColor, titleColor: config().axis.labelColor } : null },
      strokeWidth: { field: "of", type: "ordinal", scale: { domain: ["mean", "worst pair"], range: [2.2, 0.8] }, legend: null },
    },
  });
}

function reliabilityPlot(holder, bins, look) {
  const total = bins.reduce((sum, [count]) => sum + count, 0);
  const rows = bins.map(([count, confidence, accuracy]) => ({ confidence, accuracy, share: (100 * count) / total }));
  const x = { field: "confidence", type: "quantitative", title: "confidence (%)", scale: { domain: [0, 100] } };
  return plot(holder, "Reliability: accuracy of the images at each confidence (%), size by their share", {
    layer: [
      { data: { values: [{ a: 0 }, { a: 100 }] }, mark: { type: "line", strokeDash: [4, 3], color: "#808080" },
        encoding: { x: { field: "a", type: "quantitative" }, y: { field: "a", type: "quantitative" } } },
      { data: { values: rows }, mark: { type: "line", color: look },
        encoding: { x, y: { field: "accuracy", type: "quantitative", title: null } } },
      { data: { values: rows }, mark: { type: "point", filled: true, opacity: 1, color: look },
        encoding: { x, y: { field: "accuracy", type: "quantitative" }, size: { field: "share", type: "quantitative", legend: null } } },
    ],
  });
}

let opener = null;
async function open(key, from) {
  opener = from ?? $("chart");
  const row = byKey.get(key), more = state.details[key] ?? {}, panel = $("detail"), look = colour(row.construction);
  const close = element("button", "Close", { type: "button" });
  close.addEventListener("click", shut);
  const heading = element("h3", `${row.construction}, trial ${key}`);
  const facts = element("dl");
  for (const [name, value] of Object.entries(row)) {
    if (value == null || ["key", "place", "q", "val_q", "x", "y"].includes(name)) continue;
    const [unit, meaning] = state.trials.facts[name] ?? ["", ""], pair = element("div");
    pair.append(element("dt", name, meaning ? { title: meaning } : {}), element("dd", format(value) + (unit && unit !== "1" ? ` ${unit}` : "")));
    facts.append(pair);
  }
  const plots = element("div", undefined, { class: "plots" }), hold = element("div", undefined, { class: "scroll" });
  if (more.members) {
    const table = element("table"), lines = more.members.map(([accuracy, nll], k) => [k, format(accuracy), format(nll)]);
    table.append(element("caption", `Members on ${split}`));
    for (const [index, line] of [["member", "accuracy (%)", "NLL (nats)"], ...lines].entries()) {
      const tr = element("tr");
      tr.append(...line.map((text) => element(index ? "td" : "th", String(text))));
      table.append(tr);
    }
    hold.append(table);
  }
  plots.append(hold);
  panel.replaceChildren(heading, close, plots, facts);
  panel.hidden = false;
  if (more.paths) await pathPlot(plots, more.paths, look);
  if (more.reliability) await reliabilityPlot(plots, more.reliability, look);
  panel.focus({ preventScroll: true });
  panel.scrollIntoView({ block: "nearest" });
}

function shut() {
  $("detail").hidden = true;
  opener?.focus();
}

function step(by) {
  if (!order.length) return;
  at = (at + by + order.length) % order.length;
  const row = order[at], field = `${split}_${quality().name}`;
  view.signal("focused", row.key).run();
  $("count").textContent = `${at + 1} of ${order.length}: ${row.construction}, trial ${row.key.slice(0, 8)}, q̄ ${format(row.q)}, ${quality().title} ${format(row[field])}. Enter opens it.`;
}

$("chart").addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (by) step(by);
  else if (event.key === "Enter" && at >= 0) open(order[at].key);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && !$("detail").hidden && shut());
$("filters").addEventListener("change", refresh);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("more").addEventListener("click", () => { all = true; list(); });

function theme(value) {
  document.documentElement.dataset.theme = value;
  for (const dot of document.querySelectorAll(".dot")) dot.style.background = colour(dot.dataset.construction);
}
const system = matchMedia("(prefers-color-scheme: dark)");
$("theme").addEventListener("click", () => { theme(dark() ? "light" : "dark"); draw(); });
system.addEventListener("change", () => { theme(system.matches ? "dark" : "light"); draw(); });

function options(id, values, first) {
  $(id).replaceChildren(...(first ? [element("option", first, { value: "" })] : []), ...values.map(([value, text]) => element("option", text, { value })));
}
const places = [...new Set(trials.map((row) => row.place))];
options("setting", places.map((place) => [place, place]));
options("role", [...new Set(trials.map((row) => row.role))].sort().map((role) => [role, role]), "all");
options("quality", QUALITIES.filter((q) => names.includes(`${split}_${q.name}`)).map((q) => [q.name, q.title]));
theme(system.matches ? "dark" : "light");
refresh().then(() => { document.documentElement.dataset.ready = "yes"; });
