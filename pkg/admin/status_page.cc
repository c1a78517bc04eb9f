#include "pkg/admin/status_page.h"

namespace cashew::admin {

const std::string_view kStatusHtml = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cashew: status</title>
<link rel="stylesheet" href="status.css">
<script src="status.js" defer></script>
</head>
<body>
<header>
<h1>cashew <span id="version"></span></h1>
<p id="summary">Waiting for the first figures …</p>
<p id="ready" class="badge"></p>
</header>
<main id="pools"></main>
<noscript><p>This page needs JavaScript; <a href="pools">/pools</a> and
<a href="metrics">/metrics</a> do not.</p></noscript>
<footer><a href="metrics">metrics</a> <a href="pools">pools</a> <a href="config">config</a>
<a href="readyz">readyz</a> · rates and latencies are of the last two seconds; p50 and p99 are
upper bounds of histogram buckets</footer>
</body>
</html>
)html";

const std::string_view kStatusCss = R"css(:root {
  color-scheme: light dark;
  --text: #1d2530; --quiet: #5b6675; --line: #d8dee6; --page: #f5f7f9; --card: #fff;
  --good: #1a7f4b; --bad: #c0262d; --warn: #9a6200; --chart: #3b6fd4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e4e9f0; --quiet: #9aa6b5; --line: #333d4a; --page: #14191f; --card: #1c232b;
    --good: #4cc38a; --bad: #ff6b70; --warn: #f0b341; --chart: #7aa2f7;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif;
}
a { color: var(--chart); }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
h1 { font-size: 1.35rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0; }
header p { margin: 0; color: var(--quiet); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  margin: 1rem 0; padding: 1rem; overflow-x: auto;
}
.head { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; }
.figures { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: .75rem 0; }
.figures div { min-width: 5rem; }
.figures b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--quiet); font-size: .85rem; }
svg { width: 12rem; height: 2.5rem; }
svg polyline { fill: none; stroke: var(--chart); stroke-width: 1.5; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; white-space: nowrap; padding: .3rem .6rem; border-top: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
th:first-child, td:first-child, .text { text-align: left; }
.badge { border-radius: 1rem; padding: .05rem .6rem; font-size: .85rem; border: 1px solid; }
.good { color: var(--good) !important; }
.bad { color: var(--bad) !important; font-weight: 600; }
.warn { color: var(--warn) !important; }
footer { color: var(--quiet); font-size: .85rem; }
)css";

const std::string_view kStatusJs = R"js('use strict';
const EVERY_MS = 2000;
const POINTS = 60;
const history = new Map();  // pool -> requests per second
let before = null;

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}
function short(n) {
  if (n === null || !isFinite(n)) return '–';
  if (n >= 1e9) return (n / 1e9).toFixed(1) + ' G';
  if (n >= 1e6) return (n / 1e6).toFixed(1) + ' M';
  if (n >= 1e4) return (n / 1e3).toFixed(1) + ' k';
  return n >= 100 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(1);
}
function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  while (n >= 1024 && u < units.length - 1) { n /= 1024; u++; }
  return (u ? n.toFixed(1) : n) + ' ' + units[u];
}
function time(s) {
  if (s === null) return '–';
  if (s === Infinity) return '> 10 s';
  if (s >= 1) return s + ' s';
  return s >= 0.001 ? +(s * 1e3).toFixed(2) + ' ms' : +(s * 1e6).toFixed(0) + ' µs';
}
function duration(s) {
  const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
}
// The upper bound of the bucket in which the q-quantile of what came since `old` lies.
function quantile(q, bounds, now, old) {
  const counts = now.map((n, i) => n - (old ? old[i] : 0));
  const all = counts.reduce((a, b) => a + b, 0);
  if (all <= 0) return null;
  let left = q * all;
  for (let i = 0; i < counts.length; i++) {
    left -= counts[i];
    if (left <= 0) return i < bounds.length ? bounds[i] : Infinity;
  }
  return Infinity;
}
function figure(value, label, kind) {
  return el('div', {}, el('b', kind ? {class: kind} : {}, value), el('span', {}, label));
}
function sparkline(values) {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  const line = document.createElementNS(ns, 'polyline');
  const top = Math.max(1, ...values);
  svg.setAttribute('viewBox', `0 0 ${POINTS} 20`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'requests per second, last two minutes');
  line.setAttribute('vector-effect', 'non-scaling-stroke');
  line.setAttribute('points', values.map((v, i) =>
      `${POINTS - values.length + i},${(19 - 18 * v / top).toFixed(2)}`).join(' '));
  svg.append(line);
  return svg;
}
function remember(name, value) {
  const values = history.get(name) || [];
  values.push(value);
  while (values.length > POINTS) values.shift();
  history.set(name, values);
  return values;
}
const byName = (list, name) => list ? list.find((x) => x.name === name) : undefined;

const COLUMNS = ['server', 'address', 'state', 'requests/s', 'p50', 'p99', 'waiting', 'under way',
                 'connections', 'failures', 'ejections'];
function serverRow(server, old, bounds, seconds) {
  const live = server.state === 'live';
  const rate = old ? (server.requests - old.requests) / seconds : null;
  const p = (q) => time(quantile(q, bounds, server.latency, old && old.latency));
  const cells = [server.name, server.address, el('span', {class: live ? 'good' : 'bad'}, server.state),
                 short(rate), p(0.5), p(0.99), short(server.in_queue), short(server.out_queue),
                 short(server.connections), short(server.failures), short(server.ejects)];
  const row = el('tr', {});
  cells.forEach((c, i) => row.append(el('td', i < 3 ? {class: 'text'} : {}, c)));
  return row;
}
function poolSection(pool, old, bounds, seconds) {
  const per = (key) => old ? Math.max(0, (pool[key] - old[key]) / seconds) : null;
  const rate = per('requests'), errors = per('errors');
  const hits = old ? pool.hits - old.hits : 0, misses = old ? pool.misses - old.misses : 0;
  const p = (q) => time(quantile(q, bounds, pool.latency, old && old.latency));
  const live = pool.servers.filter((s) => s.state === 'live').length;
  const all = pool.servers.length;
  const badge = el('span', {class: 'badge ' + (live === all ? 'good' : live ? 'warn' : 'bad')},
                   `${live} of ${all} servers live`);
  const table = el('table', {}, el('thead', {}, el('tr', {},
      ...COLUMNS.map((c, i) => el('th', i < 3 ? {class: 'text'} : {}, c)))));
  const body = el('tbody', {});
  for (const s of pool.servers) body.append(serverRow(s, byName(old && old.servers, s.name), bounds, seconds));
  table.append(body);
  return el('section', {id: 'pool-' + pool.name},
      el('div', {class: 'head'}, el('h2', {}, pool.name), badge,
         el('span', {}, `${pool.protocol}, ${pool.distribution}`),
         sparkline(rate === null ? [] : remember(pool.name, rate))),
      el('div', {class: 'figures'},
         figure(short(rate), 'requests/s'), figure(p(0.5), 'p50'), figure(p(0.99), 'p99'),
         figure(hits + misses > 0 ? (100 * hits / (hits + misses)).toFixed(1) + ' %' : '–', 'hits of gets'),
         figure(short(errors), 'errors/s', errors > 0 ? 'bad' : ''),
         figure(short(pool.errors), 'errors in all'),
         figure(short(pool.clients), 'clients')),
      table);
}
function show(now) {
  const seconds = before ? Math.max(0.001, (now.time_ms - before.time_ms) / 1000) : 1;
  const busy = now.workers.map((w, i) => before && before.workers[i] ?
      Math.round(100 * (w.busy_s - before.workers[i].busy_s) / seconds) : null);
  document.getElementById('version').textContent = now.version;
  document.getElementById('summary').textContent =
      `${now.source} · up ${duration(now.uptime_s)} · ${short(now.connections)} connections · ` +
      `${bytes(now.buffer_bytes)} in buffers · workers ` +
      busy.map((b) => b === null ? '–' : b + ' %').join(', ') + ' busy';
  const ready = document.getElementById('ready');
  ready.textContent = now.not_ready.length ? now.not_ready.join('; ') : 'ready';
  ready.className = 'badge ' + (now.not_ready.length ? 'bad' : 'good');
  const sections = now.pools.map((p) =>
      poolSection(p, byName(before && before.pools, p.name), now.bounds_s, seconds));
  document.getElementById('pools').replaceChildren(...sections);
  before = now;
}
async function tick() {
  try {
    const reply = await fetch('status.json', {cache: 'no-store'});
    if (!reply.ok) throw new Error('HTTP ' + reply.status);
    show(await reply.json());
  } catch (error) {
    const ready = document.getElementById('ready');
    ready.textContent = 'no answer: ' + error.message;
    ready.className = 'badge bad';
  }
  setTimeout(tick, EVERY_MS);
}
tick();
)js";

}  // namespace cashew::admin
