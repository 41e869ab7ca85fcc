"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  root.classList.add("js");

  // Light and dark: what the system says, until the button says otherwise.
  const theme = $(".theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const nameTheme = () => { theme.textContent = isDark() ? "Light page" : "Dark page"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  systemDark.addEventListener("change", nameTheme);
  nameTheme();

  // The curve, read at one radius: by the slider, or by pointing at it.
  const slider = $("#radius");
  if (slider) {
    const output = $("#radius-is");
    const cells = $$("[data-read]");
    const charts = $$('svg[data-chart="accuracy"]');
    const atStep = (steps, radius) => {
      let low = 0, high = steps.length - 1;
      while (low < high) { const middle = (low + high) >> 1; if (steps[middle] >= radius) high = middle; else low = middle + 1; }
      return low;
    };
    const rounded = (tenths) => { // a tie goes to the even digit, as everywhere else in the page
      const near = Math.round(tenths);
      return ((tenths % 1 === 0.5 && near % 2 ? near - 1 : near) / 10).toFixed(1);
    };
    const read = () => {
      const radius = Number(slider.value);
      output.textContent = radius.toFixed(3);
      for (const cell of cells) {
        const { curve, n } = data.runs[Number(cell.dataset.read)];
        const i = atStep(curve.r, radius);
        const beyond = radius > curve.r[i];
        const k = beyond ? 0 : curve.k[i];
        cell.textContent = n === 0 ? "–" : `${rounded(1000 * k / n)} %`;
        cell.nextElementSibling.textContent = n === 0 ? "–" : `${(100 * curve.low[i]).toFixed(1)}–${(100 * curve.high[i]).toFixed(1)} %`;
        cell.nextElementSibling.nextElementSibling.textContent = `${k.toLocaleString("en")} of ${n.toLocaleString("en")}`;
      }
      slider.setAttribute("aria-valuetext", `radius ${radius.toFixed(3)}: ` + cells.map((cell) =>
        `${data.runs[Number(cell.dataset.read)].name} ${cell.textContent}`).join(", "));
      for (const chart of charts) {
        const { left, right, top, bottom, xmax } = chart.dataset;
        const x = Number(left) + (Number(right) - Number(left)) * radius / Number(xmax);
        $(".guide", chart).setAttribute("d", `M${x.toFixed(1)} ${top}V${bottom}`);
      }
    };
    for (const chart of charts) {
      const point = (event) => {
        const box = chart.getBoundingClientRect();
        const { left, right, xmax } = chart.dataset;
        const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
        const part = (x - Number(left)) / (Number(right) - Number(left));
        slider.value = Math.min(Math.max(part, 0), 1) * Number(xmax);
        read();
      };
      chart.addEventListener("pointermove", point);
      chart.addEventListener("pointerdown", point);
    }
    slider.addEventListener("input", read);
    read();
  }

  // The gallery: which cards, in which order.
  const gallery = $(".cards");
  if (gallery) {
    const cards = $$(".card", gallery);
    const [kind, run, order] = ["#kind", "#card-run", "#order"].map((name) => $(name));
    const arrange = () => {
      const by = { most: (a, b) => b.dataset.reach - a.dataset.reach, least: (a, b) => a.dataset.reach - b.dataset.reach,
        votes: (a, b) => b.dataset.share - a.dataset.share, shown: () => 0 }[order.value];
      let count = 0;
      for (const card of [...cards].sort(by)) {
        card.hidden = (kind.value !== "" && card.dataset.kind !== kind.value) || (run && run.value !== "" && card.dataset.run !== run.value);
        if (!card.hidden) count += 1;
        gallery.append(card);
      }
      $("#card-count").textContent = count === 1 ? "1 image" : `${count} images`;
    };
    for (const control of [kind, run, order]) if (control) control.addEventListener("change", arrange);
    arrange();
  }

  // All images: filtered, sorted, a page at a time, so that a hundred thousand cost no more than 25.
  const table = $("#all");
  if (table) {
    const SIZE = 25;
    const body = $("tbody", table);
    const [which, search, outcome] = ["#table-run", "#search", "#outcome"].map((name) => $(name));
    const heads = $$("th", table);
    const word = (i) => (i < 0 ? "–" : data.words[i]);
    const shown = [ // of a row [name, truth, label, clean, outcome, reach, votes, answers, queries]: what to show, and sort by
      { text: (r) => r[0], key: (r) => r[0] },
      { text: (r) => word(r[1]), key: (r) => word(r[1]) },
      { text: (r) => word(r[2]), key: (r) => word(r[2]) },
      { text: (r) => data.outcomes[r[4]], key: (r) => r[4] },
      { text: (r) => (r[5] < 0 ? "–" : r[5].toFixed(4)), key: (r) => r[5] },
      { text: (r) => (r[7] ? `${r[6].toLocaleString("en")} of ${r[7].toLocaleString("en")}` : "–"), key: (r) => (r[7] ? r[6] / r[7] : -1) },
      { text: (r) => r[8].toLocaleString("en"), key: (r) => r[8] },
    ];
    let column = -1, down = false, page = 0, rows = [];
    const show = () => {
      const pages = Math.max(1, Math.ceil(rows.length / SIZE));
      page = Math.min(Math.max(page, 0), pages - 1);
      body.replaceChildren(...rows.slice(page * SIZE, (page + 1) * SIZE).map((row) => {
        const line = make("tr");
        shown.forEach((one, i) => {
          const cell = make("td", one.text(row), i > 3 ? "n" : "");
          if (i === 3 && row[4] < 2) cell.classList.add(row[4] ? "wrong" : "right");
          line.append(cell);
        });
        return line;
      }));
      $("#page-is").textContent = `${rows.length.toLocaleString("en")} images, page ${page + 1} of ${pages.toLocaleString("en")}`;
      $("#first").disabled = $("#before").disabled = page === 0;
      $("#next").disabled = $("#last").disabled = page === pages - 1;
    };
    const choose = () => {
      const every = data.runs[which ? Number(which.value) : 0].rows;
      const wanted = search.value.trim().toLowerCase();
      rows = every.filter((r) => (outcome.value === "" || r[4] === Number(outcome.value)) &&
        (wanted === "" || [r[0], word(r[1]), word(r[2])].some((text) => text.toLowerCase().includes(wanted))));
      if (column >= 0) {
        const { key } = shown[column];
        const sign = down ? -1 : 1;
        rows.sort((a, b) => { const x = key(a), y = key(b); return x < y ? -sign : x > y ? sign : 0; });
      }
      show();
    };
    heads.forEach((head, i) => $("button", head).addEventListener("click", () => {
      down = column === i ? !down : i > 3;
      column = i;
      heads.forEach((other, j) => other.setAttribute("aria-sort", j !== i ? "none" : down ? "descending" : "ascending"));
      page = 0;
      choose();
    }));
    for (const control of [which, outcome]) if (control) control.addEventListener("change", () => { page = 0; choose(); });
    search.addEventListener("input", () => { page = 0; choose(); });
    const turn = { first: () => 0, before: () => page - 1, next: () => page + 1, last: () => Infinity };
    for (const [name, to] of Object.entries(turn)) $(`#${name}`).addEventListener("click", () => { page = to(); show(); });
    choose();
  }
})();
