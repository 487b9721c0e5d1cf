"use strict";
// What the other scripts stand on. Pages are complete without any of them; each adds one convenience.
// A classic script and no module, and nothing is fetched: both would fail on pages opened from disk.
const reportgen = (() => {
  const entering = [];
  const moving = [];
  const memory = new Map();

  // The fragment of an address holds a place and a filter: `#cat/c12`, `#q=conv`, `#cat/c12&q=conv`. In a packed
  // report it begins with the page's own address, which the page's element bears as `data-prefix`.
  const decode = text => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  const page = () => document.querySelector("[data-page]:not([hidden])");
  const prefix = () => page()?.dataset.prefix ?? "";
  const fragment = () => {
    const whole = decode(location.hash.slice(1));
    const text = whole.startsWith(prefix()) ? whole.slice(prefix().length) : whole;
    const at = text.search(/(^|&)q=/);
    if (at < 0) return { place: text, query: "" };
    return { place: text.slice(0, at), query: text.slice(text.indexOf("q=", at) + 2) };
  };
  const encode = text => encodeURIComponent(text).replace(/%2F/g, "/").replace(/%3A/g, ":");
  const format = ({ place = "", query = "" }) =>
    [encode(place), query && `q=${encode(query)}`].filter(Boolean).join("&");

  // Change the fragment. A frame without an origin of its own may not touch its history; it moves on instead.
  const go = (changes, { replace = false } = {}) => {
    const hash = `#${encode(prefix())}${format({ ...fragment(), ...changes })}`;
    if (hash === (location.hash || "#")) return;
    try {
      history[replace ? "replaceState" : "pushState"](null, "", hash === "#" ? location.pathname + location.search : hash);
      move();
    } catch {
      replace ? location.replace(hash) : location.assign(hash);
    }
  };

  // localStorage throws in a sandboxed frame; what is remembered then lasts as long as the page.
  const remember = (key, value) => {
    memory.set(key, value);
    try {
      localStorage.setItem(`reportgen.${key}`, value);
    } catch {
      // Remembered for this page only.
    }
  };
  const recall = key => {
    if (memory.has(key)) return memory.get(key);
    try {
      return localStorage.getItem(`reportgen.${key}`);
    } catch {
      return null;
    }
  };

  // A data script is one call of a function of reportgen with JSON, in a file of its own, and loaded when a reader
  // asks for it.
  const loads = new Map();
  const insert = address => new Promise((resolve, reject) => {
    const script = make("script", { src: reportgen.href(address) });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error(`${address} can't be loaded`)));
    document.head.append(script);
  });
  const load = address => {
    if (!loads.has(address)) loads.set(address, insert(address));
    return loads.get(address);
  };

  const run = (callbacks, ...values) => {
    for (const callback of callbacks) callback(...values);
  };
  const move = () => run(moving, page(), fragment());
  const enter = () => {
    run(entering, page());
    move();
  };

  // An element with attributes and children; text is always text, so that names can't become markup.
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  return {
    layers: [],
    root: document.documentElement.dataset.root ?? "",
    page,
    fragment,
    format,
    go,
    remember,
    recall,
    make,
    // Load a data script once, by its address in the site. The promise is kept when its call was made.
    load,
    // The address of a page of the site, `layers/conv.html`, and of a place and a filter there, as a link on this page.
    href: (address, where = {}) => {
      const text = format(where);
      return `${reportgen.root}${encode(address)}${text && "#"}${text}`;
    },
    // Call when a page is entered: once, or, in a packed report, at each change of page.
    onEnter: callback => entering.push(callback),
    // Call when the fragment changes, and once after entering.
    onMove: callback => moving.push(callback),
    enter,
    start: () => {
      document.documentElement.classList.add("scripted");
      addEventListener("hashchange", move);
      enter();
    },
  };
})();
// Deferred scripts all run before this.
addEventListener("DOMContentLoaded", () => reportgen.start());
