// What the page does beyond being read: colours, the table of runs, copying commands, opening what is linked to.
// Runs, configs and reasons are texts of other people: they are set as textContent and never read as markup.
"use strict";

const byId = (id) => document.getElementById(id);

function make(tag, text, properties = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  return made;
}

// Colours: as the system has them, until somebody chooses.
function remember(theme) {
  try { localStorage.setItem("nodebench-theme", theme); } catch { /* a page from disk may not store anything */ }
}
function remembered() {
  try { return localStorage.getItem("nodebench-theme"); } catch { return null; }
}
const themeButton = byId("theme");
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
function showTheme() {
  themeButton.setAttribute("aria-pressed", String(isDark()));
  themeButton.textContent = isDark() ? "Light" : "Dark";
}
if (["dark", "light"].includes(remembered())) document.documentElement.dataset.theme = remembered();
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remember(document.documentElement.dataset.theme);
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
showTheme();

// The table of runs.
const data = JSON.parse(byId("runs-data").textContent);
const columns = data.columns.map(([key, heading, unit, isNumber, isShown, isSetting], index) =>
  ({ key, heading, unit, isNumber, isShown, isSetting, index }));
const rows = data.rows.map(([kind, anchor, status, cells, numbers], index) =>
  ({ kind, anchor, status, cells, numbers, index, text: `${cells.join(" ")} ${status}`.toLowerCase() }));
const state = { column: null, isDown: false, kind: "experiment", group: "", status: "", filter: "" };
const collator = new Intl.Collator("en", { numeric: true });

function compare(one, other) {
  const index = state.column;
  if (index === null) return one.index - other.index;
  const [a, b] = [one, other].map((row) => row.numbers[index] ?? (row.cells[index] || null));
  if (a === null || b === null) return (a === null) - (b === null) || one.index - other.index; // nothing comes last
  const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
  return (state.isDown ? -order : order) || one.index - other.index;
}

function chosenRows() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return rows
    .filter((row) => row.kind === state.kind)
    .filter((row) => !state.status || statuses(row).includes(state.status))
    .filter((row) => words.every((word) => row.text.includes(word)))
    .sort(compare);
}

// "2 finished, 1 failed" of an experiment is one and the other.
function statuses(row) {
  return row.status.split(", ").map((part) => part.replace(/^\d+ /, ""));
}

function shownColumns(chosen) {
  return columns.filter((column) => column.isShown && column.key !== state.group
    && (chosen.length === 0 || chosen.some((row) => row.cells[column.index])));
}

function drawTable() {
  const chosen = chosenRows();
  const shown = shownColumns(chosen);
  const table = byId("runs-table");
  table.tHead.replaceChildren(headings(shown));
  const bodies = grouped(chosen).map(([name, members]) => {
    const body = make("tbody");
    if (name !== null) {
      const row = make("tr", undefined, { class: "group" });
      row.append(make("th", `${name || "none"} (${members.length})`, { colspan: shown.length, scope: "rowgroup" }));
      body.append(row);
    }
    body.append(...members.map((row) => tableRow(row, shown)));
    return body;
  });
  for (const body of [...table.tBodies]) body.remove();
  table.append(...bodies);
  const all = rows.filter((row) => row.kind === state.kind).length;
  const noun = `${state.kind}${all === 1 ? "" : "s"}`;
  byId("shown").textContent = chosen.length === all ? `${all} ${noun}` : `${chosen.length} of ${all} ${noun}`;
}

function headings(shown) {
  const line = make("tr");
  for (const column of shown) {
    const isSorted = state.column === column.index;
    const cell = make("th", undefined, {
      scope: "col", "aria-sort": isSorted ? (state.isDown ? "descending" : "ascending") : "none",
    });
    const heading = column.key === "seeds" && state.kind === "run" ? "seed" : column.heading;
    const button = make("button", heading, { type: "button" });
    if (column.unit) button.title = column.unit;
    if (column.isNumber) cell.className = "number";
    button.addEventListener("click", () => {
      if (isSorted && state.isDown) Object.assign(state, { column: null, isDown: false });
      else Object.assign(state, { column: column.index, isDown: isSorted });
      drawTable();
      const buttons = [...byId("runs-table").tHead.querySelectorAll("button")];
      buttons[shown.indexOf(column)]?.focus();
    });
    cell.append(button);
    line.append(cell);
  }
  return line;
}

function tableRow(row, shown) {
  const line = make("tr");
  shown.forEach((column, place) => {
    const text = row.cells[column.index];
    if (place === 0) {
      const cell = make("th", undefined, { scope: "row" });
      cell.append(make("a", text || "unknown", { href: `#${row.anchor}` }));
      line.append(cell);
      return;
    }
    const cell = make("td", text);
    if (column.isNumber) cell.className = "number";
    if (column.key === "status") cell.className = row.status === "finished" ? "good" : "bad";
    line.append(cell);
  });
  return line;
}

function grouped(chosen) {
  const column = columns.find((each) => each.key === state.group);
  if (!column) return [[null, chosen]];
  const groups = new Map();
  for (const row of chosen) {
    const name = row.cells[column.index];
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  return [...groups].sort(([one], [other]) => collator.compare(one, other));
}

function fill(select, options, change) {
  select.append(...options.map(([value, text]) => make("option", text, { value })));
  select.addEventListener("change", () => { change(select.value); drawTable(); });
}

function setUpTable() {
  const known = [...new Set(rows.flatMap(statuses))].sort();
  fill(byId("status"), [["", "any"], ...known.map((name) => [name, name])], (value) => { state.status = value; });
  fill(byId("kind"), [["experiment", "an experiment"], ["run", "a run"]], (value) => { state.kind = value; });
  const varied = columns.filter((column) => !column.isNumber && column.key !== "hash" && column.key !== "reason"
    && new Set(rows.map((row) => row.cells[column.index])).size > 1);
  fill(byId("group"), [["", "nothing"], ...varied.map((column) => [column.key, column.heading])],
    (value) => { state.group = value; });
  byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; drawTable(); });
  const legend = make("legend", "Columns of the table");
  byId("columns").append(legend, ...columns.map(columnChoice));
  byId("controls").hidden = false;
  drawTable();
}

function columnChoice(column) {
  const label = make("label");
  const box = make("input", undefined, { type: "checkbox" });
  box.checked = column.isShown;
  box.addEventListener("change", () => { column.isShown = box.checked; drawTable(); });
  label.append(box, make("span", column.heading));
  if (column.isSetting) label.className = "setting";
  return label;
}
setUpTable();

// Commands are there to be copied.
for (const block of document.querySelectorAll("pre.command")) {
  const button = make("button", "Copy", { type: "button", class: "copy" });
  button.addEventListener("click", async () => {
    const text = block.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch { // no clipboard for a page from disk: the text is selected instead
      getSelection().selectAllChildren(block.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.after(button);
}

// What a link leads to is opened, and everything is open on paper.
function openTarget() {
  const target = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details.experiment, details.notes")) part.open = true;
});
