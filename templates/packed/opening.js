"use strict";
// Runs before anything is drawn, so that pages that aren't asked for don't flash by.
document.documentElement.classList.add("opening");
if (!/^#?$|^#index\.html/.test(location.hash)) document.documentElement.classList.add("elsewhere");
