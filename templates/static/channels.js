"use strict";
// Looking closely at a channel grid: which channel is pointed at and its range; one channel enlarged, with its
// statistics, for one image and for all; a channel pinned to its layer's page; the images of a page side by side.
// Pixels are drawn and never read: a page opened from disk may not read them.

// The numbers of channels by page, filled by the script that a page loads when they are first asked for.
reportgen.channels = new Map();

(() => {
  const { make } = reportgen;
  const MINUS = "\u2212";
  const PINNED = 224;
  const SMALL = 112;
  const views = new WeakMap();
  let opened = null;

  // --- Numbers

  // As printf's %.4g with a true minus sign, which is how pages print numbers.
  const number = (value, digits = 4) => {
    if (value === null || value === undefined) return "undefined";
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    const exponent = Number(power);
    const sign = exponent < 0 ? "-" : "+";
    const text = exponent < -4 || exponent >= digits
      ? `${Number(mantissa)}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`
      : String(Number(`${mantissa}e${power}`));
    return text.replaceAll("-", MINUS);
  };
  const percent = share => {
    if (share === null || share === undefined) return "undefined";
    const text = number(100 * share, 3);
    return text === "100" && share < 1 ? "over 99.9 %" : `${text} %`;
  };
  const rangeText = (low, high) => {
    if (low === null || high === null) return "no finite value";
    return low === high ? number(low) : `${number(low)} to ${number(high)}`;
  };
  // What is known of a channel on an image: null without numbers, and no `range` where the record has none.
  const facts = (numbers, image, channel) => {
    if (!numbers || !Object.hasOwn(numbers.images, image)) return null;
    const { low, high, span, constant } = numbers.images[image];
    const known = channel < low.length;
    return {
      range: known ? rangeText(low[channel], high[channel]) : "",
      ends: span ?? (known ? [low[channel], high[channel]] : [null, null]),
      shared: Boolean(span),
      constant: constant.includes(channel),
      dead: Boolean(numbers.statistics?.dead?.includes(channel)),
    };
  };
  const describe = (numbers, image, channel) => {
    const known = facts(numbers, image, channel);
    const marks = known ? [known.range, known.constant && "constant", known.dead && "dead"] : [];
    return [`channel ${channel}`, ...marks].filter(Boolean).join(" · ");
  };
  // The numbers of a page's channels; null where their file is lost. They are known from then on.
  const load = view => {
    const take = () => (view.numbers = reportgen.channels.get(view.page.dataset.page) ?? null);
    view.loading ??= reportgen.load(view.dialog.dataset.numbers).then(take, take);
    return view.loading;
  };

  // --- Geometry: where tiles lie in a mosaic, in pixels of its picture

  const geometry = ({ width, columns, tileWidth, tileHeight, gap, shown, total }) => ({
    width: Number(width),
    columns: Number(columns),
    tileWidth: Number(tileWidth),
    tileHeight: Number(tileHeight),
    gap: Number(gap),
    shown: Number(shown),
    total: Number(total),
  });
  const corner = (grid, tile) => ({
    x: (tile % grid.columns) * (grid.tileWidth + grid.gap),
    y: Math.floor(tile / grid.columns) * (grid.tileHeight + grid.gap),
  });
  // The tile at a point, the gap after it included; null beside all of them.
  const tileAt = (grid, x, y) => {
    const column = Math.floor(x / (grid.tileWidth + grid.gap));
    const tile = Math.floor(y / (grid.tileHeight + grid.gap)) * grid.columns + column;
    return column >= 0 && column < grid.columns && tile >= 0 && tile < grid.shown ? tile : null;
  };
  const pointedAt = (panel, event) => {
    const box = panel.picture.getBoundingClientRect();
    const scale = panel.grid.width / box.width;
    return tileAt(panel.grid, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };

  // --- Drawing one tile

  const draw = (canvas, panel, channel) => {
    const { picture, grid } = panel;
    const { x, y } = corner(grid, channel);
    const scale = picture.naturalWidth / grid.width;
    const [width, height] = [grid.tileWidth, grid.tileHeight];
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, x * scale, y * scale, width * scale, height * scale, 0, 0, width, height);
  };
  const paint = async (canvas, panel, channel) => {
    const wanted = `${panel.id}/c${channel}`;
    canvas.dataset.tile = wanted;
    const { picture } = panel;
    if (!picture.complete || !picture.naturalWidth) {
      picture.loading = "eager";
      try {
        await picture.decode();
      } catch {
        return; // Its picture is lost; the page shows that where it stands.
      }
    }
    if (canvas.dataset.tile === wanted) draw(canvas, panel, channel);
  };
  // Enlarged by a whole factor, counted in the screen's own pixels, wherever there is room for it.
  const enlarge = (canvas, grid, width, height) => {
    const density = window.devicePixelRatio || 1;
    const fit = Math.min(width / grid.tileWidth, height / grid.tileHeight);
    const factor = fit * density >= 1 ? Math.floor(fit * density + 1e-6) / density : fit;
    const size = [grid.tileWidth, grid.tileHeight].map(length => Math.max(1, length * factor));
    canvas.style.width = `${size[0]}px`;
    canvas.style.height = `${size[1]}px`;
    canvas.classList.toggle("crisp", factor * density >= 1);
    return size;
  };
  // Tiles of many images are drawn when they come into view, since each needs its whole mosaic.
  const waiting = new WeakMap();
  const watch = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      waiting.get(target)?.();
    }
  }, { rootMargin: "200px" });
  const whenSeen = (element, callback) => {
    waiting.set(element, callback);
    watch.unobserve(element);
    watch.observe(element);
  };

  // --- The addresses of channels

  const placeOf = (panel, channel) => `${panel.id}/c${channel}`;
  const linkTo = (panel, channel) => `#${reportgen.format({ place: placeOf(panel, channel) })}`;
  const split = place => {
    const match = /^(.+)\/c(\d+)$/.exec(place);
    return match ? { image: match[1], channel: match[2] } : null;
  };
  const target = (view, place) => {
    const { image, channel } = split(place) ?? {};
    const panel = view?.panels.get(image);
    const valid = panel && /^(0|[1-9]\d{0,8})$/.test(channel) && Number(channel) < panel.grid.shown;
    return valid ? { panel, channel: Number(channel) } : null;
  };

  // --- Pointing at a mosaic

  const showOutline = (panel, channel) => {
    const { grid, outline, link, picture } = panel;
    const [box, frame] = [picture.getBoundingClientRect(), link.getBoundingClientRect()];
    const scale = box.width / grid.width;
    const { x, y } = corner(grid, channel);
    outline.style.left = `${box.left - frame.left - link.clientLeft + x * scale}px`;
    outline.style.top = `${box.top - frame.top - link.clientTop + y * scale}px`;
    outline.style.width = `${grid.tileWidth * scale}px`;
    outline.style.height = `${grid.tileHeight * scale}px`;
    outline.hidden = false;
  };
  const point = async (view, panel, channel) => {
    panel.at = channel;
    if (channel === null) return leave(panel);
    showOutline(panel, channel);
    panel.readout.textContent = describe(view.numbers, panel.id, channel);
    await load(view);
    if (panel.at !== channel || panel.outline.hidden) return;
    const missing = view.numbers ? "" : " · the file with its numbers is missing";
    panel.readout.textContent = describe(view.numbers, panel.id, channel) + missing;
  };
  const leave = panel => {
    panel.outline.hidden = true;
    panel.readout.replaceChildren(make("span", { class: "quiet" }, panel.hint));
  };
  // Where a mosaic goes on below the screen its readout stands upon it: never under the pointer.
  const stepAside = ({ link, readout }, event) => {
    const box = link.getBoundingClientRect();
    const near = event.clientY > readout.getBoundingClientRect().top - 16;
    readout.classList.toggle("aside", near && event.clientX < box.left + box.width / 2);
  };
  const steps = ({ columns, shown }) => ({
    ArrowLeft: at => at - 1,
    ArrowRight: at => at + 1,
    ArrowUp: at => (at >= columns ? at - columns : at),
    ArrowDown: at => (at + columns < shown ? at + columns : at),
    Home: () => 0,
    End: () => shown - 1,
  });
  const plain = event => !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  const onKey = (view, panel, event) => {
    if (event.key === "Enter" && !panel.link.href) return onClick(view, panel, event);
    const step = steps(panel.grid)[event.key];
    if (!step || !plain(event)) return;
    event.preventDefault();
    const next = panel.outline.hidden ? (panel.at ?? 0) : step(panel.at);
    point(view, panel, Math.min(Math.max(next, 0), panel.grid.shown - 1));
    panel.outline.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const onClick = (view, panel, event) => {
    if (event.button || !plain(event)) return;
    event.preventDefault();
    const channel = event.detail === 0 ? (panel.at ?? 0) : pointedAt(panel, event);
    if (channel === null) return;
    view.current = panel; // It is in sight: no need to scroll there.
    reportgen.go({ place: placeOf(panel, channel) });
  };
  const listen = (view, panel) => {
    const { link } = panel;
    link.addEventListener("pointermove", event => {
      if (event.pointerType === "touch") return;
      stepAside(panel, event);
      point(view, panel, pointedAt(panel, event));
    });
    link.addEventListener("pointerleave", () => leave(panel));
    link.addEventListener("blur", () => leave(panel));
    link.addEventListener("focus", () => {
      if (link.matches(":focus-visible")) point(view, panel, panel.at ?? 0);
    });
    link.addEventListener("keydown", event => onKey(view, panel, event));
    link.addEventListener("click", event => onClick(view, panel, event));
  };

  // --- The dialog

  const statistics = (table, numbers, channel) => {
    const known = numbers?.statistics;
    table.hidden = !known;
    if (!known) return;
    const at = name => known[name]?.[channel];
    const rows = [
      ["Mean", number(at("mean"))],
      ["Standard deviation", number(at("std"))],
      ["Smallest", number(at("min"))],
      ["Largest", number(at("max"))],
      ["Exactly zero", percent(at("share_of_zeros"))],
      ["Correlation with the input", number(at("input_correlation"))],
    ];
    table.caption.textContent = known.images === 1 ? "On the one image" : `Over all ${known.images.toLocaleString("en")} images`;
    table.tBodies[0].replaceChildren(
      ...rows.map(([name, text]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "number" }, text))),
    );
  };
  const FLAGS = {
    dead: "Dead: zero everywhere.",
    constant: "Constant: one value everywhere.",
    saturated: "Saturated: nearly all its values lie at a bound.",
    copy: "Nearly a copy of the input.",
  };
  const COUNTS = { nan_count: ["value is NaN", "values are NaN"], inf_count: ["value is infinite", "values are infinite"] };
  const paired = (pairs, channel) => pairs?.find(([first]) => first === channel)?.[1];
  const flags = (view, panel, channel) => {
    const known = view.numbers?.statistics;
    if (!known) return [];
    const found = Object.keys(FLAGS).filter(name => known[name]?.includes(channel)).map(name => [FLAGS[name]]);
    const original = paired(known.duplicate_of, channel);
    if (original !== undefined) {
      const href = linkTo(panel, original);
      found.push(["Duplicate of ", make("a", { href, "data-channel": original }, `channel ${original}`), "."]);
    }
    for (const [name, [one, many]] of Object.entries(COUNTS)) {
      const count = paired(known[name], channel);
      if (count) found.push([`${count.toLocaleString("en")} ${count === 1 ? one : many}.`]);
    }
    return found;
  };
  const CHECKED = { dead: "dead", constant: "constant", duplicate_of: "duplicate", input_correlation: "correlation with the input" };
  const unknowns = view => {
    const causes = new Map();
    for (const [name, cause] of Object.entries(view.numbers?.statistics?.undefined ?? {})) {
      if (name in CHECKED) causes.set(cause, [...(causes.get(cause) ?? []), CHECKED[name]]);
    }
    return [...causes].map(([cause, names]) => [`Undefined: ${names.join(", ")} (${cause}).`]);
  };
  const fillNumbers = (view, panel, channel) => {
    const { part } = view;
    const known = facts(view.numbers, panel.id, channel);
    const constant = known?.constant ? " · constant" : "";
    const missing = view.numbers === null ? "The file with its numbers is missing." : "";
    part("range").textContent = known?.range ? `${known.range}${constant}` : missing;
    // Where one value is all there is, no colours lie between two.
    part("ends").hidden = !known || known.ends[0] === known.ends[1];
    part("shared").hidden = !known?.shared;
    if (known) [part("low").textContent, part("high").textContent] = known.ends.map(end => number(end));
    statistics(part("statistics"), view.numbers, channel);
    const found = flags(view, panel, channel);
    const lines = found.length || !view.numbers?.statistics ? found : [["Nothing stands out."]];
    part("flags").replaceChildren(...[...lines, ...unknowns(view)].map(parts => make("li", {}, ...parts)));
    for (const { image, caption } of view.across) {
      caption.textContent = facts(view.numbers, image.id, channel)?.range ?? "";
    }
  };
  const fillAcross = (view, panel, channel) => {
    for (const { image, item, link, canvas } of view.across) {
      item.hidden = channel >= image.grid.shown;
      link.href = linkTo(image, channel);
      image === panel ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
      if (item.hidden) continue;
      enlarge(canvas, image.grid, SMALL, SMALL);
      whenSeen(canvas, () => paint(canvas, image, channel));
    }
    const current = view.across.find(({ image }) => image === panel);
    const list = view.part("across");
    const offset = current.item.offsetLeft - list.offsetLeft;
    if (offset < list.scrollLeft || offset + current.item.offsetWidth > list.scrollLeft + list.clientWidth) {
      list.scrollLeft = offset;
    }
  };
  // Lay the tile over the input: both fill the same box.
  const fitStage = view => {
    if (!view.shown) return;
    const { part, shown: { panel } } = view;
    const room = part("stage").parentElement;
    const [width, height] = enlarge(part("canvas"), panel.grid, room.clientWidth, Math.max(160, window.innerHeight * 0.54));
    part("stage").style.width = `${width}px`;
    part("stage").style.height = `${height}px`;
  };
  const under = ({ className, alt, src }) => make("img", { class: className, alt, src });
  const fillStage = (view, panel, channel) => {
    const { part } = view;
    part("slider").hidden = !panel.seen;
    if (view.under !== panel) {
      part("stage").querySelector("img")?.remove();
      if (panel.seen) part("stage").prepend(under(panel.seen));
      view.under = panel;
    }
    part("canvas").setAttribute("aria-label", `Channel ${channel} for ${panel.name}`);
    paint(part("canvas"), panel, channel);
  };
  const setOpacity = view => {
    const value = view.part("opacity").value;
    view.part("canvas").style.opacity = String(value / 100);
    view.part("percent").textContent = `${value} %`;
  };
  const fill = (view, panel, channel) => {
    const { part, dialog } = view;
    const { shown, total } = panel.grid;
    dialog.setAttribute("aria-label", `Channel ${channel} of ${view.layer} for ${panel.name}`);
    part("number").value = String(channel);
    part("number").max = String(shown - 1);
    const last = `0 to ${(shown - 1).toLocaleString("en")}`;
    part("of").textContent = shown < total ? `${last}, of ${total.toLocaleString("en")}` : last;
    part("image").textContent = panel.name;
    part("before").setAttribute("aria-disabled", String(channel === 0));
    part("after").setAttribute("aria-disabled", String(channel === shown - 1));
    part("pin").setAttribute("aria-pressed", String(pinned(view) === channel));
    part("permanent").href = linkTo(panel, channel);
    part("permanent").textContent = `${view.page.dataset.page}#${placeOf(panel, channel)}`;
    part("whole").hidden = !panel.link.href;
    part("whole").href = panel.link.href;
    fillStage(view, panel, channel);
    fitStage(view);
    fillNumbers(view, panel, channel);
    fillAcross(view, panel, channel);
  };
  const open = (view, panel, channel) => {
    view.shown = { panel, channel };
    panel.at = channel;
    if (view.current !== panel) panel.element.scrollIntoView();
    view.current = panel;
    if (!view.dialog.open) {
      view.dialog.showModal();
      view.part("after").focus();
    }
    opened = view;
    fill(view, panel, channel);
    load(view).then(() => {
      if (view.shown?.panel === panel && view.shown.channel === channel) fillNumbers(view, panel, channel);
    });
  };
  const close = view => {
    opened = null;
    view.shown = null;
    view.dialog.close();
  };
  // The reader closed the dialog: the address goes back to the image, which the reader then stands at.
  const onClosed = view => {
    if (!view.shown) return;
    const { panel } = view.shown;
    opened = null;
    view.shown = null;
    if (reportgen.page() !== view.page) return;
    reportgen.go({ place: panel.id }, { replace: true });
    if (document.activeElement === document.body) panel.link.focus({ preventScroll: true });
  };
  const stepTo = (view, channel, panel = view.shown.panel) => {
    if (Number.isInteger(channel) && channel >= 0 && channel < panel.grid.shown) {
      reportgen.go({ place: placeOf(panel, channel) }, { replace: true });
    }
    // What was no channel gives way to the one that is shown.
    if (view.shown) view.part("number").value = String(view.shown.channel);
  };
  const onDialogKey = (view, event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !plain(event) || event.target.matches("input")) return;
    event.preventDefault();
    stepTo(view, view.shown.channel + step);
  };
  const onDialogClick = (view, event) => {
    if (!plain(event)) return;
    const box = view.dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX < box.right && event.clientY >= box.top && event.clientY < box.bottom;
    if (event.target === view.dialog && !inside) return view.dialog.close();
    const link = event.target.closest("a[data-channel]");
    if (!link) return;
    event.preventDefault();
    stepTo(view, Number(link.dataset.channel));
  };
  const across = (view, image) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const caption = make("span", { class: "quiet" });
    const link = make("a", {}, make("span", { class: "across-tile" }, canvas), make("span", {}, image.name), caption);
    link.addEventListener("click", event => {
      if (!plain(event)) return;
      event.preventDefault();
      stepTo(view, view.shown.channel, image);
    });
    return { image, item: make("li", {}, link), link, canvas, caption };
  };
  const prepareDialog = view => {
    const { dialog, part } = view;
    part("before").addEventListener("click", () => stepTo(view, view.shown.channel - 1));
    part("after").addEventListener("click", () => stepTo(view, view.shown.channel + 1));
    part("number").addEventListener("change", () => stepTo(view, part("number").value === "" ? NaN : Number(part("number").value)));
    part("close").addEventListener("click", () => dialog.close());
    part("pin").addEventListener("click", () => togglePin(view, view.shown.channel));
    part("opacity").addEventListener("input", () => setOpacity(view));
    dialog.addEventListener("keydown", event => onDialogKey(view, event));
    dialog.addEventListener("click", event => onDialogClick(view, event));
    dialog.addEventListener("close", () => onClosed(view));
    view.across = [...view.panels.values()].map(image => across(view, image));
    part("across").replaceChildren(...view.across.map(({ item }) => item));
    part("all").hidden = view.across.length < 2;
    setOpacity(view);
  };

  // --- A channel pinned to the page of its layer

  // Pages opened from disk share one memory, so the key holds the whole address.
  const pinKey = view => `pin ${location.pathname} ${view.page.dataset.page}`;
  const pinned = view => {
    const text = reportgen.recall(pinKey(view));
    return /^\d{1,9}$/.test(text ?? "") ? Number(text) : null;
  };
  const togglePin = (view, channel) => {
    reportgen.remember(pinKey(view), pinned(view) === channel ? "" : String(channel));
    showPins(view);
    if (view.shown) view.part("pin").setAttribute("aria-pressed", String(pinned(view) === view.shown.channel));
  };
  const pinFigure = (view, panel, channel) => {
    const canvas = make("canvas", { role: "img", "aria-label": `Channel ${channel} for ${panel.name}` });
    const link = make("a", { class: "pinned-tile", href: linkTo(panel, channel) }, canvas);
    link.addEventListener("click", event => {
      if (!plain(event)) return;
      event.preventDefault();
      view.current = panel;
      reportgen.go({ place: placeOf(panel, channel) });
    });
    const range = make("span", {}, describe(null, panel.id, channel));
    const unpin = make("button", { type: "button", class: "unpin", "aria-label": `Unpin channel ${channel}` }, "Unpin");
    unpin.addEventListener("click", () => togglePin(view, channel));
    whenSeen(canvas, () => paint(canvas, panel, channel));
    enlarge(canvas, panel.grid, PINNED, PINNED);
    load(view).then(() => {
      range.textContent = describe(view.numbers, panel.id, channel);
    });
    return make("figure", { class: "pinned" }, link, make("figcaption", {}, range, " ", unpin));
  };
  const showPins = view => {
    const channel = pinned(view);
    for (const panel of view.panels.values()) {
      panel.pin?.remove();
      panel.pin = channel !== null && channel < panel.grid.shown ? pinFigure(view, panel, channel) : null;
      if (panel.pin) panel.element.querySelector(".side").append(panel.pin);
    }
  };

  // --- The images of a page side by side

  const ABREAST = "abreast";
  const setAbreast = (panels, button, on) => {
    panels.classList.toggle("abreast", on);
    button.setAttribute("aria-pressed", String(on));
    for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", "Images side by side"]]) {
      on ? panels.setAttribute(name, value) : panels.removeAttribute(name);
    }
  };
  const prepareAbreast = page => {
    const panels = page.querySelector(".panels");
    const jump = page.querySelector("nav.jump");
    if (!panels || !jump || panels.children.length < 2) return;
    const button = make("button", { type: "button", class: "abreast-button" }, "Side by side");
    button.addEventListener("click", () => {
      const on = !panels.classList.contains("abreast");
      reportgen.remember(ABREAST, on ? "1" : "");
      setAbreast(panels, button, on);
    });
    jump.append(button);
    setAbreast(panels, button, reportgen.recall(ABREAST) === "1");
  };

  // --- Setting up

  // The input, where a tile can lie over it: frames of a clip side by side are of another shape.
  const liesOver = (seen, { tileWidth, tileHeight }) => {
    const side = name => Number(seen?.getAttribute(name));
    const times = ((tileWidth / tileHeight) * side("height")) / side("width");
    return times > 0.5 && times < 2 ? seen : null;
  };
  const panelOf = link => {
    const element = link.closest("[data-image]");
    const readout = make("p", { class: "readout", role: "status" });
    const outline = make("span", { class: "outline", hidden: true });
    if (!link.href) {
      // In a packed report there is no file to lead to: then it is a button.
      link.tabIndex = 0;
      link.setAttribute("role", "button");
    }
    link.append(outline);
    link.after(readout);
    const grid = geometry(link.dataset);
    return {
      element,
      link,
      readout,
      outline,
      id: element.dataset.image,
      name: element.querySelector("h2").textContent.trim(),
      picture: link.querySelector("img"),
      seen: liesOver(element.querySelector(".seen img"), grid),
      grid,
      hint: "",
      at: null,
      pin: null,
    };
  };
  const prepare = page => {
    prepareAbreast(page);
    const dialog = page.querySelector("dialog.channel");
    if (!dialog) return null;
    const links = [...page.querySelectorAll("[data-image] a.mosaic[data-columns]")];
    const panels = new Map(links.map(panelOf).map(panel => [panel.id, panel]));
    const parts = new Map([...dialog.querySelectorAll("[data-part]")].map(each => [each.dataset.part, each]));
    const layer = dialog.dataset.layer;
    const view = { page, dialog, layer, panels, part: name => parts.get(name), numbers: undefined, shown: null, current: null };
    const [first] = panels.values();
    first.hint = "Point at a channel for its range, click to enlarge it.";
    for (const panel of panels.values()) {
      leave(panel);
      listen(view, panel);
    }
    prepareDialog(view);
    showPins(view);
    return view;
  };
  const viewOf = page => {
    if (page && !views.has(page)) views.set(page, prepare(page));
    return page ? views.get(page) : null;
  };

  reportgen.onEnter(viewOf);
  reportgen.onMove((page, { place }) => {
    const view = viewOf(page);
    const found = view && target(view, place);
    if (opened && (!found || opened !== view)) close(opened);
    if (found) return open(view, found.panel, found.channel);
    const image = view?.panels.get(split(place)?.image);
    if (image) image.element.scrollIntoView(); // There is no such channel, but such an image.
  });
  addEventListener("resize", () => {
    if (opened) fitStage(opened);
  });
})();
