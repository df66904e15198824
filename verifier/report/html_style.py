"""The style sheet of the HTML report: light and dark, narrow and wide, screen and print. No fonts or images are loaded."""

STYLE = """
:root { color-scheme: light dark;
  --bg: #fbfbfa; --panel: #ffffff; --ink: #1d2126; --soft: #5b6570; --edge: #d9dde2; --code: #f1f3f5; --link: #0b5cad;
  --fail: #b3261e; --fail-bg: #fdeceb; --review: #8a5a00; --review-bg: #fff4dc; --info: #245a9c; --info-bg: #e9f1fb;
  --pass: #1c6e3d; --pass-bg: #e6f5ec; --muted-bg: #eef0f2;
  --s0: #0072b2; --s1: #d55e00; --s2: #009e73; --s3: #b4468f; --s4: #8a6d00; --s5: #2f9fd6; --s6: #5b6570; --s7: #7a3fc0;
  --train: #3b78b8; --calibration: #d9822b; --selfgen: #c9a86a; --quantize: #9aa3ad; --eval: #3f9a6b; --adapt: #8e5bbf;
  --ngram: #c25490; --other: #c3c9d0; --limit: #b3261e; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #14171a; --panel: #1c2024; --ink: #e6e9ec; --soft: #a3adb8; --edge: #343a41; --code: #262b31; --link: #7db7f5;
  --fail: #ff9c94; --fail-bg: #3d1f1d; --review: #f2c261; --review-bg: #382c12; --info: #93c1f7; --info-bg: #1b2c42;
  --pass: #7fd6a1; --pass-bg: #173324; --muted-bg: #2a2f35;
  --s0: #58b4f0; --s1: #ff8f4a; --s2: #3fd0a4; --s3: #e58ac6; --s4: #d9bb3f; --s5: #9bd4f5; --s6: #a3adb8; --s7: #b794f6;
  --train: #4f8fd0; --calibration: #e6954a; --selfgen: #b89a63; --quantize: #78828d; --eval: #4fae7e; --adapt: #a278d0;
  --ngram: #d673a8; --other: #59626c; --limit: #ff8b82; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main, .foot { max-width: 1180px; margin: 0 auto; padding: 0 20px; overflow-wrap: anywhere; }
main { padding-top: 22px; }
.foot { padding: 18px 20px 40px; color: var(--soft); font-size: 13px; }
a { color: var(--link); }
h1 { font-size: 21px; line-height: 1.3; margin: 0 0 8px; }
h2 { font-size: 17px; margin: 30px 0 10px; padding-bottom: 5px; border-bottom: 1px solid var(--edge); }
h3 { font-size: 15px; margin: 0; }
p { margin: 6px 0; }
code, .mono { font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.soft { color: var(--soft); }
.path { font-size: 17px; font-weight: 600; }
.badges { display: flex; flex-wrap: wrap; gap: 8px; margin: 10px 0; align-items: center; }
.badge { padding: 3px 11px; border-radius: 999px; font-weight: 600; background: var(--muted-bg); }
.big { font-size: 17px; padding: 5px 15px; }
.tag { font-size: 12px; font-weight: 600; padding: 0 8px; border-radius: 999px; background: var(--muted-bg); color: var(--soft);
  white-space: nowrap; }
.fail { color: var(--fail); background: var(--fail-bg); }
.review { color: var(--review); background: var(--review-bg); }
.info { color: var(--info); background: var(--info-bg); }
.pass { color: var(--pass); background: var(--pass-bg); }
.card { background: var(--panel); border: 1px solid var(--edge); border-left: 5px solid var(--edge); border-radius: 7px;
  padding: 11px 15px; margin: 11px 0; }
.card.is-fail { border-left-color: var(--fail); }
.card.is-review { border-left-color: var(--review); }
.card.is-info { border-left-color: var(--info); }
.card h3 { display: flex; flex-wrap: wrap; gap: 3px 9px; align-items: baseline; }
.finding + .finding { border-top: 1px dashed var(--edge); margin-top: 10px; padding-top: 6px; }
.places { list-style: none; margin: 6px 0; padding: 0; }
.places li { margin: 4px 0; }
.places .at { color: var(--link); }
.places .excerpt { display: block; background: var(--code); border-radius: 4px; padding: 3px 8px; margin-top: 2px; white-space: pre-wrap; }
.fix { border-left: 3px solid var(--pass); padding-left: 9px; }
.scroll { overflow-x: auto; border: 1px solid var(--edge); border-radius: 7px; background: var(--panel); margin: 8px 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 6px 11px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--edge); }
tr:last-child > td { border-bottom: 0; }
th { font-weight: 600; color: var(--soft); font-size: 13px; white-space: nowrap; }
td.num, th.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll td { overflow-wrap: break-word; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 14px; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--edge); border-radius: 7px; padding: 11px 13px; }
figcaption { font-weight: 600; margin-bottom: 7px; }
figure > div { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 350px; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
svg text { fill: var(--ink); }
svg .tick { fill: var(--soft); }
svg .strong { font-weight: 600; }
svg .halo { font-weight: 600; paint-order: stroke; stroke: var(--panel); stroke-width: 4px; stroke-linejoin: round; }
svg .over, svg .limit-label { fill: var(--limit); font-weight: 600; }
svg .grid { stroke: var(--edge); }
svg .limit { stroke: var(--limit); stroke-width: 2; }
svg .margin-a { stroke: var(--s7); stroke-width: 2; stroke-dasharray: 7 4; }
svg .margin-b { stroke: var(--s4); stroke-width: 2; stroke-dasharray: 2 3; }
svg .interval { stroke: var(--s0); stroke-width: 5; stroke-opacity: .4; stroke-linecap: round; }
svg .dot { fill: var(--s0); }
svg .mean { fill: var(--ink); }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .s0 { stroke: var(--s0); } svg .s1 { stroke: var(--s1); stroke-dasharray: 7 3; } svg .s2 { stroke: var(--s2); stroke-dasharray: 2 2; }
svg .s3 { stroke: var(--s3); } svg .s4 { stroke: var(--s4); stroke-dasharray: 7 3; } svg .s5 { stroke: var(--s5); stroke-dasharray: 2 2; }
svg .s6 { stroke: var(--s6); } svg .s7 { stroke: var(--s7); stroke-dasharray: 7 3; }
svg .mark { fill: var(--panel); stroke-width: 1.6; stroke-dasharray: none; }
svg .p-train, svg .p-model { fill: var(--train); } svg .p-calibration { fill: var(--calibration); } svg .p-selfgen { fill: var(--selfgen); }
svg .p-quantize { fill: var(--quantize); } svg .p-eval { fill: var(--eval); } svg .p-adapt { fill: var(--adapt); }
svg .p-ngram { fill: var(--ngram); } svg .p-other { fill: var(--other); } svg .p-code { fill: var(--calibration); }
svg .faint { fill-opacity: .5; }
details { margin: 9px 0; }
summary { cursor: pointer; font-weight: 600; padding: 3px 0; }
.scroll + article { margin-top: 34px; }
article + article { border-top: 3px solid var(--edge); margin-top: 34px; padding-top: 16px; }
ul.plain { padding-left: 18px; margin: 6px 0; }
@media (max-width: 560px) { main, .foot { padding-left: 11px; padding-right: 11px; } figure { padding: 9px 7px; } th, td { padding: 5px 8px; } }
@media print {
  :root { color-scheme: light; --bg: #fff; --panel: #fff; --ink: #000; --soft: #444; --edge: #bbb; --code: #f3f3f3; }
  body { font-size: 11pt; } .card, figure, tr { break-inside: avoid; } .scroll { overflow: visible; } .scroll td { overflow-wrap: anywhere; }
  details::details-content { content-visibility: visible; block-size: auto; } a { color: inherit; text-decoration: none; }
}
"""
