"use strict";
// What the other scripts stand on. Pages are complete without any of them; each adds one convenience.
// A classic script and no module, and nothing is fetched: both would fail on pages opened from disk.
const reportgen = (() => {
  const entering = [];
  const moving = [];
  const memory = new Map();
  const packed = "packed" in document.documentElement.dataset;

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
  // Where the address can't bear the fragment (a frame without rights, a document in an attribute) it is kept here.
  let kept = null;
  const hash = () => kept ?? location.hash;
  const write = (target, replace) => {
    try {
      history[replace ? "replaceState" : "pushState"](null, "", target === "#" ? location.pathname + location.search : target);
      kept = null;
    } catch {
      kept = target;
    }
  };
  // Follow a link within the document where the browser would not.
  const follow = target => {
    write(target, false);
    dispatchEvent(new Event("hashchange"));
  };
  const fragment = () => {
    const whole = decode(hash().slice(1));
    const text = whole.startsWith(prefix()) ? whole.slice(prefix().length) : whole;
    const at = text.search(/(^|&)q=/);
    if (at < 0) return { place: text, query: "" };
    return { place: text.slice(0, at), query: text.slice(text.indexOf("q=", at) + 2) };
  };
  const encode = text => encodeURIComponent(text).replace(/%2F/g, "/").replace(/%3A/g, ":");
  const format = ({ place = "", query = "" }) =>
    [encode(place), query && `q=${encode(query)}`].filter(Boolean).join("&");

  // Change the fragment.
  const go = (changes, { replace = false } = {}) => {
    const target = `#${encode(prefix())}${format({ ...fragment(), ...changes })}`;
    if (target === (hash() || "#")) return;
    write(target, replace);
    move();
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

  // A data script is one call of a function of reportgen with JSON, `reportgen.matrix.set("a", [1, 2]);`, in a file of
  // its own, and loaded when a reader asks for it. A packed report holds it as a block of JSON.
  const loads = new Map();
  const call = (name, values) => {
    const path = name.split(".");
    const last = path.pop();
    const owner = path.reduce((object, key) => object[key], reportgen);
    owner[last](...values);
  };
  const insert = address => new Promise((resolve, reject) => {
    const script = make("script", { src: `${reportgen.root}${address}` });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error(`${address} can't be loaded`)));
    document.head.append(script);
  });
  const take = async (block, address) => {
    if (!block) throw new Error(`${address} is not in this file`);
    call(block.dataset.call, JSON.parse(block.textContent));
  };
  const load = address => {
    const find = () => document.querySelector(`script[data-file="${CSS.escape(address)}"]`);
    if (!loads.has(address)) loads.set(address, packed ? take(find(), address) : insert(address));
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

  // The module right below `path` that a layer lies in, or "" for `path` itself.
  const moduleBelow = (name, path) => {
    const rest = name.slice(path ? path.length + 1 : 0);
    return rest.includes(".") ? (path ? `${path}.` : "") + rest.split(".")[0] : "";
  };

  return {
    moduleBelow,
    layers: [],
    // Where in an entry of `layers` each part stands.
    FIELDS: { NAME: 0, SLUG: 1, OPERATION: 2, TITLE: 3, FLAGS: 4, SHAPE: 5 },
    root: document.documentElement.dataset.root ?? "",
    page,
    fragment,
    hash,
    follow,
    format,
    go,
    remember,
    recall,
    make,
    // Load a data script once, by its address in the site. The promise is kept when its call was made.
    load,
    // The address of a page of the site, `layers/conv.html`, and of a place and a filter there, as a link on this page:
    // in a packed report it is `#layers/conv.html/cat`.
    href: (address, where = {}) => {
      const text = format(where);
      if (packed) return `#${encode(address)}/${text}`;
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
