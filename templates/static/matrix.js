"use strict";
// The similarity matrix: drawn from its values, with a cursor, filters, orders, and a view of each pair of layers.
(() => {
  const { moduleBelow } = reportgen;
  const { NAME, SLUG, OPERATION } = reportgen.FIELDS;
  const ORDERS = {
    execution: "Execution order",
    modules: "By module",
    means: "By module, means of blocks",
    operations: "By operation",
    similarity: "Alike layers together",
  };
  const BLOCKS = 24;
  const NAMED = 12; // pixels that a row needs to bear its layer's name
  const UNDEFINED_COLOUR = [201, 204, 203];
  const SVG = "http://www.w3.org/2000/svg";
  const { make } = reportgen;

  // What the page's script of values holds, made ready: `at(i, j)` in thousandths, layers with what is known of them.
  const read = ({ names, values, scale, undefined: missing, causes, pair_cause: pairCause, ...rest }) => {
    const bytes = atob(values);
    const cells = new Int16Array(bytes.length / 2);
    for (let place = 0; place < cells.length; place++) {
      cells[place] = bytes.charCodeAt(2 * place) | (bytes.charCodeAt(2 * place + 1) << 8);
    }
    const count = names.length;
    const starts = names.map((_, row) => row * count - (row * (row + 1)) / 2);
    const known = new Map(reportgen.layers.map(entry => [entry[NAME], entry]));
    const entries = names.map(name => known.get(name) ?? [name, "", "", "", "", ""]);
    return {
      ...rest,
      names,
      entries,
      scale,
      missing,
      slugs: new Map(entries.map((entry, index) => [entry[SLUG], index])),
      at: (row, column) => (row <= column ? cells[starts[row] + column] : cells[starts[column] + row]),
      cause: (row, column) => {
        const name = [row, column].map(index => names[index]).find(each => Object.hasOwn(causes, each));
        return name === undefined ? pairCause : `${name}: ${causes[name]}`;
      },
    };
  };

  // A colour for every value that int16 can hold.
  const colouring = ({ colours, low, high, scale, missing }) => {
    const triples = Uint8Array.from(atob(colours), letter => letter.charCodeAt(0));
    const last = triples.length / 3 - 1;
    const packed = (red, green, blue) => (255 << 24) | (blue << 16) | (green << 8) | red;
    const table = new Int32Array(65536);
    for (let value = -32768; value < 32768; value++) {
      const share = (value / scale - low) / (high - low);
      const index = 3 * Math.max(0, Math.min(last, Math.round(last * share)));
      table[value & 65535] = packed(triples[index], triples[index + 1], triples[index + 2]);
    }
    table[missing & 65535] = packed(...UNDEFINED_COLOUR);
    return table;
  };

  const written = value => value.toFixed(3).replace("-", "\u2212");

  // Layers of a module one after the other, at every depth, where the first of them stood.
  const byModule = (layers, names, module = "") => {
    const parts = new Map();
    for (const layer of layers) {
      const inner = moduleBelow(names[layer], module);
      const key = inner ? `module ${inner}` : `layer ${layer}`;
      if (!parts.has(key)) parts.set(key, []);
      parts.get(key).push(layer);
    }
    return [...parts].flatMap(([key, inside]) =>
      key.startsWith("module ") ? byModule(inside, names, key.slice(7)) : inside);
  };

  const byOperation = (layers, entries) => {
    const groups = new Map();
    for (const layer of layers) groups.set(entries[layer][OPERATION], [...(groups.get(entries[layer][OPERATION]) ?? []), layer]);
    return [...groups.values()].flat();
  };

  // From the first layer on, always to the one most like the last; undefined layers stand at the end.
  const bySimilarity = (layers, data) => {
    const waiting = new Set(layers);
    const found = [];
    let last = layers[0];
    while (waiting.size) {
      found.push(last);
      waiting.delete(last);
      let best = -Infinity;
      let next;
      for (const layer of waiting) {
        const value = data.at(last, layer);
        if (next === undefined || value > best) [best, next] = [value, layer];
      }
      last = next;
    }
    return found;
  };

  const label = (first, last) => {
    if (first === last) return first;
    const module = first.slice(0, first.lastIndexOf(".") + 1);
    return `${first} to ${module && last.startsWith(module) ? last.slice(module.length) : last}`;
  };

  const runs = (layers, start, key) => {
    const found = [];
    layers.forEach((layer, place) => {
      const same = found.at(-1)?.key === key(layer);
      if (same) found.at(-1).end = start + place + 1;
      else found.push({ key: key(layer), start: start + place, end: start + place + 1 });
    });
    return found;
  };

  // The parts of a module: each a module right below it, or a run of its own layers; `module` is null for the latter.
  const partsOf = (block, named) =>
    runs(named.slice(block.start, block.end), block.start, name => moduleBelow(name, block.module))
      .map(({ key, start, end }, _, all) => ({
        start,
        end,
        module: key || null,
        label: key || (all.length === 1 && block.module) || label(named[start], named[end - 1]),
      }));

  // Neighbours put together until there are `most` blocks.
  const merged = (parts, named, most) => {
    const bounds = Array.from({ length: most + 1 }, (_, number) => Math.round((parts.length * number) / most));
    return bounds.slice(1).map((end, number) => parts.slice(bounds[number], end)).map(run => {
      if (run.length === 1) return run[0];
      const [first, last] = [run[0], run.at(-1)];
      const text = label(first.module ?? named[first.start], last.module ?? named[last.end - 1]);
      return { start: first.start, end: last.end, module: null, label: text };
    });
  };

  // Runs of layers in one module, the largest module divided first, as long as there are not too many.
  const moduleBlocks = (layers, names, most = BLOCKS) => {
    const named = layers.map(layer => names[layer]);
    const size = block => block.end - block.start;
    let blocks = [{ start: 0, end: layers.length, module: "" }];
    for (;;) {
      const open = blocks.filter(block => block.module !== null);
      if (!open.length) return blocks;
      const largest = open.reduce((one, other) => (size(other) > size(one) ? other : one));
      const room = most - blocks.length + 1;
      let parts = partsOf(largest, named);
      if (parts.length > room && room > 1 && 2 * size(largest) >= layers.length) parts = merged(parts, named, room);
      if (parts.length > room) return blocks;
      blocks = blocks.flatMap(block => (block === largest ? parts : [block]));
    }
  };

  const blocksOf = (layers, order, data) => {
    if (order === "similarity") return [];
    if (order === "operations") {
      return runs(layers, 0, layer => data.entries[layer][OPERATION]).map(block => ({ ...block, label: block.key }));
    }
    return moduleBlocks(layers, data.names);
  };

  const blockAt = (blocks, place) => blocks.find(block => block.start <= place && place < block.end);

  class Matrix {
    constructor(holder, data) {
      this.holder = holder;
      this.data = data;
      this.colours = colouring(data);
      this.order = "execution";
      this.window = [];
      this.query = "";
      this.cursor = [0, 0];
      this.before = "";
      this.band = JSON.parse(holder.dataset.band);
      this.pictures = JSON.parse(holder.dataset.pictures);
      this.orders = { execution: data.names.map((_, index) => index) };
      this.build();
    }

    build() {
      this.filter = make("input", { type: "search", autocomplete: "off", spellcheck: "false", placeholder: "name, *.conv?, op:relu, is:dead" });
      this.filter.addEventListener("input", () => reportgen.go({ query: this.filter.value.trim() }, { replace: true }));
      this.select = make("select", {});
      for (const [value, text] of Object.entries(ORDERS)) this.select.append(make("option", { value }, text));
      this.select.addEventListener("change", () => reportgen.go({ place: this.select.value }));
      this.whole = make("button", { type: "button" }, "Whole matrix");
      this.whole.addEventListener("click", () => this.leaveZoom());
      this.tally = make("span", { class: "quiet", role: "status" });
      const controls = make("div", { class: "cka-controls" },
        make("label", {}, make("span", {}, "Filter rows and columns"), this.filter),
        make("label", {}, make("span", {}, "Order"), this.select), this.whole, this.tally);

      this.canvas = make("canvas", { "aria-hidden": "true" });
      this.lines = document.createElementNS(SVG, "svg");
      this.lines.setAttribute("preserveAspectRatio", "none");
      this.lines.setAttribute("aria-hidden", "true");
      this.path = document.createElementNS(SVG, "path");
      this.lines.append(this.path);
      this.mark = make("span", { class: "cka-cursor", "aria-hidden": "true" });
      this.frame = make("span", { class: "cka-frame", "aria-hidden": "true" });
      this.plot = make("div", {
        class: "cka-plot",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "matrix",
        "aria-label": "Similarity of layers. Arrow keys move, Enter opens the pair, plus shows the block alone, minus everything.",
      }, this.canvas, this.lines, this.mark, this.frame);
      this.left = make("div", { class: "cka-left" });
      this.top = make("div", { class: "cka-top" });
      this.readout = make("p", { class: "cka-readout", "aria-live": "polite" });
      this.help = make("p", { class: "quiet cka-help" },
        "Click a cell for the pair of layers, a label or a rectangle drawn with the mouse for that part alone. Keys: arrows, Page Up and Page Down, Enter, + and \u2212.");
      this.board = make("div", { class: "cka-board" }, this.plot, this.left, this.top);
      this.none = make("p", { class: "note", hidden: true }, "No layer of the matrix matches the filter.");
      this.pair = make("section", { class: "cka-pair", hidden: true, "aria-label": "Pair of layers" });
      this.holder.append(controls, this.none, this.board, this.readout, this.bar(), this.help, this.pair);
      this.listen();
    }

    bar() {
      const { low, high, colours } = this.data;
      const strip = make("canvas", { width: 252, height: 1, "aria-hidden": "true" });
      const triples = atob(colours);
      const pixels = new ImageData(252, 1);
      for (let place = 0; place < 252; place++) {
        for (let part = 0; part < 3; part++) pixels.data[4 * place + part] = triples.charCodeAt(3 * place + part);
        pixels.data[4 * place + 3] = 255;
      }
      strip.getContext("2d").putImageData(pixels, 0, 0);
      const text = value => String(Number(value.toFixed(2))).replace("-", "\u2212");
      return make("p", { class: "cka-bar quiet" }, text(low), strip, text(high), make("span", { class: "cka-gray" }), "undefined");
    }

    listen() {
      this.plot.addEventListener("pointermove", event => this.hover(event));
      this.plot.addEventListener("pointerdown", event => {
        this.from = event.button === 0 && event.pointerType === "mouse" ? [event.clientX, event.clientY, ...this.cell(event)] : null;
      });
      this.plot.addEventListener("pointerup", event => this.dropped(event));
      this.plot.addEventListener("click", event => this.click(event));
      this.plot.addEventListener("keydown", event => this.key(event));
      this.plot.addEventListener("focus", () => this.say());
      new ResizeObserver(() => this.labels()).observe(this.plot);
    }

    // The cell [row, column] under a pointer.
    cell(event) {
      const box = this.canvas.getBoundingClientRect();
      const place = (offset, length, count) => Math.max(0, Math.min(count - 1, Math.floor((offset / length) * count)));
      return [
        place(event.clientY - box.top, box.height, this.rows.length),
        place(event.clientX - box.left, box.width, this.columns.length),
      ];
    }

    hover(event) {
      if (!this.rows.length) return;
      const cell = this.cell(event);
      if (this.from && event.buttons === 1) this.outline(this.from.slice(2), cell);
      this.point(cell);
    }

    outline([row, column], [toRow, toColumn]) {
      const across = 100 / this.columns.length;
      const down = 100 / this.rows.length;
      Object.assign(this.frame.style, {
        display: "block",
        left: `${across * Math.min(column, toColumn)}%`,
        width: `${across * (Math.abs(toColumn - column) + 1)}%`,
        top: `${down * Math.min(row, toRow)}%`,
        height: `${down * (Math.abs(toRow - row) + 1)}%`,
      });
    }

    dropped(event) {
      const from = this.from;
      this.from = null;
      this.frame.style.display = "none";
      if (!from || Math.hypot(event.clientX - from[0], event.clientY - from[1]) < 6) return;
      const [row, column] = this.cell(event);
      if (row === from[2] && column === from[3]) return;
      this.dragged = true; // the click that follows is not one
      const span = (one, other) => [Math.min(one, other), Math.max(one, other) + 1];
      this.zoom(span(row, from[2]), span(column, from[3]));
    }

    click(event) {
      const dragged = this.dragged;
      this.dragged = false;
      if (dragged || !this.rows.length) return;
      this.point(this.cell(event));
      this.open();
    }

    open() {
      if (this.order === "means") this.zoomToBlock();
      else reportgen.go({ place: `pair/${this.slug(this.rows[this.cursor[0]])}/${this.slug(this.columns[this.cursor[1]])}` });
    }

    slug(layer) {
      return this.data.entries[layer][SLUG];
    }

    zoomToBlock() {
      const row = blockAt(this.rowBlocks, this.cursor[0]);
      const column = blockAt(this.columnBlocks, this.cursor[1]);
      if (row && column) this.zoom([row.start, row.end], [column.start, column.end]);
    }

    // Show rows and columns from a place up to, without, another: the address names the layers at the ends.
    zoom(rows, columns) {
      const ends = (layers, [start, end]) => [layers[start], layers[end - 1]].map(layer => this.slug(layer));
      const order = this.order === "means" ? "modules" : this.order;
      const [down, across] = [ends(this.rows, rows), ends(this.columns, columns)];
      reportgen.go({ place: [order, ...down, ...(String(down) === String(across) ? [] : across)].join("/") });
      this.plot.focus({ preventScroll: true });
    }

    leaveZoom() {
      reportgen.go({ place: this.order });
      this.plot.focus({ preventScroll: true });
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.rows.length) return;
      const steps = {
        ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
        PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -Infinity], End: [0, Infinity],
      };
      if (steps[event.key]) this.step(steps[event.key]);
      else if (event.key === "Enter" || event.key === " ") this.open();
      else if (event.key === "+") this.zoomToBlock();
      else if (event.key === "-" && this.window.length) this.leaveZoom();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    // In means, a step leads to the next block.
    step(steps) {
      const sides = [[this.rows, this.rowBlocks], [this.columns, this.columnBlocks]];
      this.point(steps.map((step, side) => {
        const [layers, blocks] = sides[side];
        const here = this.cursor[side];
        const within = (place, count) => Math.max(0, Math.min(count - 1, place));
        if (this.order !== "means" || !blocks.length) return within(here + step, layers.length);
        return blocks[within(blocks.indexOf(blockAt(blocks, here)) + step, blocks.length)].start;
      }));
    }

    point(cell) {
      this.cursor = cell;
      const [across, down] = [100 / this.columns.length, 100 / this.rows.length];
      const [row, column] = this.extent();
      Object.assign(this.mark.style, {
        left: `${(across * (column.start + column.end)) / 2}%`,
        top: `${(down * (row.start + row.end)) / 2}%`,
        width: `${across * (column.end - column.start)}%`,
        height: `${down * (row.end - row.start)}%`,
      });
      this.say();
    }

    // What the cursor stands on: a cell, or in means a block.
    extent() {
      const one = place => ({ start: place, end: place + 1 });
      const blocks = [this.rowBlocks, this.columnBlocks];
      return this.cursor.map((place, side) => (this.order === "means" && blockAt(blocks[side], place)) || one(place));
    }

    say() {
      if (!this.rows.length) return;
      const [row, column] = this.extent();
      const names = [[row, this.rows], [column, this.columns]].map(([part, layers]) =>
        make("code", {}, part.label ?? this.data.names[layers[part.start]]));
      const what = this.order === "means" ? this.meaning(row, column) : this.value(this.rows[row.start], this.columns[column.start]);
      this.readout.replaceChildren(names[0], " \u00d7 ", names[1], ": ", make("strong", {}, what.text), what.note);
    }

    value(row, column) {
      const value = this.data.at(row, column);
      if (value === this.data.missing) return { text: "undefined", note: ` \u2013 ${this.data.cause(row, column)}` };
      const number = value / this.data.scale;
      const [low, high] = this.band;
      const chance = low !== null && low <= number && number <= high && row !== column;
      return {
        text: written(number),
        note: chance ? ` \u2013 no more than chance gives (${written(low)} to ${written(high)})` : "",
      };
    }

    meaning(row, column) {
      const { mean, pairs, missing } = this.mean(row, column);
      const left = missing ? `, ${missing.toLocaleString("en")} more undefined` : "";
      return pairs
        ? { text: written(mean), note: ` \u2013 mean of ${pairs.toLocaleString("en")} pairs of layers${left}` }
        : { text: "undefined", note: missing ? ` \u2013 each of ${missing} pairs is undefined` : " \u2013 one layer makes no pair" };
    }

    // A layer and itself are no pair.
    mean(row, column) {
      let [sum, pairs, missing] = [0, 0, 0];
      for (let down = row.start; down < row.end; down++) {
        for (let across = column.start; across < column.end; across++) {
          const value = this.data.at(this.rows[down], this.columns[across]);
          if (this.rows[down] === this.columns[across]) continue;
          if (value === this.data.missing) missing++;
          else [sum, pairs] = [sum + value, pairs + 1];
        }
      }
      return { mean: sum / pairs / this.data.scale, pairs, missing };
    }

    ordered(order) {
      const { execution } = this.orders;
      this.orders[order] ??= {
        modules: () => byModule(execution, this.data.names),
        means: () => byModule(execution, this.data.names),
        operations: () => byOperation(execution, this.data.entries),
        similarity: () => bySimilarity(execution, this.data),
      }[order]();
      return this.orders[order];
    }

    // Follow the address: an order with the layers at the ends of what is shown, or a pair, or a place of the page.
    move(place, query) {
      const [first, ...slugs] = place.split("/");
      const pair = first === "pair" && slugs.length === 2 && slugs.every(slug => this.data.slugs.has(slug));
      if (place === "" || Object.hasOwn(ORDERS, first)) {
        this.order = place === "" ? "execution" : first;
        this.window = slugs;
        this.before = place;
      }
      this.query = query;
      const key = JSON.stringify([this.order, this.window, query]);
      if (key !== this.shown) this.arrange();
      this.shown = key;
      if (pair) this.showPair(slugs.map(slug => this.data.slugs.get(slug)));
      else this.hidePair();
    }

    arrange() {
      const all = this.ordered(this.order);
      const span = (first, last) => {
        const [start, end] = [first, last].map(slug => all.indexOf(this.data.slugs.get(slug)));
        return start < 0 || end < start ? all : all.slice(start, end + 1);
      };
      const [top, bottom, left = top, right = bottom] = this.window;
      const found = reportgen.matcher(this.query);
      const matched = layer => found(this.data.entries[layer]);
      [this.rows, this.columns] = (this.window.length ? [span(top, bottom), span(left, right)] : [all, all])
        .map(layers => layers.filter(matched));
      const { rows, columns } = this;
      [this.rowBlocks, this.columnBlocks] = [rows, columns].map(layers => blocksOf(layers, this.order, this.data));
      const square = rows.length === columns.length && rows.every((layer, place) => layer === columns[place]);
      const empty = !rows.length || !columns.length;
      this.tally.textContent = `${square ? "" : `${rows.length.toLocaleString("en")} by `}${columns.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} layers`;
      if (document.activeElement !== this.filter) this.filter.value = this.query;
      this.select.value = this.order;
      this.whole.hidden = !this.window.length;
      this.none.hidden = !empty;
      this.board.hidden = this.readout.hidden = empty;
      if (empty) return;
      this.draw();
      this.labels();
      this.point([Math.min(this.cursor[0], rows.length - 1), Math.min(this.cursor[1], columns.length - 1)]);
    }

    draw() {
      const { rows, columns, canvas, data, colours } = this;
      [canvas.width, canvas.height] = [columns.length, rows.length];
      const pixels = new ImageData(columns.length, rows.length);
      const cells = new Int32Array(pixels.data.buffer);
      let place = 0;
      for (const row of rows) for (const column of columns) cells[place++] = colours[data.at(row, column) & 65535];
      if (this.order === "means") this.drawMeans(cells);
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      this.plot.style.aspectRatio = String(Math.max(1, Math.min(3, columns.length / rows.length)));
      const down = this.rowBlocks.slice(1).map(block => `M0 ${block.start}H${columns.length}`);
      const across = this.columnBlocks.slice(1).map(block => `M${block.start} 0V${rows.length}`);
      this.lines.setAttribute("viewBox", `0 0 ${columns.length} ${rows.length}`);
      this.path.setAttribute("d", [...down, ...across].join(""));
    }

    drawMeans(cells) {
      const { data, colours } = this;
      const width = this.columns.length;
      for (const row of this.rowBlocks) {
        for (const column of this.columnBlocks) {
          const { mean, pairs } = this.mean(row, column);
          const colour = colours[(pairs ? Math.round(mean * data.scale) : data.missing) & 65535];
          for (let down = row.start; down < row.end; down++) cells.fill(colour, down * width + column.start, down * width + column.end);
        }
      }
    }

    // Layers' names where each has room, else the blocks' as far as they have.
    labels() {
      if (!this.rows?.length || !this.columns?.length || !this.plot.clientWidth) return;
      const { clientWidth, clientHeight } = this.plot;
      this.canvas.classList.toggle("crisp", clientWidth >= this.columns.length && clientHeight >= this.rows.length);
      this.side(this.left, this.rows, this.rowBlocks, clientHeight, "top");
      this.side(this.top, this.columns, this.columnBlocks, clientWidth, "left");
    }

    side(element, layers, blocks, length, edge) {
      const each = length / layers.length;
      const marks = each >= NAMED
        ? layers.map((layer, place) => ({ middle: place + 0.5, size: 1, layer }))
        : blocks.map(block => ({ middle: (block.start + block.end) / 2, size: block.end - block.start, block }));
      const kept = [];
      for (const one of [...marks].sort((a, b) => b.size - a.size || a.middle - b.middle)) {
        if (kept.every(other => Math.abs(one.middle - other.middle) * each >= NAMED - 0.5)) kept.push(one);
      }
      kept.sort((a, b) => a.middle - b.middle);
      element.replaceChildren(...kept.map(one => {
        const child = one.block ? this.blockLabel(one.block) : this.layerLabel(one.layer);
        child.style[edge] = `${(100 * one.middle) / layers.length}%`;
        return child;
      }));
    }

    layerLabel(layer) {
      const [name, slug] = this.data.entries[layer];
      return make("a", { href: slug ? reportgen.href(`layers/${slug}.html`) : null, title: name }, make("bdi", {}, name));
    }

    blockLabel(block) {
      const button = make("button", { type: "button", title: `${block.label}: show it alone` }, make("bdi", {}, block.label));
      button.addEventListener("click", () => {
        const side = button.parentElement === this.left ? this.rows : this.columns;
        const [first, last] = [side[block.start], side[block.end - 1]].map(layer => this.slug(layer));
        reportgen.go({ place: [this.order === "means" ? "modules" : this.order, first, last].join("/") });
        this.plot.focus({ preventScroll: true });
      });
      return button;
    }

    showPair([row, column]) {
      const cell = [this.rows.indexOf(row), this.columns.indexOf(column)];
      if (cell.every(place => place >= 0)) this.point(cell);
      const { text, note } = this.value(row, column);
      const close = make("button", { type: "button" }, "Back to the matrix");
      close.addEventListener("click", () => {
        reportgen.go({ place: this.before || "execution" });
        this.plot.focus();
      });
      const head = make("h2", { tabindex: "-1" }, "Pair of layers");
      this.pair.replaceChildren(head,
        make("p", { class: "cka-value" }, "CKA ", make("strong", {}, text), note),
        make("div", { class: "cka-two" }, ...[row, column].map(layer => this.card(layer))), close);
      this.pair.hidden = false;
      head.focus({ preventScroll: true });
      this.pair.scrollIntoView({ block: "nearest" });
    }

    hidePair() {
      const inside = this.pair.contains(document.activeElement);
      this.pair.hidden = true;
      if (inside) this.plot.focus();
    }

    card(layer) {
      const [name, slug, operation, title, , shape] = this.data.entries[layer];
      const code = make("code", {}, name);
      const card = make("div", {}, make("p", {}, slug ? make("a", { href: reportgen.href(`layers/${slug}.html`) }, code) : code),
        make("p", { class: "quiet" }, [title, operation, shape].filter(Boolean).join(" \u00b7 ")));
      // A packed report holds its pictures inside; there are no files to show.
      const picture = reportgen.page().dataset.prefix === undefined && this.pictures[slug];
      if (picture) {
        card.prepend(make("img", {
          src: reportgen.href(picture), width: 112, height: 112, class: "crisp",
          alt: `Sum of the channels of ${name} for ${this.holder.dataset.image}`,
        }));
      }
      return card;
    }
  }

  const matrices = new WeakMap();
  reportgen.onEnter(page => {
    const holder = page?.querySelector(".cka");
    if (!holder || matrices.has(holder) || !reportgen.similarity) return;
    holder.hidden = false;
    matrices.set(holder, new Matrix(holder, read(reportgen.similarity)));
    // The chart says the same; its files stay at hand.
    const chart = page.querySelector(".cka + figure > .chart");
    if (chart) chart.hidden = true;
  });
  reportgen.onMove((page, { place, query }) => {
    const holder = page?.querySelector(".cka");
    if (holder) matrices.get(holder)?.move(place, query);
  });
})();
