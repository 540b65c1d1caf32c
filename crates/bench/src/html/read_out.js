for (const chart of document.querySelectorAll(".chart")) {
  const out = chart.parentElement.querySelector(".read-out");
  const show = (event) => {
    const title = event.target.querySelector && event.target.querySelector(":scope > title");
    if (title) out.textContent = title.textContent.replace(/\n/g, " \u00b7 ");
  };
  chart.addEventListener("pointermove", show);
  chart.addEventListener("pointerdown", show);
}
