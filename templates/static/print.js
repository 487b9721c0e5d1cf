"use strict";
// On paper nothing can be opened: what is folded away opens until it is printed. Pictures stay lazy, since browsers load
// lazy ones for printing and wait for them, but not for those that a script makes eager here.
(() => {
  let opened = [];

  addEventListener("beforeprint", () => {
    opened = [...reportgen.page().querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    opened = [];
  });
})();
