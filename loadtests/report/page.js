"use strict";
(() => {
  const rows = [...document.querySelectorAll("#payments > tbody > tr")];
  const [search, outcome, kind, disturbed, shown] =
    ["search", "outcome", "kind", "disturbed", "shown"].map((id) => document.getElementById(id));
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = (!outcome.value || row.dataset.outcome === outcome.value)
        && (!kind.value || row.dataset.kind === kind.value)
        && (!disturbed.checked || row.dataset.disturbed === "1")
        && words.every((word) => texts.get(row).includes(word));
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} payments`;
  };
  for (const control of [search, outcome, kind, disturbed]) control.addEventListener("input", filter);
  filter();
  const open = () => {
    const row = location.hash && document.getElementById(location.hash.slice(1));
    if (!row) return;
    row.hidden = false;
    const details = row.querySelector("details");
    if (details) details.open = true;
  };
  addEventListener("hashchange", open);
  open();
})();
