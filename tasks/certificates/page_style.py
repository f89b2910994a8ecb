"""How a certificate looks, on a screen and on A4."""

STYLE = """
@page { size: A4; margin: 16mm 15mm; }
:root { --ink: #1d2430; --dim: #5b6675; --line: #d8dde4; --good: #17663a; --bad: #a3231d; --open: #8a5a00; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 10.5pt/1.45 Georgia, 'DejaVu Serif', serif; }
main { max-width: 190mm; margin: 0 auto; padding: 10mm 8mm 14mm; }
header { border-bottom: 2.5px solid var(--ink); padding-bottom: 3mm; margin-bottom: 5mm; position: relative; }
.kicker { margin: 0; font: 600 8.5pt/1.2 sans-serif;
  letter-spacing: .12em; text-transform: uppercase; color: var(--dim); }
h1 { margin: 1mm 46mm 0 0; font-size: 22pt; line-height: 1.15; overflow-wrap: anywhere; }
.stamp { position: absolute; right: 0; top: 0; margin: 0; padding: 1.6mm 4mm; border: 2px solid; border-radius: 2mm;
  font: 700 12pt/1 sans-serif; text-transform: uppercase; letter-spacing: .05em; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
.lead { margin: 3mm 0 0; }
section { margin: 0 0 5mm; }
h2 { margin: 0 0 1.5mm; font: 700 12pt/1.3 sans-serif; break-after: avoid; }
h3 { margin: 2mm 0 1mm; font: 700 9.5pt/1.3 sans-serif; break-after: avoid; }
p { margin: 0 0 2mm; }
ul, ol { margin: 0 0 2mm; padding-left: 5.5mm; } li { margin-bottom: .6mm; } ol { font-size: 9.5pt; color: #333c49; }
.bound { padding: 2.5mm 4mm; border-left: 3px solid var(--ink); background: #f4f6f8; font: 700 10.5pt/1.4 sans-serif; }
.alarm { padding: 2.5mm 4mm; border-left: 3px solid var(--bad); background: #fbeceb;
  color: var(--bad); font-weight: 700; }
.note { color: var(--dim); font-size: 9pt; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .6mm 5mm; margin: 0; }
dt { color: var(--dim); font: 9pt/1.6 sans-serif; } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 8pt/1.5 'DejaVu Sans Mono', Consolas, monospace; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font: 8.5pt/1.35 sans-serif; }
th { text-align: left; vertical-align: bottom; color: var(--dim); font-weight: 600;
  border-bottom: 1px solid var(--ink); }
th, td { padding: 1mm 2mm 1mm 0; } td { border-bottom: 1px solid var(--line); vertical-align: top; }
.figures { font-variant-numeric: tabular-nums; }
tr, figure, .bound, .whole { break-inside: avoid; } thead { display: table-header-group; }
figure { margin: 0 0 5mm; } figcaption { color: var(--dim); font: 9pt/1.4 sans-serif; }
svg { width: 100%; height: auto; display: block; }
@media print { main { max-width: none; padding: 0; } .wide { overflow: visible; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""
