// The table of trials: sorted by any column, searched, and exported.
let all = false, sorted = { column: "", down: false };
const SHORT = 15;

function listColumns() {
  const { x, y } = axes();
  const kept = [`${split}_accuracy`, `${split}_nll`, `${split}_member_mean_accuracy`].filter((name) => names.includes(name));
  return [...new Set(["construction", "role", "seed", ...state.trials.searched, "basin", "q", x, y, ...kept])];
}

// The trials on view that contain the words searched for; the front first, then the best, unless a column sorts them.
function listed(keys) {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean), { y } = axes();
  const text = (row) => ["key", ...listColumns()].map((name) => `${name}=${row[name]}`).join(" ").toLowerCase();
  const rows = brushed().filter((row) => words.every((word) => text(row).includes(word)));
  const { column, down } = sorted;
  const compare = (a, b, name, sign) => (a[name] == null) - (b[name] == null) || sign * (a[name] > b[name] ? 1 : a[name] < b[name] ? -1 : 0);
  if (column) return rows.sort((a, b) => compare(a, b, column, down ? -1 : 1));
  return rows.sort((a, b) => keys.has(b.key) - keys.has(a.key) || compare(a, b, y, -(better(y) || 1)));
}

function heading(column) {
  const ordered = sorted.column === column, mark = ordered ? (sorted.down ? " ▾" : " ▴") : "";
  const button = element("button", (column === "key" ? "trial" : title(column)) + mark, { type: "button", class: "sort" });
  button.addEventListener("click", () => {
    sorted = { column, down: ordered ? !sorted.down : better(column) > 0 };
    list();
    [...document.querySelectorAll("#list .sort")].find((other) => other.dataset.column === column)?.focus();
  });
  button.dataset.column = column;
  const state = ordered ? { "aria-sort": sorted.down ? "descending" : "ascending" } : {};
  return element("th", button, { scope: "col", ...state, ...(columns[column]?.doc ? { title: columns[column].doc } : {}) });
}

function list() {
  const { keys } = front(), rows = listed(keys), shown = listColumns(), body = element("tbody");
  for (const row of rows.slice(0, all ? rows.length : SHORT)) {
    const on = keys.has(row.key), short = row.key.slice(0, 8), label = `${short}: open trial ${row.key}${on ? ", on the front" : ""}`;
    const button = element("button", short, { type: "button", "aria-label": label });
    button.addEventListener("click", () => openTrial(row.key, button));
    const dot = element("span", undefined, { class: "dot", style: `background:${colour(row.construction)}` });
    const cells = shown.map((name) => element("td", name === "construction" ? [dot, row[name]] : format(row[name])));
    body.append(element("tr", [element("th", button, { scope: "row" }), ...cells], on ? { class: "front" } : {}));
  }
  const head = element("thead", element("tr", ["key", ...shown].map(heading)));
  $("list").replaceChildren($("list").caption, head, body);
  $("list").caption.textContent = `${rows.length} trials; in bold: ${frontMetric() ? "on the front by validation" : "on the front"}`;
  $("more").hidden = all || rows.length <= SHORT;
  $("more").textContent = `Show all ${rows.length}`;
}

// All columns of the trials in the table.
function csv() {
  const quote = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = [everyName, ...listed(front().keys).map((row) => everyName.map((name) => row[name] ?? ""))];
  return lines.map((line) => line.map((value) => quote(String(value))).join(",")).join("\n") + "\n";
}

function download() {
  const link = element("a", undefined, { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: `${document.querySelector("h1").textContent}-trials.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
