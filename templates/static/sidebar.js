"use strict";
// The sidebar: the whole tree of modules opens in place, a filter that stands in the address, and the place that
// the reader has scrolled to.
(() => {
  const MOST_FOUND = 400;
  const { make, moduleBelow } = reportgen;
  const { NAME, SLUG, FLAGS } = reportgen.FIELDS;

  let sidebar;
  let input;
  let list;
  let found;
  let modules;
  let current = -1;
  let shown = [];

  const addressOf = layer => `layers/${layer[SLUG]}.html`;
  const link = (layer, label, query = "") =>
    make("a", { href: reportgen.href(addressOf(layer), { query }) }, label);

  // The parts of a module: its layers [start, end) nested one level, modules that hold only a module merged with it.
  const parts = (start, end, path) => {
    const result = [];
    while (start < end) {
      const module = moduleBelow(reportgen.layers[start][NAME], path);
      let next = start + 1;
      while (module && next < end && moduleBelow(reportgen.layers[next][NAME], path) === module) next += 1;
      result.push({ start, end: next, module });
      start = next;
    }
    return result;
  };
  const merged = part => {
    for (;;) {
      const inner = parts(part.start, part.end, part.module);
      if (inner.length !== 1 || !inner[0].module) return part;
      part = { ...part, module: inner[0].module };
    }
  };

  const leaf = position => {
    const layer = reportgen.layers[position];
    const item = link(layer, layer[NAME].slice(layer[NAME].lastIndexOf(".") + 1));
    item.dataset.position = position;
    for (const flag of layer[FLAGS].split(" ").filter(each => each === "failed" || each === "dead")) {
      item.append(" ", make("span", { class: `status status-${flag}` }, flag));
    }
    return make("li", {}, item);
  };
  const branch = (part, path) => {
    const whole = merged(part);
    const label = whole.module.slice(path ? path.length + 1 : 0);
    const count = make("span", { class: "quiet" }, String(whole.end - whole.start));
    const summary = make("summary", {}, make("span", { class: "module" }, label), " ", count);
    const details = make("details", { "data-start": whole.start, "data-end": whole.end }, summary);
    details.fill = () => {
      if (details.children.length === 1) details.append(tree(whole.start, whole.end, whole.module));
    };
    details.addEventListener("toggle", () => details.open && details.fill());
    return make("li", {}, details);
  };
  const tree = (start, end, path) => {
    const items = parts(start, end, path).map(part => (part.module ? branch(part, path) : leaf(part.start)));
    return make("ul", {}, ...items);
  };

  // Open the modules that the layer lies in, and return its link.
  const reveal = position => {
    for (let scope = modules; scope; ) {
      const inside = [...scope.querySelectorAll(":scope details")].find(
        each => each.dataset.start <= position && position < each.dataset.end && !each.open,
      );
      if (!inside) break;
      inside.fill();
      inside.open = true;
      scope = inside;
    }
    return modules.querySelector(`a[data-position="${position}"]`);
  };
  const bringIntoView = element => {
    if (!element) return;
    const box = element.getBoundingClientRect();
    const frame = list.getBoundingClientRect();
    if (box.top < frame.top || box.bottom > frame.bottom) list.scrollTop += box.top - frame.top - frame.height / 3;
  };
  // The drawing of the graph around a layer may be wider than its place: the layer itself is in the middle.
  const centreGraph = page => {
    const frame = page.querySelector(".graph .scroll");
    const spot = frame?.querySelector(".spot-current");
    if (!spot) return;
    const box = spot.getBoundingClientRect();
    frame.scrollLeft += box.left + box.width / 2 - frame.getBoundingClientRect().left - frame.clientWidth / 2;
  };
  const mark = (element, kind) => {
    for (const each of modules.querySelectorAll(`[aria-current="${kind}"]`)) each.removeAttribute("aria-current");
    element?.setAttribute("aria-current", kind);
  };

  // What stands for a layer in the tree as far as it is open: its link, or the innermost closed module around it.
  const visibleItem = position => {
    let item = modules.querySelector(`a[data-position="${position}"]`);
    if (item && item.checkVisibility()) return item;
    item = null;
    for (const each of modules.querySelectorAll("details")) {
      const inside = Number(each.dataset.start) <= position && position < Number(each.dataset.end);
      if (inside && each.firstElementChild.checkVisibility()) item = each.firstElementChild;
    }
    return item;
  };

  // Follow the scroll: the last of the page's places whose top has passed a third of the window.
  let places = [];
  let waiting = false;
  const follow = () => {
    waiting = false;
    let low = 0;
    let high = places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle].element.getBoundingClientRect().top <= innerHeight / 3) low = middle + 1;
      else high = middle;
    }
    const item = low > 0 ? visibleItem(places[low - 1].position) : null;
    mark(item, "location");
    bringIntoView(item);
  };
  const scrolled = () => {
    if (waiting || places.length === 0) return;
    waiting = true;
    requestAnimationFrame(follow);
  };
  const placesOf = page => {
    const positions = new Map(reportgen.layers.map((layer, position) => [layer[SLUG], position]));
    return [...page.querySelectorAll("[data-position], [data-layer]")]
      .map(element => ({ element, position: Number(element.dataset.position ?? positions.get(element.dataset.layer)) }))
      .filter(place => place.element.checkVisibility() && Number.isFinite(place.position));
  };

  // The filter.
  const showFound = query => {
    const matches = reportgen.matcher(query);
    shown = [...reportgen.layers.keys()].filter(position => matches(reportgen.layers[position]));
    found.hidden = !query;
    modules.hidden = Boolean(query);
    const status = sidebar.querySelector("#_found");
    status.textContent = query ? `${shown.length.toLocaleString("en")} of ${reportgen.layers.length.toLocaleString("en")} layers` : "";
    if (!query) return;
    const items = shown.slice(0, MOST_FOUND).map(position => {
      const layer = reportgen.layers[position];
      const item = link(layer, layer[NAME], query);
      if (position === current) item.setAttribute("aria-current", "page");
      return make("li", {}, item);
    });
    if (shown.length > MOST_FOUND) {
      items.push(make("li", { class: "quiet" }, `${(shown.length - MOST_FOUND).toLocaleString("en")} more; filter further`));
    }
    found.replaceChildren(...items);
    bringIntoView(found.querySelector("[aria-current]"));
  };
  // The index lists the layers itself: there the rows that are not found leave, and the modules left empty with them.
  const filterRows = (page, query) => {
    const rows = page.querySelectorAll(".tree .row");
    if (rows.length === 0) return;
    const kept = new Set(shown);
    for (const row of rows) row.hidden = Boolean(query) && !kept.has(Number(row.dataset.position));
    for (const details of [...page.querySelectorAll(".tree details")].reverse()) {
      details.hidden = ![...details.children].some(child => child.tagName !== "SUMMARY" && !child.hidden);
    }
    places = placesOf(page);
  };
  const flagButtons = () => {
    const counts = new Map();
    for (const layer of reportgen.layers) {
      for (const flag of layer[FLAGS].split(" ").filter(Boolean)) counts.set(flag, (counts.get(flag) ?? 0) + 1);
    }
    const box = sidebar.querySelector(".find-flags");
    for (const [flag, count] of counts) {
      const button = make("button", { type: "button", class: "flag", "data-flag": flag, "aria-pressed": "false" });
      button.append(flag, " ", make("span", { class: "quiet" }, String(count)));
      button.addEventListener("click", () => toggleWord(`is:${flag}`));
      box.append(button);
    }
    box.hidden = counts.size === 0;
  };
  const words = query => query.split(/\s+/).filter(Boolean);
  const toggleWord = word => {
    const before = words(input.value);
    const after = before.includes(word) ? before.filter(each => each !== word) : [...before, word];
    reportgen.go({ query: after.join(" ") }, { replace: true });
  };
  const applyFilter = (page, query) => {
    if (input.value.trim() !== query) input.value = query;
    for (const button of sidebar.querySelectorAll(".flag")) {
      button.setAttribute("aria-pressed", String(words(query).includes(`is:${button.dataset.flag}`)));
    }
    showFound(query);
    filterRows(page, query);
  };

  const toggle = open => {
    sidebar.classList.toggle("open", open);
    if (open) input.focus();
  };
  const setUp = () => {
    sidebar = document.querySelector(".sidebar");
    input = sidebar.querySelector("#_find");
    list = sidebar.querySelector(".sidebar-list");
    found = sidebar.querySelector(".found");
    modules = sidebar.querySelector(".modules");
    modules.replaceChildren(tree(0, reportgen.layers.length, ""));
    sidebar.querySelector(".find").hidden = false;
    flagButtons();
    sidebar.querySelector(".find").addEventListener("submit", event => {
      event.preventDefault();
      found.querySelector("a")?.click();
    });
    input.addEventListener("input", () => reportgen.go({ query: input.value.trim() }, { replace: true }));
    input.addEventListener("keydown", event => {
      if (event.key !== "Escape") return;
      if (input.value) reportgen.go({ query: "" }, { replace: true });
      else input.blur();
      toggle(false);
    });
    // On a phone the sidebar covers the page; the address stays that of the page.
    document.querySelector(".to-sidebar").addEventListener("click", event => {
      event.preventDefault();
      toggle(true);
    });
    sidebar.querySelector(".sidebar-close").addEventListener("click", event => {
      event.preventDefault();
      toggle(false);
    });
    sidebar.addEventListener("click", event => event.target.closest("a[href]:not(.sidebar-close)") && toggle(false));
    addEventListener("scroll", scrolled, { passive: true });
  };

  let query = null;
  reportgen.onEnter(page => {
    if (!sidebar) setUp();
    current = reportgen.layers.findIndex(layer => addressOf(layer) === (page.dataset.continues ?? page.dataset.page));
    query = null;
    mark(current < 0 ? null : reveal(current), "page");
    bringIntoView(modules.querySelector("[aria-current=page]"));
    places = placesOf(page);
    centreGraph(page);
  });
  reportgen.onMove((page, fragment) => {
    if (fragment.query === query) return;
    query = fragment.query;
    applyFilter(page, query);
  });

  reportgen.find = () => {
    toggle(true);
    input.select();
  };
  // The layer `step` after the current one, of those that the filter finds; null at the ends.
  reportgen.neighbour = step => {
    const among = query ? shown : [...reportgen.layers.keys()];
    const next = step > 0 ? among.find(each => each > current) : among.findLast(each => each < current);
    return next === undefined ? null : reportgen.href(addressOf(reportgen.layers[next]), { query: query ?? "" });
  };
})();
