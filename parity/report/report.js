"use strict";
(() => {
  const PAGE = 25; // rows shown before the reader asks for more
  const byName = new Intl.Collator("en", { numeric: true }).compare; // layer.2 before layer.10

  // Light or dark: as the system has it, until the button says otherwise.
  const theme = document.getElementById("theme");
  const isDark = () =>
    (document.documentElement.style.colorScheme ||
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const setTheme = () => {
    theme.setAttribute("aria-pressed", String(isDark()));
  };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    document.documentElement.style.colorScheme = isDark() ? "light" : "dark";
    setTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", setTheme);
  setTheme();

  function table(box) {
    const body = box.querySelector("tbody");
    const heads = [...box.querySelectorAll("th")];
    const rows = [...body.rows].map((element) => ({
      element,
      words: element.textContent.toLowerCase(),
      cells: [...element.cells].map((cell) => cell.textContent),
      keys: [...element.cells].map((cell) => cell.dataset.k ?? cell.textContent),
    }));
    const search = box.querySelector("input[type=search]");
    const selects = [...box.querySelectorAll("select")].map((element) => ({
      element,
      column: heads.findIndex((head) => head.textContent.trim() === element.dataset.column),
    }));
    const count = box.querySelector(".count");
    const more = box.querySelector(".more");
    let limit = PAGE;

    function show() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = rows.filter(
        (row) =>
          words.every((word) => row.words.includes(word)) &&
          selects.every(({ element, column }) => !element.value || row.cells[column].trim() === element.value),
      );
      const shown = found.slice(0, limit);
      body.replaceChildren(...shown.map((row) => row.element));
      const all = found.length === rows.length ? `${rows.length}` : `${found.length} of ${rows.length}`;
      count.textContent = shown.length < found.length ? `first ${shown.length} of ${all}` : `${all} shown`;
      more.hidden = shown.length === found.length;
    }

    function sort(column) {
      const head = heads[column];
      const numeric = head.dataset.kind === "number";
      // Figures begin with the largest, ranks (verdict, stage) and names with the first.
      const falls = numeric && head.matches(".rho, .figure");
      const before = head.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : falls;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sign = descending ? -1 : 1;
      const compare = numeric ? (a, b) => (a === b ? 0 : a - b) : byName;
      const key = (row) => (numeric ? Number(row.keys[column]) : row.keys[column]);
      const keyed = rows.map((row) => [key(row), row]);
      keyed.sort((a, b) => sign * compare(a[0], b[0]));
      rows.splice(0, rows.length, ...keyed.map((pair) => pair[1]));
      show();
    }

    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      button.disabled = false;
      button.addEventListener("click", () => sort(column));
    });
    const again = () => {
      limit = PAGE;
      show();
    };
    search.addEventListener("input", again);
    for (const { element } of selects) element.addEventListener("change", again);
    for (const button of more.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        limit = button.dataset.more === "all" ? Infinity : limit + Number(button.dataset.more);
        show();
      });
    }
    box.querySelector(".controls").hidden = false;
    show();
    return (column, value) => {
      const select = selects.find(({ element }) => element.dataset.column === column);
      if (select) select.element.value = value;
      again();
    };
  }

  function chart(figure) {
    const { rows } = JSON.parse(figure.querySelector("script").textContent);
    const plots = figure.querySelector(".plots");
    const panel = figure.querySelector(".panel");
    const cursor = figure.querySelector(".cursor");
    const scrub = figure.querySelector(".scrub");
    const slider = scrub.querySelector("input");
    const values = [...figure.querySelectorAll(".readout dd")];

    function point(index) {
      const at = Math.max(0, Math.min(rows.length - 1, index));
      cursor.style.setProperty("--at", String((at + 0.5) / rows.length));
      cursor.hidden = false;
      slider.value = String(at);
      slider.setAttribute("aria-valuetext", rows[at].join(", "));
      values.forEach((value, i) => {
        value.textContent = rows[at][i];
      });
    }

    scrub.hidden = false;
    slider.addEventListener("input", () => point(Number(slider.value)));
    plots.addEventListener("pointermove", (event) => {
      const box = panel.getBoundingClientRect();
      point(Math.floor(((event.clientX - box.left) / box.width) * rows.length));
    });
  }

  const filters = new Map();
  for (const box of document.querySelectorAll("[data-table]")) filters.set(box.id, table(box));
  for (const figure of document.querySelectorAll("[data-chart]")) chart(figure);
  for (const link of document.querySelectorAll("a[data-stage]")) {
    link.addEventListener("click", () => filters.get("quantities")("Stage", link.dataset.stage));
  }
})();
