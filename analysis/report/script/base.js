// State of the page, formats and elements. All scripts share one scope.
const state = JSON.parse(document.getElementById("state").textContent);
const { split, columns } = state;
const $ = (id) => document.getElementById(id);
const NEUTRAL = "#000000";
const names = Object.keys(state.trials.varied);
const everyName = [...names, ...Object.keys(state.trials.same)];
const trials = state.trials.varied.key.map((_, i) => {
  const row = { ...state.trials.same };
  for (const name of names) row[name] = state.trials.varied[name][i];
  row.place = `${row.dataset} · ${row.model}`;
  return row;
});
const byKey = new Map(trials.map((row) => [row.key, row]));

const dark = () => document.documentElement.dataset.theme === "dark";

// On a dark page the neutral colour is light, and the others are lightened by a third.
function colour(name) {
  const look = state.looks[name];
  if (!look || !dark()) return look;
  if (look === NEUTRAL) return "#e6e6e3";
  const parts = [1, 3, 5].map((at) => parseInt(look.slice(at, at + 2), 16));
  return `rgb(${parts.map((part) => Math.round(part + (255 - part) / 3)).join(",")})`;
}

function format(value, digits = 4) {
  if (typeof value !== "number") return String(value ?? "–");
  const text = Number.isInteger(value) ? String(value) : Number(value.toPrecision(digits)).toString();
  return text.replace("-", "−");
}

// What a column is called: its words where it has some, and its unit.
function title(name) {
  const { heading, unit } = columns[name] ?? {};
  return (heading || name) + (unit && unit !== "1" ? ` (${unit})` : "");
}

const better = (name) => columns[name]?.better ?? 0;

function element(tag, content, attributes = {}) {
  const made = document.createElement(tag);
  if (content !== undefined) made.append(...[content].flat());
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function options(id, values, first) {
  const made = values.map(([value, text]) => element("option", text, { value }));
  $(id).replaceChildren(...(first ? [element("option", first, { value: "" })] : []), ...made);
}

// Colours and text of every Vega chart.
function config() {
  const ink = dark() ? "#e6e6e3" : "#1a1a1a", line = dark() ? "#3a3a38" : "#e2e2de";
  const axis = { labelColor: ink, titleColor: ink, domainColor: ink, tickColor: ink, gridColor: line };
  const legend = { labelColor: ink, titleColor: ink };
  return { background: "transparent", font: "system-ui, sans-serif", axis, legend, title: { color: ink }, view: { stroke: null } };
}

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no permission, or not a secure page
    const area = element("textarea", text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}
