// Draws what the dashboards' queries give, for the README. Not Grafana: the same queries, another renderer.
//
//   node draw.mjs http://127.0.0.1:9090 DASHBOARDS OUT [SECONDS]
//
// Asks a running Prometheus for the panels listed in PICTURES over the last SECONDS (120), for the target `hq`
// where a dashboard lets one choose, and writes one SVG a picture into the folder OUT.
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as vega from 'vega';
import {compile} from 'vega-lite';

const [prometheus, dashboards, out, seconds = '120'] = process.argv.slice(2);
if (!out) throw new Error('node draw.mjs PROMETHEUS DASHBOARDS OUT [SECONDS]');

const PICTURES = {
  fleet: ['Targets', 'Failures by reason', 'Loss', 'Round trip, 95th percentile'],
  drops: ['Margin', 'Teardowns', 'Flap penalty', 'Flapping'],
  meeting: ['Loss headroom, any 15 s', 'Jitter headroom', 'Round trip, 95th percentile', 'Worst loss window of 15 minutes'],
};

const end = Date.now() / 1000;
const start = end - Number(seconds);

/** The expression of a query with its variables at what they are when one opens the dashboard. */
function expression(board, expr, target) {
  const values = {__rate_interval: '15s', __range: `${seconds}s`};
  for (const {name, type, includeAll, allValue, current} of board.templating.list) {
    if (type === 'custom') values[name] = current.value;
    else if (type === 'query') values[name] = name === 'target' ? target : includeAll ? allValue : '.*';
  }
  return expr.replace(/\$(\w+)/g, (_, name) => values[name]);
}

/** The points of a panel: time, value, and the name of the series. */
async function points(board, panel, target) {
  const all = [];
  for (const {expr, legendFormat} of panel.targets) {
    const body = new URLSearchParams({query: expression(board, expr, target), start, end, step: '2'});
    const answer = await (await fetch(`${prometheus}/api/v1/query_range`, {method: 'POST', body})).json();
    if (answer.status !== 'success') throw new Error(`${panel.title}: ${answer.error}`);
    for (const {metric, values} of answer.data.result) {
      const series = legendFormat.replace(/{{(\w+)}}/g, (_, label) => metric[label] ?? '').trim() || 'all';
      for (const [time, value] of values) {
        const number = Number(value);
        if (Number.isFinite(number)) all.push({time: Math.round((time - start) * 10) / 10, value: Number(number.toPrecision(4)), series});
      }
    }
  }
  return all;
}

const COLORS = {green: '#56a64b', orange: '#ff9830', red: '#e02f44', text: '#9aa0a6'};

/** A state timeline: one bar a series, coloured as the panel's mappings say. */
function timeline(panel, values) {
  const known = panel.fieldConfig.defaults.mappings.flatMap(({options}) => Object.entries(options));
  const text = new Map(known.map(([value, {text}]) => [Number(value), text]));
  const states = values.map(({time, value, series}) => ({time, series, until: time + 2, state: text.get(value) ?? String(value)}));
  const domain = known.map(([, {text}]) => text);
  return {
    data: {values: states},
    mark: {type: 'rect', height: {band: 0.8}},
    encoding: {
      x: {field: 'time', type: 'quantitative', title: 's', scale: {domain: [0, Number(seconds)]}},
      x2: {field: 'until'},
      y: {field: 'series', type: 'nominal', title: null},
      color: {field: 'state', type: 'nominal', title: null, scale: {domain, range: known.map(([, {color}]) => COLORS[color])}},
    },
  };
}

/** Bars of the last values, each with its text where the panel maps a value to one. */
function bars(panel, values) {
  const from = panel.fieldConfig.defaults.mappings.find(({type}) => type === 'range')?.options;
  const last = [...new Map(values.map((point) => [point.series, point])).values()].map(({series, value}) => {
    const mapped = from && value >= from.from;
    const share = Math.max(-1, Math.min(1, value));
    return {series, share: mapped ? 0 : share, text: mapped ? from.result.text : `${Math.round(value * 100)} %`, color: mapped ? COLORS.text : value < 0 ? COLORS.red : value < 0.25 ? COLORS.orange : COLORS.green};
  });
  const y = {field: 'series', type: 'nominal', title: null};
  return {
    data: {values: last},
    layer: [
      {
        mark: {type: 'bar', height: {band: 0.7}},
        encoding: {y, x: {field: 'share', type: 'quantitative', title: null, axis: {format: '%'}, scale: {domain: [-1, 1]}}, color: {field: 'color', type: 'nominal', scale: null}},
      },
      {mark: {type: 'text', align: 'left', x: 155, fontSize: 9}, encoding: {y, text: {field: 'text'}}},
    ],
  };
}

function lines(panel, values) {
  const percent = panel.fieldConfig.defaults.unit === 'percentunit';
  return {
    data: {values},
    mark: {type: 'line', interpolate: 'step-after', strokeWidth: 1.5},
    encoding: {
      x: {field: 'time', type: 'quantitative', title: 's', scale: {domain: [0, Number(seconds)]}},
      y: {field: 'value', type: 'quantitative', title: percent ? null : panel.fieldConfig.defaults.unit, axis: {format: percent ? '%' : 's'}},
      color: {field: 'series', type: 'nominal', title: null, legend: {symbolLimit: 10, labelLimit: 220}},
    },
  };
}

mkdirSync(out, {recursive: true});
for (const [name, titles] of Object.entries(PICTURES)) {
  const board = JSON.parse(readFileSync(join(dashboards, `vpnprobe-${name}.json`), 'utf8'));
  const panels = await Promise.all(titles.map(async (title) => {
    const panel = board.panels.find((panel) => panel.title === title && panel.targets);
    const view = {'state-timeline': timeline, bargauge: bars}[panel.type] ?? lines;
    return {title, width: 300, height: 130, ...view(panel, await points(board, panel, name === 'fleet' ? '.*' : 'hq'))};
  }));
  const {spec} = compile({
    title: {text: `${board.title}, drawn from its queries (not Grafana)`, anchor: 'start'},
    background: 'white',
    columns: 2,
    concat: panels,
    resolve: {scale: {color: 'independent', y: 'independent'}},
    config: {axis: {gridColor: '#eee', tickCount: 5}, font: 'sans-serif'},
  });
  const svg = await new vega.View(vega.parse(spec), {renderer: 'none'}).toSVG();
  writeFileSync(join(out, `${name}.svg`), `${svg.replace(/(\d+\.\d)\d+/g, '$1')}\n`);
  console.log(`${name}.svg ${svg.length}`);
}
