// The chart of trials: two columns of choice, the trials that the filters leave, and their front.
let view = null, visible = [], order = [], at = -1, brush = {};
const axes = () => ({ x: $("x").value, y: $("y").value });

const chosenNames = () => new Set([...document.querySelectorAll("input[name=construction]:checked")].map((box) => box.value));

// Bounds that the range filters set: [column, lowest, highest].
function bounds() {
  const rows = [...document.querySelectorAll("#ranges [data-column]")];
  const ends = rows.map((row) => [row.dataset.column, ...[...row.querySelectorAll("input")].map((box) => box.value)]);
  return ends.filter(([, low, high]) => low || high);
}

function filtered() {
  const wanted = chosenNames(), place = $("setting").value, role = $("role").value, limits = bounds();
  const inside = (row, [column, low, high]) =>
    row[column] != null && (!low || row[column] >= Number(low)) && (!high || row[column] <= Number(high));
  return trials.filter((row) => wanted.has(row.construction) && row.place === place && (!role || row.role === role)
    && limits.every((limit) => inside(row, limit)));
}

// The trials on view that lie in the area dragged over on the chart; without one, all.
function brushed() {
  const inside = (value, side) => value != null && (typeof value === "number" ? value >= Math.min(...side) && value <= Math.max(...side) : side.includes(value));
  const sides = Object.entries(brush).map(([side, ends]) => [axes()[side], ends]);
  return visible.filter((row) => sides.every(([column, ends]) => inside(row[column], ends)));
}

// The metric whose validation front the page contains, if the axes are those of one.
function frontMetric() {
  const { x, y } = axes();
  return x === "q" && ["accuracy", "nll"].find((metric) => y === `${split}_${metric}`);
}

// Rows that no other row on view dominates; of columns without a better direction there are none.
function nondominated(rows, x, y) {
  const [right, up] = [better(x), better(y)];
  if (!right || !up) return [];
  const known = rows.filter((row) => row[x] != null && row[y] != null);
  known.sort((a, b) => right * (b[x] - a[x]) || up * (b[y] - a[y]));
  const front = [];
  for (const row of known) {
    const last = front[front.length - 1];
    if (!last || up * (row[y] - last[y]) > 0 || (row[x] === last[x] && row[y] === last[y])) front.push(row);
  }
  return front;
}

// Keys of the front's trials and its line. The front by validation was computed with the page.
function front() {
  const metric = frontMetric(), { x, y } = axes();
  if (!metric) {
    const rows = nondominated(visible, x, y);
    return { keys: new Set(rows.map((row) => row.key)), line: rows.map((row) => ({ x: row[x], y: row[y] })) };
  }
  const wanted = chosenNames(), points = state.fronts[$("setting").value]?.[metric] ?? [];
  const shown = points.filter((point) => wanted.has(point.construction));
  return { keys: new Set(shown.flatMap((point) => point.keys)), line: shown.filter((point) => point.step) };
}

function datasets() {
  const { x, y } = axes(), place = $("setting").value, metric = frontMetric();
  const scored = visible.filter((row) => row[x] != null && row[y] != null);
  const inside = (row) => ["x", "y"].every((axis) => !beyond(row, axes()[axis]));
  const drawn = $("outliers").checked ? scored : scored.filter(inside);
  const { keys, line } = front();
  const points = drawn.map((row) => ({ ...row, x: row[x], y: row[y], ringed: keys.has(row.key) }));
  const shown = new Set(visible.map((row) => row.construction));
  const cells = metric === "accuracy" ? state.cells.filter((cell) => cell.setting === place && shown.has(cell.construction)) : [];
  const level = state.deep[place]?.[y];
  const words = [`${visible.length} of ${trials.length} trials`];
  if (visible.length > scored.length) words.push(`${visible.length - scored.length} without these values`);
  if (scored.length > drawn.length) words.push(`${scored.length - drawn.length} outliers not drawn (beyond Tukey's far fence)`);
  return { points, deep: level == null ? [] : [{ y: level }], cells, front: line.length > 1 ? line : [], words: words.join("; ") + "." };
}

// Whether a value is beyond the fence of its column, on the worse side.
function beyond(row, column) {
  const fence = state.fences[row.place]?.[column];
  return fence != null && better(column) * (row[column] - fence) < 0;
}

function encodeAxis(column, side) {
  const kind = columns[column] ?? {};
  if (!kind.number) return { field: side, type: "nominal", title: title(column), axis: { labelAngle: 0, grid: true } };
  const scale = { type: kind.scale ?? "linear", nice: false, padding: 12, ...(kind.scale ? {} : { zero: false }) };
  const axis = { title: title(column), grid: true, labelOverlap: true };
  if (scale.type === "symlog") axis.values = [-100, -30, -10, -3, -1, 0, 1, 3, 10, 30];
  return { field: side, type: "quantitative", scale, axis };
}

function tips() {
  const { x, y } = axes();
  const said = [["key", "trial"], ["construction", "construction"], ["role", "role"], ["seed", "seed"], ["basin", "one basin (this seed)"], [x, title(x)], [y, title(y)]];
  return said.map(([field, words]) => {
    const number = columns[field]?.number && field !== "seed";
    return { field, title: words, type: number ? "quantitative" : "nominal", ...(number ? { format: ".4~g" } : {}) };
  });
}

async function draw() {
  const spec = structuredClone(state.spec), { words, ...data } = datasets(), { x, y } = axes();
  spec.datasets = data;
  $("count").textContent = words;
  const metric = frontMetric(), both = better(x) && better(y);
  $("line").textContent = metric
    ? `Ringed: on the Pareto front by validation of search or grid, in connectivity (q̄ above 0 counts as 0) and ${metric === "nll" ? "NLL" : metric}.${data.front.length ? ` Line: its means over seeds on ${split}.` : ""}`
    : both ? `Ringed${data.front.length ? ", with a line" : ""}: trials on view that no other dominates.` : "No front: a column of these has no better direction.";
  $("dashed").hidden = !data.deep.length;
  spec.layer = spec.layer.filter((layer) => data[layer.data.name].length);  // an empty one has no extent
  const range = Object.keys(state.looks).map(colour);
  for (const { data: { name }, encoding } of spec.layer) {
    const sides = { x: encodeAxis(x, "x"), y: encodeAxis(y, "y") };
    for (const side of ["x", "y"]) if (encoding[side]) encoding[side] = { ...sides[side] };
    if (name === "front") encoding.order = { field: "x", type: "quantitative" };
    if (name === "points") encoding.tooltip = tips();
    if (encoding.color?.scale) encoding.color.scale.range = range;
    if (encoding.color?.value) encoding.color.value = colour("deep") ?? config().axis.labelColor;
  }
  const tooltip = { theme: dark() ? "dark" : "light", formatTooltip: tip, offsetX: 16, offsetY: 16 };
  view = (await vegaEmbed("#chart", spec, { actions: false, renderer: "svg", config: config(), tooltip })).view;
  for (const area of document.querySelectorAll("#chart [class*=brush_brush]")) area.setAttribute("aria-hidden", "true");
  if (data.points.length) view.addSignalListener("brush", (_, area) => { brush = area; list(); drawParallel(); });
  view.addEventListener("click", (_, item) => item?.datum?.key && openTrial(item.datum.key));
}

// What a construction does not have is not said of it.
function tip(fields, sanitize) {
  const rows = Object.entries(fields).filter(([, value]) => value !== "null");
  return `<table>${rows.map(([name, value]) => `<tr><td class="key">${sanitize(name)}</td><td>${sanitize(value)}</td></tr>`).join("")}</table>`;
}

// Move through the trials by x, and say where one is.
function step(by) {
  if (!order.length) return;
  at = (at + by + order.length) % order.length;
  const row = order[at], { x, y } = axes();
  view.signal("focused", row.key).run();
  $("count").textContent = `${at + 1} of ${order.length}: ${row.construction}, trial ${row.key.slice(0, 8)}, ${title(x)} ${format(row[x])}, ${title(y)} ${format(row[y])}. Enter opens it.`;
}

function refresh() {
  visible = filtered();
  const { x } = axes();
  order = visible.filter((row) => row[x] != null).sort((a, b) => (a[x] > b[x] ? 1 : a[x] < b[x] ? -1 : 0));
  at = -1;
  brush = {};
  list();
  drawParallel();
  return draw();
}

// Offer every column with more than one value, by kind.
function offerAxes() {
  const groups = { score: "Scores", hyperparameter: "Hyperparameters", cost: "Cost" };
  for (const [id, first] of [["x", "q"], ["y", `${split}_accuracy`]]) {
    const made = Object.entries(groups).map(([kind, label]) => {
      const inside = names.filter((name) => columns[name]?.kind === kind);
      return element("optgroup", inside.map((name) => element("option", title(name), { value: name })), { label });
    });
    $(id).replaceChildren(...made.filter((group) => group.children.length));
    if (names.includes(first)) $(id).value = first;
  }
}

// Two boxes a column: what was searched, and the scores of the headline.
function offerRanges() {
  const wanted = ["q", `${split}_accuracy`, `${split}_nll`, ...state.trials.searched];
  for (const column of wanted.filter((name) => names.includes(name) && columns[name]?.number)) {
    const values = trials.map((row) => row[column]).filter((value) => value != null);
    const ends = [["least", Math.min(...values)], ["most", Math.max(...values)]];
    const boxes = ends.map(([word, value]) => element("input", undefined, { type: "number", step: "any", placeholder: format(value), "aria-label": `${word} ${title(column)}` }));
    $("ranges").append(element("div", [element("span", title(column)), ...boxes], { "data-column": column }));
  }
}
