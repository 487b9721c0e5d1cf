"use strict";
// Which layers a filter finds: words that must all hold of a layer.
(() => {
  const { NAME, OPERATION, TITLE, FLAGS } = reportgen.FIELDS;

  const holds = (text, word) => text.toLowerCase().includes(word);

  // `*` is any text, `?` any character, all else itself; of the whole name.
  const glob = word => {
    const source = [...word].map(each => ({ "*": ".*", "?": "." })[each] ?? each.replace(/[\\^$.|+()[\]{}/-]/, "\\$&"));
    return new RegExp(`^${source.join("")}$`, "is");
  };

  const test = word => {
    const lower = word.toLowerCase();
    if (lower.startsWith("op:")) return layer => holds(layer[OPERATION], lower.slice(3));
    if (lower.startsWith("is:")) return layer => layer[FLAGS].split(" ").some(flag => flag && flag.startsWith(lower.slice(3)));
    if (/[*?]/.test(word)) {
      const pattern = glob(word);
      return layer => pattern.test(layer[NAME]);
    }
    return layer => [NAME, TITLE, OPERATION].some(part => holds(layer[part], lower));
  };

  // Return a function that tells whether an entry of `reportgen.layers` is found by `query`; all are by an empty one.
  reportgen.matcher = query => {
    const tests = query.split(/\s+/).filter(Boolean).map(test);
    return layer => tests.every(each => each(layer));
  };
})();
