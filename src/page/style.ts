/**
 * The style sheet.
 * @module
 */

/** CSS without anything that is loaded; colours by custom properties, light and dark. */
export const STYLE: string = `
:root {
  color-scheme: light dark;
  --paper: #f6f7f5; --sheet: #ffffff; --ink: #17211f; --soft: #56625f; --line: #d9dedb; --hover: #eef1ef;
  --accent: #0d5c63; --accent-ink: #ffffff; --focus: #0d5c63;
  --good: #1f6b45; --wait: #85540a; --bad: #a4262c;
  --good-wash: #e8f3ec; --wait-wash: #faf0dd; --bad-wash: #fbe9e8; --info-wash: #e7f0f1;
  --s0: #0d5c63; --s1: #b0560f; --s2: #7a3b8f;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #101514; --sheet: #171e1c; --ink: #e4eae7; --soft: #9daaa6; --line: #2c3633; --hover: #1e2724;
    --accent: #7fcdd0; --accent-ink: #0c1413; --focus: #9be0e3;
    --good: #7cc99c; --wait: #e3b460; --bad: #f19a95;
    --good-wash: #15281d; --wait-wash: #2c2312; --bad-wash: #321b1b; --info-wash: #15282a;
    --s0: #7fcdd0; --s1: #eca560; --s2: #cc9be0;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 var(--sans); }
h1, h2, h3, p, ul, ol, dl, dd, figure, table { margin: 0; }
h1, h2, h3 { line-height: 1.2; letter-spacing: -0.011em; text-wrap: balance; }
h1 { font-size: 1.75rem; font-weight: 650; }
h2 { font-size: 1.125rem; font-weight: 650; margin-bottom: 0.75rem; }
h3 { font-size: 1rem; font-weight: 650; }
p, li, dd { text-wrap: pretty; }
a { color: var(--accent); text-underline-offset: 0.18em; text-decoration-thickness: 0.06em; }
a:hover { text-decoration-thickness: 0.12em; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
main:focus { outline: none; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 0.5rem; background: var(--sheet); padding: 0.5rem 0.75rem; z-index: 2; }
.top, main { max-width: 68rem; margin-inline: auto; padding-inline: clamp(1rem, 4vw, 2rem); }
.top { display: flex; flex-wrap: wrap; align-items: center; gap: 0.25rem 1.5rem; padding-block: 1rem 0.75rem;
  border-bottom: 1px solid var(--line); }
.brand { font-weight: 700; letter-spacing: -0.02em; font-size: 1.125rem; }
.brand a { color: inherit; text-decoration: none; }
.store { margin-left: 0.6rem; font-weight: 400; font-size: 0.9375rem; letter-spacing: 0; color: var(--soft); }
nav { flex: 1 1 auto; }
nav ul { display: flex; flex-wrap: wrap; gap: 0 0.25rem; list-style: none; padding: 0; }
nav a { display: block; padding: 0.4rem 0.6rem; border-radius: 6px; color: var(--soft); text-decoration: none;
  font-size: 0.9375rem; }
nav a:hover { color: var(--ink); background: var(--hover); }
nav a[aria-current] { color: var(--ink); font-weight: 600; box-shadow: inset 0 -2px var(--accent); border-radius: 6px 6px 0 0; }
main { padding-block: 1.5rem 4rem; display: grid; gap: 1.75rem; grid-template-columns: minmax(0, 1fr); }
.lead { color: var(--soft); max-width: 44rem; margin-top: 0.35rem; }
.scroll + p { margin-top: 0.6rem; }
.muted { color: var(--soft); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.message { display: inline-block; min-width: 14rem; overflow-wrap: anywhere; }
.value-cell { font-family: var(--mono); font-size: 0.8125rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.small { font-size: 0.875rem; }
.verdict { background: var(--sheet); border: 1px solid var(--line); border-left: 6px solid var(--tone); border-radius: 8px;
  padding: 1.25rem clamp(1rem, 3vw, 1.75rem); }
.verdict h1 { font-size: clamp(1.75rem, 5vw, 2.25rem); color: var(--tone); }
.verdict > p { margin-top: 0.35rem; font-size: 1.0625rem; }
.verdict ol { margin-top: 0.85rem; padding-left: 1.35rem; display: grid; gap: 0.4rem; max-width: 48rem; }
.verdict .small { margin-top: 0.85rem; font-size: 0.875rem; color: var(--soft); }
.safe { --tone: var(--good); } .waiting { --tone: var(--wait); } .needs { --tone: var(--bad); } .empty { --tone: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.25rem, 1fr)); gap: 1px; background: var(--line);
  border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.figures > div { background: var(--sheet); padding: 0.85rem 1rem; }
.figures dt { font-size: 0.875rem; color: var(--soft); }
.figures dd { font-size: 1.5rem; font-weight: 600; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; line-height: 1.3; }
.figures .note { font-size: 0.8125rem; font-weight: 400; letter-spacing: 0; color: var(--soft); line-height: 1.4; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem; }
.sheet { background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; padding: 1rem clamp(0.85rem, 2.5vw, 1.25rem);
  min-width: 0; }
.scroll { position: relative; overflow-x: auto; border-radius: 8px; border: 1px solid var(--line); background: var(--sheet); }
.sheet .scroll { border: 0; border-radius: 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem; }
caption { text-align: left; font-weight: 600; padding: 0.75rem 0.85rem 0.5rem; }
caption .muted { font-weight: 400; }
th, td { text-align: left; vertical-align: top; padding: 0.5rem 0.85rem; border-top: 1px solid var(--line); }
thead th { font-size: 0.8125rem; font-weight: 600; color: var(--soft); white-space: nowrap; }
tbody tr:hover { background: var(--hover); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
time { font-variant-numeric: tabular-nums; white-space: nowrap; }
.name, .value, .code, .place { font-family: var(--mono); font-size: 0.875em; overflow-wrap: anywhere; }
.name, .value { white-space: pre-wrap; }
.code { white-space: nowrap; text-underline-offset: 0.28em; }
button.link .name { display: inline; text-decoration: inherit; }
td .name, td .place { display: inline-block; min-width: 9rem; }
.escape { color: var(--wait); background: var(--wait-wash); border-radius: 3px; padding: 0 0.15em; }
.title { display: block; max-height: 9rem; overflow: auto; }
.title .name { font-size: 1.25rem; font-weight: 600; }
.tag { display: inline-block; font-size: 0.8125rem; line-height: 1.4; padding: 0.05rem 0.5rem; border-radius: 99px;
  border: 1px solid currentColor; color: var(--soft); white-space: nowrap; }
.tag.dead, .tag.lost { color: var(--bad); } .tag.dirty { color: var(--wait); } .tag.resident, .tag.evicted { color: var(--good); }
form { margin: 0; }
label { display: block; font-size: 0.875rem; font-weight: 600; margin-bottom: 0.3rem; }
.hint { font-size: 0.8125rem; color: var(--soft); margin-top: 0.3rem; }
input[type=text], input[type=password], input[type=search], select { font: inherit; color: inherit; background: var(--paper);
  border: 1px solid var(--soft); border-radius: 6px; padding: 0.45rem 0.65rem; width: 100%; min-height: 2.6rem; }
input.mono { font-family: var(--mono); font-size: 0.9375rem; }
button { font: inherit; font-size: 0.9375rem; font-weight: 600; color: var(--accent-ink); background: var(--accent);
  border: 1px solid var(--accent); border-radius: 6px; padding: 0.4rem 0.95rem; min-height: 2.6rem; cursor: pointer; }
button:hover { filter: brightness(1.1); }
button.quiet { background: transparent; color: var(--accent); border-color: var(--line); font-weight: 500; }
button.quiet:hover { background: var(--hover); filter: none; }
td button { min-height: 2rem; padding: 0.15rem 0.7rem; font-size: 0.875rem; }
button.link { background: none; border: 0; padding: 0; min-height: 1.5rem; color: var(--accent); font-weight: 400;
  text-decoration: underline; text-underline-offset: 0.18em; text-decoration-thickness: 0.06em; text-align: left; white-space: normal; }
td button.link { min-width: 8.5rem; }
button.link:hover { text-decoration-thickness: 0.12em; filter: none; }
.fields { display: flex; flex-wrap: wrap; gap: 0.85rem; align-items: end; }
.fields > .wide { flex: 1 1 14rem; }
.row { display: flex; flex-wrap: wrap; gap: 0.75rem; align-items: center; }
.login { max-width: 24rem; display: grid; gap: 1.25rem; margin-top: 4vh; }
.login form { display: grid; gap: 0.4rem; }
.login button { margin-top: 0.6rem; }
.login button { width: 100%; }
.notice { border-left: 4px solid var(--accent); background: var(--info-wash); border-radius: 6px; padding: 0.7rem 1rem; }
.notice.good { border-color: var(--good); background: var(--good-wash); }
.notice.bad { border-color: var(--bad); background: var(--bad-wash); }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.35rem 1.25rem; }
.facts + form, .facts + .row { margin-top: 1rem; }
.lead + .row { margin-top: 1rem; }
.facts dt { color: var(--soft); } .facts dd { min-width: 0; }
.value { display: block; max-height: 24rem; overflow: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: 6px; padding: 0.75rem; font-size: 0.8125rem; line-height: 1.55; }
.codes { display: grid; gap: 1rem; }
.codes > div { scroll-margin-top: 1rem; padding: 0.9rem 1.1rem; background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; }
.codes > div:target { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
.codes .code { font-weight: 700; }
.chart { --h: 13rem; display: grid; gap: 0.6rem; }
.chart figcaption { font-weight: 600; }
.plot { display: grid; grid-template: 1fr auto / auto minmax(0, 1fr); gap: 0.3rem 0.6rem; height: var(--h); font-size: 0.75rem;
  color: var(--soft); font-variant-numeric: tabular-nums; }
.plot .y { display: flex; flex-direction: column; justify-content: space-between; text-align: right; line-height: 1; }
.plot .x { grid-column: 2; display: flex; justify-content: space-between; gap: 1rem; }
.plot svg { width: 100%; height: 100%; min-height: 0; display: block; overflow: visible; }
.plot path { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); stroke-dasharray: 7 4; } .s2 { stroke: var(--s2); stroke-dasharray: 2 4; }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1.1rem; list-style: none; padding: 0; font-size: 0.875rem; }
.legend svg { width: 1.6rem; height: 0.5rem; margin-right: 0.4rem; vertical-align: middle; }
.legend path { fill: none; stroke-width: 2.5; }
.drawn .plot, .drawn .legend { display: none; }
.chart .uplot { font-family: inherit; }
.chart .u-select { background: color-mix(in srgb, var(--accent) 14%, transparent); }
.chart .u-cursor-x { border-color: var(--soft); }
.chart .u-legend { text-align: left; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
.chart .u-legend th, .chart .u-legend td { border: 0; padding: 0.1rem 0.25rem; }
.chart .u-legend tr:hover { background: none; }
.chart .u-legend th { font-weight: 400; }
.chart .u-legend .u-series:first-child .u-marker { display: none; }
details > summary { cursor: pointer; font-size: 0.875rem; color: var(--accent); width: max-content; padding-block: 0.2rem; }
details[open] > summary { margin-bottom: 0.5rem; }
details .scroll { max-height: 22rem; overflow: auto; }
@media (max-width: 34rem) {
  .top { padding-block: 0.75rem 0.25rem; }
  nav { order: 3; flex-basis: 100%; margin-inline: -0.6rem; }
  .brand { flex: 1; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  .figures > div:last-child:nth-child(odd) { grid-column: 1 / -1; }
  nav a { padding-inline: 0.5rem; font-size: 0.875rem; }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 0.6rem; }
  th, td { padding-inline: 0.65rem; }
}
@media (forced-colors: active) { .verdict { border-left-color: CanvasText; } .tag { border-color: CanvasText; } }
@media print { nav, .top form, .skip { display: none; } body { background: #fff; } }
`;
