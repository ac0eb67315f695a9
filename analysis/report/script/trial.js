// One trial: what differs from the defaults, its scores, its commands, and its plots.
let opener = null, openKey = "";
const SECTIONS = ["construction", "training", "model", "dataset", "split", "evaluation"];
const HIDDEN = ["key", "place", "q", "x", "y", "weights"];

function plot(holder, caption, spec) {
  const place = element("div");
  holder.append(element("figure", [element("figcaption", caption), place]));
  const whole = { $schema: state.spec.$schema, width: "container", height: 200, autosize: { type: "fit", contains: "padding" }, ...spec };
  return vegaEmbed(place, whole, { actions: false, renderer: "svg", config: config() });
}

function pathPlot(holder, paths, look) {
  const rows = Object.entries(paths).flatMap(([policy, points]) =>
    points.flatMap(([alpha, average, worst]) => [{ policy, alpha, y: average, of: "mean" }, { policy, alpha, y: worst, of: "worst pair" }]));
  const legend = Object.keys(paths).length > 1 ? { orient: "bottom" } : null;
  return plot(holder, `Accuracy (%) between members, ${split}: mean of pairs, and worst pair (thin)`, {
    data: { values: rows }, mark: { type: "line", color: look, point: { size: 12, color: look } },
    encoding: {
      x: { field: "alpha", type: "quantitative", title: "α", axis: { values: [0, 0.25, 0.5, 0.75, 1], format: ".2~f" } },
      y: { field: "y", type: "quantitative", title: null, scale: { zero: false, nice: true, padding: 6 }, axis: { tickCount: 6, labelOverlap: false } },
      strokeDash: { field: "policy", type: "nominal", title: "statistics", legend },
      strokeWidth: { field: "of", type: "ordinal", scale: { domain: ["mean", "worst pair"], range: [2.2, 0.8] }, legend: null },
    },
  });
}

function reliabilityPlot(holder, bins, look) {
  const total = bins.reduce((sum, [count]) => sum + count, 0);
  const rows = bins.map(([count, confidence, accuracy]) => ({ confidence, accuracy, share: (100 * count) / total }));
  const x = { field: "confidence", type: "quantitative", title: "confidence (%)", scale: { domain: [0, 100] } };
  const y = { field: "accuracy", type: "quantitative", title: null };
  return plot(holder, "Reliability: accuracy of the images at each confidence (%), size by their share", {
    layer: [
      { data: { values: [{ a: 0 }, { a: 100 }] }, mark: { type: "line", strokeDash: [4, 3], color: "#808080" },
        encoding: { x: { ...x, field: "a" }, y: { ...y, field: "a" } } },
      { data: { values: rows }, mark: { type: "line", color: look }, encoding: { x, y } },
      { data: { values: rows }, mark: { type: "point", filled: true, opacity: 1, color: look },
        encoding: { x, y, size: { field: "share", type: "quantitative", legend: null } } },
    ],
  });
}

function memberTable(members) {
  const head = element("thead", element("tr", ["member", "accuracy (%)", "NLL (nats)"].map((text) => element("th", text, { scope: "col" }))));
  const lines = members.map((values, k) => element("tr", [element("td", String(k)), ...values.map((value) => element("td", format(value)))]));
  return element("table", [element("caption", `Members on ${split}`), head, element("tbody", lines)]);
}

// Name and value of each fact, with what it would be by default.
function facts(row, entries, usual = {}) {
  const made = entries.map((name) => {
    const { unit, doc } = columns[name] ?? {}, value = format(row[name]) + (unit && unit !== "1" ? ` ${unit}` : "");
    const before = name in usual ? element("span", ` (default ${format(usual[name])})`, { class: "default" }) : "";
    return element("div", [element("dt", columns[name]?.heading || name, doc ? { title: doc } : {}), element("dd", [value, before])]);
  });
  return element("dl", made);
}

function section(words, content, open) {
  const holder = element("details", [element("summary", words), content]);
  holder.open = open;
  return holder;
}

// A command or a path, to be copied.
function copied(words, text) {
  const button = element("button", "copy", { type: "button", "aria-label": `Copy: ${words}` });
  button.addEventListener("click", () => copyText(text, button));
  const code = element("code", text, text.length > 150 ? { tabindex: 0 } : {});  // a long one scrolls
  return element("div", [element("span", words), code, button], { class: "copied" });
}

function commands(row) {
  const made = [copied("Show it in a terminal", `python launch.py show ${row.key}${state.storage}`)];
  made.push(copied("Run it again and compare", `python launch.py rerun ${row.key}${state.storage}`));
  if (row.weights) {
    made.push(copied("Its weights", row.weights));
    made.push(copied("Export it", `python launch.py export ${row.key} --format onnx${state.storage}`));
  }
  made.push(copied("This page, at this trial", `${location.href.split("#")[0]}#trial=${row.key}`));
  return element("div", made);
}

// Sections of a trial: what differs from the defaults comes first.
function sections(row) {
  const usual = { ...state.defaults[row.sweep]?.[""], ...state.defaults[row.sweep]?.[row.construction] };
  const known = everyName.filter((name) => row[name] != null && !HIDDEN.includes(name));
  const of = (kind) => known.filter((name) => columns[name]?.kind === kind);
  const set = of("hyperparameter"), different = set.filter((name) => name in usual && usual[name] !== row[name]);
  const scores = of("score"), here = scores.filter((name) => name.startsWith(`${split}_`));
  const rest = known.filter((name) => !["hyperparameter", "score", "cost"].includes(columns[name]?.kind));
  const made = [section(`Different from the defaults (${different.length})`, facts(row, different, usual), true)];
  made.push(section("Commands and files", commands(row), true));
  made.push(section(`Scores on ${split} (${here.length})`, facts(row, here), false));
  made.push(section(`Scores on validation (${scores.length - here.length})`, facts(row, scores.filter((name) => !here.includes(name))), false));
  for (const part of [...SECTIONS, ""]) {
    const inside = set.filter((name) => (SECTIONS.includes(columns[name]?.section) ? columns[name].section : "") === part);
    if (inside.length) made.push(section(`Settings: ${part || "other"} (${inside.length})`, facts(row, inside), false));
  }
  made.push(section("Cost", facts(row, of("cost")), false), section("Origin", facts(row, rest), false));
  return made.filter((part) => part.querySelector("dl > *, .copied"));
}

async function openTrial(key, from) {
  const row = byKey.get(key);
  if (!row) return;
  opener = from ?? $("chart");
  openKey = key;
  history.replaceState(null, "", `#trial=${key}`);
  const more = state.details[key] ?? {}, panel = $("detail"), look = colour(row.construction);
  const close = element("button", "Close", { type: "button" });
  close.addEventListener("click", shut);
  const place = `${row.role}, seed ${row.seed}; one basin (this seed): ${row.basin}; ${title("q")} ${format(row.q)}; accuracy ${format(row[`${split}_accuracy`])} %`;
  const plots = element("div", undefined, { class: "plots" });
  if (more.members) plots.append(element("div", memberTable(more.members), { class: "scroll" }));
  plots.querySelectorAll(".scroll").forEach(watchWidth);
  panel.replaceChildren(element("h3", `${row.construction}, trial ${key}`), close, element("p", place), plots, ...sections(row));
  panel.hidden = false;
  const drawn = [more.paths && pathPlot(plots, more.paths, look), more.reliability && reliabilityPlot(plots, more.reliability, look)];
  await Promise.all(drawn);
  panel.focus({ preventScroll: true });
  panel.scrollIntoView({ block: "nearest" });
}

function shut() {
  $("detail").hidden = true;
  history.replaceState(null, "", "#explore");
  opener?.focus();
}

function openLinked() {
  const key = new URLSearchParams(location.hash.slice(1)).get("trial");
  return key && openTrial([...byKey.keys()].find((one) => one.startsWith(key)) ?? key);
}
