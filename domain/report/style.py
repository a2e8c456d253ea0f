"""The look of a report: one style sheet, no fonts, pictures or scripts from anywhere.

Paper and ink by day, the same at night by ``prefers-color-scheme``, plain on a printer.  Outcome colours keep
apart for eyes that do not see red and green, and every outcome also has its own word, sign and height.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #faf9f5; --card: #ffffff; --ink: #1d1c19; --soft: #5d594f; --faint: #8b867a;
  --rule: #e1ddd2; --grid: #efece4;
  --p: #1a7560; --b: #935d05; --f: #b3321f; --a: #5f6672;
  --p-wash: #e8f3ef; --b-wash: #faf0da; --f-wash: #fbe9e4; --a-wash: #edeff2;
  --s0: #20557f; --s1: #b5532a; --s2: #3f7d4e; --s3: #7a4b93;
  --s4: #8a6d14; --s5: #35808c; --s6: #a13d63; --s7: #55606e; --score: #41607c;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia,
    "Liberation Serif", serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #151618; --card: #1c1e21; --ink: #ebe9e3; --soft: #b0aca2; --faint: #86837a;
    --rule: #33353a; --grid: #26282c;
    --p: #5cc3a4; --b: #e3ab4a; --f: #f28d75; --a: #a7afbb;
    --p-wash: #172a25; --b-wash: #302715; --f-wash: #351e1a; --a-wash: #272a2f;
    --s0: #7fb6e3; --s1: #eb9a71; --s2: #8ecb98; --s3: #c9a0e0;
    --s4: #dcc06a; --s5: #79c6d2; --s6: #ea92b4; --s7: #b5bfcc; --score: #8fb0cc;
  }
}

* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 var(--sans); font-variant-numeric: tabular-nums;
}
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 28px; }
h1, h2, h3, .word, .brand { font-family: var(--serif); font-weight: 600; line-height: 1.2; margin: 0; }
h1 {
  font-size: clamp(27px, 4.4vw, 40px); letter-spacing: -.012em; text-wrap: balance; overflow-wrap: anywhere;
}
h2 { font-size: 25px; margin: 0 0 6px; letter-spacing: -.005em; }
h3 { font-size: 18px; overflow-wrap: anywhere; }
p { margin: 0; }
code { font-family: var(--mono); font-size: .86em; overflow-wrap: anywhere; }
.soft, .note { color: var(--soft); }
.note { font-size: 14.5px; max-width: 74ch; overflow-wrap: anywhere; }
section { margin: 0 0 60px; }
section > .note { margin-bottom: 18px; }
svg { display: block; overflow: visible; }

.top {
  display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 4px 16px;
  padding-top: 24px; padding-bottom: 12px; margin-bottom: 38px; font-size: 14.5px;
}
.top::after { content: ""; flex-basis: 100%; border-bottom: 1px solid var(--rule); margin-top: 8px; }
.brand { font-size: 18px; }
.mark { display: inline-block; vertical-align: -3px; margin-right: 10px; }
.lede {
  margin: 10px 0 28px; color: var(--soft); font-size: 17.5px; max-width: 68ch; overflow-wrap: anywhere;
}
.ribbon { display: none; }
.withheld .ribbon {
  display: block; position: sticky; top: 0; z-index: 2; background: var(--f); color: var(--paper);
  text-align: center; font-weight: 700; letter-spacing: .13em; font-size: 13px; padding: 7px 12px;
  text-transform: uppercase; text-wrap: balance;
}

.t-p { --tone: var(--p); --wash: var(--p-wash); }
.t-b { --tone: var(--b); --wash: var(--b-wash); }
.t-f { --tone: var(--f); --wash: var(--f-wash); }
.t-a { --tone: var(--a); --wash: var(--a-wash); }
.verdict {
  display: grid; grid-template-columns: 58px minmax(0, 1fr); gap: 2px 22px; align-items: center;
  background: var(--wash); border: 1px solid var(--rule); border-left: 8px solid var(--tone);
  border-radius: 4px;
  padding: 24px 28px;
}
.withheld .verdict { border: 4px double var(--tone); border-left: 14px solid var(--tone); }
.verdict .sign { grid-row: 1 / 3; align-self: start; width: 58px; height: 58px; color: var(--tone); }
.verdict .word {
  font-size: clamp(32px, 5vw, 46px); line-height: 1.1; color: var(--tone); letter-spacing: -.01em;
}
.verdict p { max-width: 72ch; }
.why { grid-column: 2; list-style: none; margin: 12px 0 0; padding: 0; font-size: 15px; }
.why li { padding: 7px 0; border-top: 1px solid var(--rule); overflow-wrap: anywhere; }

.facts {
  display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); margin: 0;
  background: var(--card); border: 1px solid var(--rule); border-radius: 4px; overflow: hidden;
}
.facts > div { padding: 13px 18px 14px; min-width: 0; box-shadow: 1px 1px 0 var(--rule); }
dt { font-size: 13px; color: var(--soft); }
dd { margin: 1px 0 0; font-weight: 600; overflow-wrap: anywhere; }
dd small { display: block; font-weight: 400; color: var(--soft); font-size: 13px; line-height: 1.45; }

.board { border-top: 2px solid var(--ink); margin-top: 14px; }
.gate {
  display: grid; grid-template-columns: 122px minmax(0, 1.15fr) minmax(0, .85fr) minmax(0, 1.75fr);
  gap: 6px 24px;
  padding: 15px 0 14px; border-bottom: 1px solid var(--rule); align-items: start; break-inside: avoid;
}
.gate.t-b, .gate.t-f, .gate.t-a { box-shadow: -5px 0 0 var(--paper), -9px 0 0 var(--tone); }
.gate h3 { font: 600 16px/1.35 var(--sans); }
.gate small { display: block; font-weight: 400; color: var(--soft); font-size: 13px; line-height: 1.45; }
.gate .why-not { margin: 5px 0 0 3px; }
.gate .value { font-size: 18px; font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; }
.gate .rule {
  grid-column: 2 / -1; color: var(--soft); font-size: 13px; line-height: 1.5; overflow-wrap: anywhere;
}
.chip {
  display: inline-flex; align-items: center; gap: 6px; color: var(--tone); background: var(--wash);
  border: 1px solid currentColor; border-radius: 99px; padding: 1px 12px 1px 7px; font-size: 13.5px;
  font-weight: 600;
}
.chip svg { width: 15px; height: 15px; flex: none; }
.gate .unit { font-size: 14px; font-weight: 400; color: var(--soft); }
.ends {
  display: flex; justify-content: space-between; gap: 12px; margin-top: 4px;
  color: var(--soft); font-size: 12.5px; text-align: center;
}
.strip { overflow: hidden; border-bottom: 1px solid var(--rule); }
.o-p { fill: var(--p); } .o-b { fill: var(--b); } .o-f { fill: var(--f); } .o-a { fill: var(--a); }
.o-p { opacity: .75; }
.score { fill: var(--score); }
.edge {
  stroke: var(--faint); stroke-width: 1; vector-effect: non-scaling-stroke; fill: none; stroke-dasharray: 2 4;
}
.legend {
  display: flex; flex-wrap: wrap; gap: 5px 22px; list-style: none; margin: 8px 0 0; padding: 0;
  font-size: 14px; color: var(--soft);
}
.legend li { display: flex; align-items: center; gap: 8px; }
.key { flex: none; }
.validity {
  display: grid; grid-template-columns: minmax(0, 1.7fr) minmax(0, 1fr); gap: 20px 48px; align-items: end;
}

figure {
  margin: 20px 0 30px; background: var(--card); border: 1px solid var(--rule); border-radius: 4px;
  padding: 22px 26px 20px; break-inside: avoid;
}
figure .note { margin-top: 4px; }
.y-label, .x-label { font-size: 13.5px; color: var(--soft); }
.y-label { margin: 16px 0 10px; }
.x-label { text-align: right; margin-top: 2px; }
.chart { display: grid; grid-template-columns: 50px minmax(0, 1fr); gap: 6px; }
.tick { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--grid); stroke-width: 1; }
.axis { stroke: var(--faint); stroke-width: 1; }
.level { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 1 4; stroke-linecap: round; }
.level-name {
  fill: var(--ink); font-size: 12px; paint-order: stroke; stroke: var(--card); stroke-width: 4px;
}
.line { fill: none; stroke-width: 1.7; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.dots { fill: none; stroke-width: 5; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.whisker { fill: none; stroke-width: 1.2; opacity: .65; vector-effect: non-scaling-stroke; }
.band { opacity: .15; }
.s0 { stroke: var(--s0); } .band.s0 { fill: var(--s0); }
.s1 { stroke: var(--s1); stroke-dasharray: 8 3; } .band.s1 { fill: var(--s1); }
.s2 { stroke: var(--s2); stroke-dasharray: 2 3; } .band.s2 { fill: var(--s2); }
.s3 { stroke: var(--s3); stroke-dasharray: 9 3 2 3; } .band.s3 { fill: var(--s3); }
.s4 { stroke: var(--s4); stroke-dasharray: 14 4; } .band.s4 { fill: var(--s4); }
.s5 { stroke: var(--s5); stroke-dasharray: 4 2; } .band.s5 { fill: var(--s5); }
.s6 { stroke: var(--s6); stroke-dasharray: 1 4; } .band.s6 { fill: var(--s6); }
.s7 { stroke: var(--s7); stroke-dasharray: 6 2 1 2 1 2; } .band.s7 { fill: var(--s7); }
.band { stroke: none; }
.dots, .whisker { stroke-dasharray: none; }
.dots.s1, .dots.s3 { stroke-linecap: square; stroke-width: 4; }

.beside {
  display: grid; grid-template-columns: minmax(0, 1.9fr) minmax(0, 1fr); gap: 8px 40px; align-items: start;
}
.beside table { font-size: 13px; }
.beside th, .beside td { padding-top: 3.5px; padding-bottom: 3.5px; padding-right: 12px; }
.beside .note { font-size: 13px; }
.narrow { max-width: 480px; }
.rows { overflow-x: auto; margin-top: 20px; }
.rows + .note { margin-top: 9px; }
.narrow + .note { margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; color: var(--soft); padding-bottom: 6px; font-size: 13.5px; }
th, td {
  text-align: left; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--rule); vertical-align: top;
}
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 600; border-bottom-color: var(--faint); }
tbody th { font-weight: 400; overflow-wrap: break-word; }
th.n, td.n { text-align: right; white-space: nowrap; }
.held {
  border: 2px dashed var(--f); padding: 22px 26px; border-radius: 4px; background: var(--card);
  margin-bottom: 20px;
}
.held li { text-decoration: line-through; color: var(--soft); }
.held ul { margin: 12px 0 0; padding-left: 20px; }
footer { color: var(--soft); font-size: 13.5px; padding-top: 18px; padding-bottom: 48px; }
footer::before { content: ""; display: block; border-top: 1px solid var(--rule); padding-bottom: 16px; }

@media (max-width: 820px) {
  main, header, footer { padding-left: 18px; padding-right: 18px; }
  .top { margin-bottom: 26px; }
  section { margin-bottom: 46px; }
  .gate { grid-template-columns: auto minmax(0, 1fr); gap: 8px 16px; }
  .gate h3 { grid-column: 1 / -1; grid-row: 1; }
  .gate .run, .gate .rule { grid-column: 1 / -1; }
  .gate .why-not { margin-left: 0; }
  .facts { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .beside { grid-template-columns: minmax(0, 1fr); }
  .validity { grid-template-columns: minmax(0, 1fr); }
  figure { padding: 18px 16px 16px; }
  .verdict { grid-template-columns: 40px minmax(0, 1fr); padding: 20px 18px; gap: 8px 14px; }
  .verdict .sign { grid-row: 1; width: 40px; height: 40px; }
  .verdict p, .why { grid-column: 1 / -1; }
}
@media (max-width: 600px) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, caption { display: block; }
  tbody tr {
    display: flex; flex-wrap: wrap; gap: 0 18px; padding: 7px 0; border-bottom: 1px solid var(--rule);
  }
  tbody th, tbody td { display: block; border: 0; padding: 0; }
  tbody th { flex-basis: 100%; font-weight: 600; }
  th.n, td.n { text-align: left; white-space: normal; }
  td[data-l]::before { content: attr(data-l) " "; color: var(--soft); }
  .beside th, .beside td { padding: 0; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --faint: #777; --rule: #ccc; --grid: #e6e6e6;
    --p: #1a7560; --b: #935d05; --f: #b3321f; --a: #5f6672;
    --p-wash: #fff; --b-wash: #fff; --f-wash: #fff; --a-wash: #fff;
    --s0: #20557f; --s1: #b5532a; --s2: #3f7d4e; --s3: #7a4b93;
    --s4: #8a6d14; --s5: #35808c; --s6: #a13d63; --s7: #55606e; --score: #41607c;
  }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 10.5pt; }
  main, header, footer { max-width: none; padding: 0; }
  section { margin-bottom: 26pt; }
  h2, h3, caption { break-after: avoid; }
  tr, .verdict, .facts > div { break-inside: avoid; }
  /* Beside the text, because a fixed bar across it would cover the first line of every page. */
  .withheld .ribbon {
    position: fixed; top: 0; bottom: 0; left: 0; width: 8mm; padding: 0; line-height: 8mm;
    writing-mode: vertical-rl; text-align: center; text-wrap: nowrap;
  }
  .withheld main, .withheld header, .withheld footer { padding-left: 13mm; }
}
"""
