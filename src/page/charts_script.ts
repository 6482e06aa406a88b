/**
 * The script of the charts, as browsers get it. It draws the numbers of a figure by uPlot, in place of the picture that
 * the server has made.
 * @module
 */

/** JavaScript. It sets no style by text, so the policy of the page allows all of it. */
export const CHARTS_SCRIPT: string = `"use strict";
(() => {
  const HEIGHT = 208;
  const DAY_S = 86400;
  const DASHES = [[], [7, 4], [2, 4]];
  const drawn = new Map();

  const property = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const words = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
  const number = (value) => value === null || value === undefined ? "no tick" : value.toLocaleString("en-US");

  // the day where it changes, else the time
  function times(_plot, splits, _axis, _space, step) {
    let day = "";
    return splits.map((seconds) => {
      const [date, time] = words(seconds).split(" ");
      const isNew = date !== day;
      day = date;
      if (step >= DAY_S) return date.slice(5);
      return isNew ? time + "\\n" + date.slice(5) : time;
    });
  }

  function widthOf(figure) {
    const { paddingLeft, paddingRight } = getComputedStyle(figure);
    return Math.max(200, Math.floor(figure.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight)));
  }

  function draw(figure) {
    const data = JSON.parse(figure.dataset.chart);
    const last = data.times.length - 1;
    const line = property("--line");
    const axis = {
      stroke: property("--soft"),
      font: "12px " + getComputedStyle(document.body).fontFamily,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1, size: 4 },
    };
    const latest = (plot) => plot.cursor.idx == null && plot.setLegend({ idx: last });
    drawn.get(figure)?.destroy();
    const plot = new uPlot({
      width: widthOf(figure),
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, points: { size: 7 } },
      scales: { y: { range: (_plot, _least, most) => uPlot.rangeNum(0, Math.max(most || 0, 2), 0.1, true).map((end) => Math.max(0, end)) } },
      axes: [
        { ...axis, values: times, space: 64, size: (_plot, values) => (values ?? []).some((value) => value.includes("\\n")) ? 44 : 30 },
        {
          ...axis,
          values: (_plot, splits) => splits.map((value) => Number.isInteger(value) ? number(value) : ""),
          size: (_plot, values) => 16 + 7 * Math.max(2, ...(values ?? []).map((value) => value.length)),
        },
      ],
      series: [
        { label: "UTC", value: (_plot, seconds) => seconds == null ? "" : words(seconds) },
        ...data.labels.map((label, i) => ({
          label,
          stroke: property("--s" + i),
          width: 2,
          dash: DASHES[i],
          value: (_plot, value) => number(value),
        })),
      ],
      hooks: { ready: [latest], setCursor: [latest] },
    }, [data.times, ...data.values], figure);
    plot.root.setAttribute("aria-hidden", "true"); // the table below says the same
    figure.insertBefore(plot.root, figure.querySelector("details"));
    figure.classList.add("drawn");
    drawn.set(figure, plot);
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  figures.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => figures.forEach(draw));
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const plot = drawn.get(target);
      const width = widthOf(target);
      if (plot && plot.width !== width) plot.setSize({ width, height: HEIGHT });
    }
  });
  figures.forEach((figure) => observer.observe(figure));
})();
`;
