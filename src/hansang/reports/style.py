"""How a report looks: light and dark, on a desk and on a phone, and on paper."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--soft-paper:#f5f7f9;--ink:#17212b;--soft:#566573;--edge:#d9e0e6;
--grid:#e8edf1;--now:#0067a5;--before:#8593a1;--bad:#c14600;--bad-paper:#fdf0e8;--good:#00755a;--good-paper:#e8f5f1;--warn:#8a6100;
--warn-paper:#fcf4e0;--third:#7b4fa3}
@media (prefers-color-scheme:dark){:root{--paper:#11171d;--soft-paper:#19212a;--ink:#e4eaf0;--soft:#9fadba;
--edge:#303c48;--grid:#232d37;--now:#5db4ee;--before:#7f8d9b;--bad:#ff9257;--bad-paper:#33211a;--good:#4dc9a8;--good-paper:#15302a;
--warn:#e5b84f;--warn-paper:#2f2817;--third:#c29be6}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Noto Sans CJK KR",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 24px 64px}
h1{font-size:26px;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:44px 0 4px;padding-top:14px;border-top:1px solid var(--edge)}
h3{font-size:15px;margin:24px 0 6px}
p{margin:6px 0;max-width:78ch}.soft,.remark{color:var(--soft)}.remark{font-size:13px}
code,pre{font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.verdict{display:flex;gap:14px;align-items:flex-start;border:1px solid;border-left-width:6px;border-radius:8px;
padding:14px 18px;margin:18px 0}
.verdict b{font-size:19px;line-height:1.25}.verdict svg{flex:none;width:30px;height:30px;margin-top:1px}
.verdict p{margin:2px 0;color:var(--ink)}
.degraded{color:var(--bad);background:var(--bad-paper)}.drift{color:var(--warn);background:var(--warn-paper)}
.fine{color:var(--good);background:var(--good-paper)}.unknown{color:var(--soft);background:var(--soft-paper)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:18px 0}
.card{background:var(--soft-paper);border:1px solid var(--edge);border-radius:8px;padding:12px 14px}
.card span{display:block;color:var(--soft);font-size:13px}.card strong{display:block;font-size:23px;line-height:1.3;
font-variant-numeric:tabular-nums}.card.bad strong{color:var(--bad)}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(440px,100%),1fr));gap:20px;margin:14px 0}
figure{margin:0;min-width:0;border:1px solid var(--edge);border-radius:8px;padding:12px 14px}
figcaption{font-weight:600;font-size:14px}
svg.plot{display:block;width:100%;height:auto}svg text{fill:var(--soft);font:12px system-ui,-apple-system,"Segoe UI",
Roboto,"Noto Sans",sans-serif}svg text.name{font-size:11.5px}svg text.strong{fill:var(--ink)}
.grid{stroke:var(--grid);fill:none}.tick,.mark{stroke:var(--before);fill:none}.mark{stroke-dasharray:3 3}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.line.now{stroke:var(--now)}.line.before{stroke:var(--before)}
.line.bad{stroke:var(--bad)}.line.third{stroke:var(--third);stroke-dasharray:5 3}.line.ideal{stroke:var(--before);
stroke-width:1;stroke-dasharray:4 3}.line.soft{stroke-width:1.3;stroke:var(--now);opacity:.55}
.dot.now{fill:var(--now)}.dot.before{fill:var(--paper);stroke:var(--before);stroke-width:1.8}.dot.bad{fill:var(--bad)}
.dot.cloud{fill:var(--now);opacity:.32}.fill.now{fill:var(--now)}.fill.before{fill:var(--before)}
.fill.bad{fill:var(--bad)}.fill.third{fill:var(--third)}.fill.half{fill:var(--now);opacity:.55}.fill.limit{fill:var(--ink)}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:2px 0;font-size:13px;color:var(--soft)}
.swatch{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.swatch.now{background:var(--now)}.swatch.before{background:var(--before)}.swatch.bad{background:var(--bad)}
.swatch.third{background:var(--third)}
.wide{overflow-x:auto;margin:10px 0}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--edge);vertical-align:middle}
th{color:var(--soft);font-weight:600;font-size:12.5px;white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.keep{white-space:nowrap}td.n small{color:var(--soft)}
tr.bad td:first-child{box-shadow:inset 3px 0 var(--bad)}
td:first-child{padding-left:10px}th:first-child{padding-left:10px}
.tag{display:inline-block;font-size:12px;font-weight:600;border-radius:10px;padding:0 8px;white-space:nowrap}
.tag.bad{color:var(--bad);background:var(--bad-paper)}.tag.good{color:var(--good);background:var(--good-paper)}
.tag.none{color:var(--soft);background:var(--soft-paper)}
ul.findings{list-style:none;padding:0;margin:10px 0}
ul.findings li{display:grid;grid-template-columns:82px 1fr;gap:2px 12px;
padding:7px 0;border-bottom:1px solid var(--edge)}
ul.findings b{overflow-wrap:anywhere}
details{margin:10px 0}summary{cursor:pointer;color:var(--now);font-size:14px}
.bodies{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(280px,100%),1fr));gap:12px;margin:8px 0}
.bodies h4{margin:0 0 2px;font-size:12.5px;color:var(--soft)}
pre{margin:0;background:var(--soft-paper);border:1px solid var(--edge);border-radius:6px;padding:8px 10px;overflow:auto;
max-height:260px;white-space:pre-wrap;overflow-wrap:anywhere}
.spark{width:132px;height:34px;display:block}.bullet{width:120px;height:16px;display:block}
@media (max-width:640px){main{padding:18px 14px 48px}h1{font-size:22px}svg text{font-size:14px}
svg text.name{font-size:13.5px}.plots{gap:12px}figure{padding:10px 8px}ul.findings li{grid-template-columns:1fr}
td.n small{display:block}.card strong{font-size:20px}.cards{grid-template-columns:repeat(2,1fr)}}
@media print{main{max-width:none;padding:0}figure,tr,.card{break-inside:avoid}details{display:block}}
"""
ICONS = {
    "fine": '<path d="M6 15.5l6 6L24 9"/>',
    "degraded": '<path d="M15 4L28 26H2zM15 12v7M15 22.5v.5"/>',
    "drift": '<path d="M3 11c4-6 8-6 12 0s8 6 12 0M3 21c4-6 8-6 12 0s8 6 12 0"/>',
    "unknown": '<circle cx="15" cy="15" r="11"/><path d="M15 9v7M15 20.5v.5"/>',
}


def icon(status: str) -> str:
    """Give the sign of a status."""
    pen = 'fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"'
    return f'<svg viewBox="0 0 30 30" {pen} aria-hidden="true">{ICONS[status]}</svg>'
