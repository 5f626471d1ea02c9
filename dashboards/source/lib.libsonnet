// What the dashboards are made of: queries in classic-or-native form, variables, panels, and their layout.
//
// Every histogram is asked for twice, `A or B`: A by its classic buckets, B by its native form. A Prometheus
// keeps one of the two, and the same dashboard works on both.
{
  local datasource = { type: 'prometheus', uid: '${datasource}' },

  // --- queries --------------------------------------------------------------------------------------------

  // The matchers of what is about the prober itself, of a target, and of a probe.
  own: 'job=~"$job",instance=~"$instance"',
  target: self.own + ',target=~"$target"',
  probe: self.target + ',probe=~"$probe"',

  // Reasons for which nothing came back that proves a living service: what counts as lost.
  lost: 'no_answer|(port|host|net)_unreachable|admin_prohibited|connection_(refused|reset)',
  // Faults of the prober's own; the others are slots that were held back on purpose.
  faults: 'unresolved|permission|local_firewall|no_route|egress|resource|local_mtu|receive_overflow|stalled|internal',

  local both(classic, native) = classic + ' or ' + native,
  local range(args) = { range: '$__rate_interval', more: '', offset: '' } + args,

  // quantile(0.99, metric, 'target, probe', matchers)
  quantile(q, metric, by, matchers, args={}):: both(
    'histogram_quantile(%(q)s, sum by (%(by)s, le) (rate(%(metric)s_bucket{%(matchers)s}[%(range)s]%(offset)s)))' %
    (range(args) { q: q, metric: metric, by: by, matchers: matchers }),
    'histogram_quantile(%(q)s, sum by (%(by)s) (rate(%(metric)s{%(matchers)s}[%(range)s]%(offset)s)))' %
    (range(args) { q: q, metric: metric, by: by, matchers: matchers })
  ),

  // The highest value seen, rounded up to its bucket; exactly 0 if all were 0.
  highest(metric, by, matchers, args={}):: both(
    ('histogram_quantile(1, sum by (%(by)s, le) (increase(%(metric)s_bucket{%(matchers)s}[%(range)s]%(offset)s)))' +
     ' * sgn(sum by (%(by)s) (increase(%(metric)s_sum{%(matchers)s}[%(range)s]%(offset)s)))') %
    (range(args) { metric: metric, by: by, matchers: matchers }),
    ('histogram_quantile(1, sum by (%(by)s) (increase(%(metric)s{%(matchers)s}[%(range)s]%(offset)s)))' +
     ' * sgn(histogram_sum(sum by (%(by)s) (increase(%(metric)s{%(matchers)s}[%(range)s]%(offset)s))))') %
    (range(args) { metric: metric, by: by, matchers: matchers })
  ),

  // How many were observed.
  count(metric, by, matchers, args={}):: both(
    'sum by (%(by)s) (increase(%(metric)s_count{%(matchers)s}[%(range)s]))' %
    (range(args) { metric: metric, by: by, matchers: matchers }),
    'histogram_count(sum by (%(by)s) (increase(%(metric)s{%(matchers)s}[%(range)s])))' %
    (range(args) { metric: metric, by: by, matchers: matchers })
  ),

  // How many were above a bound, which must be one of the classic ones. Prometheus writes a whole bound as `2`
  // or `2.0`, by the format of the scrape.
  above(bound, metric, by, matchers, args={}):: both(
    ('sum by (%(by)s) (increase(%(metric)s_count{%(matchers)s}[%(range)s]))' +
     ' - sum by (%(by)s) (increase(%(metric)s_bucket{%(matchers)s,le=~"%(bound)s(\\\\.0)?"}[%(range)s]))') %
    (range(args) { metric: metric, by: by, matchers: matchers, bound: bound }),
    ('histogram_fraction(%(bound)s, +Inf, sum by (%(by)s) (increase(%(metric)s{%(matchers)s}[%(range)s])))' +
     ' * histogram_count(sum by (%(by)s) (increase(%(metric)s{%(matchers)s}[%(range)s])))') %
    (range(args) { metric: metric, by: by, matchers: matchers, bound: bound })
  ),

  buckets(metric, matchers):: both(
    'sum by (le) (increase(%s_bucket{%s}[$__rate_interval]))' % [metric, matchers],
    'sum(increase(%s{%s}[$__rate_interval]))' % [metric, matchers]
  ),

  // Lost ones among those sent; nothing while nothing was sent.
  lossRatio(by, matchers, args={})::
    ('sum by (%(by)s) (rate(vpnprobe_probe_failures_total{%(matchers)s,reason=~"%(lost)s"}[%(range)s]))' +
     ' / (sum by (%(by)s) (rate(vpnprobe_probes_total{%(matchers)s}[%(range)s])) > 0)') %
    (range(args) { by: by, matchers: matchers, lost: $.lost }),

  // The state of a target as a number: 3 up, 2 degraded, 1 unknown, 0 down.
  state(by, matchers)::
    ('min by (%(by)s) (sum without (state) (vpnprobe_target_state{%(matchers)s,state="up"} * 3' +
     ' or vpnprobe_target_state{%(matchers)s,state="degraded"} * 2' +
     ' or vpnprobe_target_state{%(matchers)s,state="unknown"}' +
     ' or vpnprobe_target_state{%(matchers)s,state="down"} * 0))') % { by: by, matchers: matchers },

  // --- variables ------------------------------------------------------------------------------------------

  local all = { text: ['All'], value: ['$__all'] },

  variables: {
    datasource: {
      name: 'datasource',
      label: 'Data source',
      type: 'datasource',
      query: 'prometheus',
      current: { text: '', value: '' },
      refresh: 1,
    },
    local labels(name, label, query) = {
      name: name,
      label: label,
      type: 'query',
      datasource: datasource,
      query: { query: query, refId: 'Var-' + name },
      refresh: 2,
      sort: 1,
      multi: true,
      includeAll: true,
      allValue: '.*',
      current: all,
    },
    job: labels('job', 'Job', 'label_values(vpnprobe_build_info, job)'),
    instance: labels('instance', 'Prober', 'label_values(vpnprobe_build_info{job=~"$job"}, instance)'),
    target: labels('target', 'Target', 'label_values(vpnprobe_target_state{%s}, target)' % $.own),
    // One concentrator at a time.
    one: self.target { multi: false, includeAll: false, allValue:: null, current: { text: '', value: '' } },
    probe: labels('probe', 'Probe', 'label_values(vpnprobe_probes_total{%s}, probe)' % $.target),
    profile: labels('profile', 'Dead peer detection', 'label_values(vpnprobe_dpd_judged{%s}, profile)' % $.target),
    // choice('limit', 'Limit', [['one', '1'], ['two', '2']]): the first one is chosen.
    choice(name, label, options):: {
      name: name,
      label: label,
      type: 'custom',
      query: std.join(', ', ['%s : %s' % option for option in options]),
      current: { text: options[0][0], value: options[0][1] },
      options: [
        { text: option[0], value: option[1], selected: option == options[0] }
        for option in options
      ],
      multi: false,
      includeAll: false,
    },
  },

  // --- panels ---------------------------------------------------------------------------------------------

  // q(expression, legend): one query of a panel.
  q(expr, legend='__auto', more={}):: {
    datasource: datasource,
    editorMode: 'code',
    expr: expr,
    legendFormat: legend,
    range: true,
    instant: false,
  } + more,
  now:: { range: false, instant: true },
  asTable:: self.now { format: 'table' },
  asHeatmap:: { format: 'heatmap' },

  local steps(list) = {
    mode: 'absolute',
    steps: [{ color: list[0], value: null }] +
           [{ color: list[i + 1], value: list[i] } for i in std.range(1, std.length(list) - 1) if i % 2 == 1],
  },

  local panel(type, title, description, width, height, queries, args) = {
    local it = { unit: 'short', thresholds: ['green'], mappings: [], defaults: {}, custom: {} } + args,
    type: type,
    title: title,
    description: description,
    datasource: datasource,
    size:: [width, height],
    fieldConfig: {
      defaults: {
        mappings: it.mappings,
        thresholds: steps(it.thresholds),
        unit: it.unit,
        [if it.custom != {} then 'custom']: it.custom,
      } + it.defaults,
      overrides: if 'overrides' in it then it.overrides else [],
    },
    targets: std.mapWithIndex(function(i, query) query { refId: std.char(std.codepoint('A') + i) }, queries),
  },

  // value(0, 'down', 'red'): how a value is shown.
  value(value, text, color, index=value):: {
    type: 'value',
    options: { [std.toString(value)]: { text: text, color: color, index: index } },
  },
  // From a value on.
  from(value, text, color):: {
    type: 'range',
    options: { from: value, to: null, result: { text: text, color: color, index: 0 } },
  },
  states: [$.value(3, 'up', 'green'), $.value(2, 'degraded', 'orange'), $.value(1, 'unknown', 'text'), $.value(0, 'down', 'red')],

  local reduced = {
    orientation: 'auto',
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  },
  local legend = { calcs: [], displayMode: 'list', placement: 'bottom', showLegend: true },

  stat(title, description, width, queries, args={})::
    panel('stat', title, description, width, std.get(args, 'height', 4), queries, args) + {
      options: reduced + {
        colorMode: 'background',
        graphMode: 'none',
        justifyMode: 'auto',
        textMode: std.get(args, 'text', 'auto'),
        percentChangeColorMode: 'standard',
        showPercentChange: false,
        wideLayout: true,
      },
    },

  lines(title, description, width, queries, args={})::
    panel('timeseries', title, description, width, std.get(args, 'height', 8), queries, args {
      custom: {
        drawStyle: 'line',
        fillOpacity: 5,
        lineWidth: 1,
        showPoints: 'never',
        spanNulls: false,
      } + std.get(args, 'custom', {}),
      defaults: { min: 0 } + std.get(args, 'defaults', {}),
    }) + {
      options: { legend: legend, tooltip: { mode: 'multi', sort: 'desc' } },
    },
  stacked:: { custom: { drawStyle: 'bars', fillOpacity: 80, stacking: { mode: 'normal', group: 'A' } } },

  timeline(title, description, width, queries, args={})::
    panel('state-timeline', title, description, width, std.get(args, 'height', 8), queries, args {
      unit: 'none',
      custom: { fillOpacity: 80, lineWidth: 0 },
      defaults: { color: { mode: 'thresholds' } },
    }) + {
      options: {
        mergeValues: true,
        showValue: 'never',
        alignValue: 'center',
        rowHeight: 0.85,
        legend: legend,
        tooltip: { mode: 'single', sort: 'none' },
      },
    },

  heatmap(title, description, width, metric, matchers, args={})::
    panel('heatmap', title, description, width, std.get(args, 'height', 8), [
      $.q($.buckets(metric, matchers), '{{le}}', $.asHeatmap),
    ], args { custom: { scaleDistribution: { type: 'linear' } } }) + {
      options: {
        calculate: false,
        cellGap: 1,
        color: {
          mode: 'scheme',
          scheme: 'Spectral',
          steps: 64,
          exponent: 0.5,
          fill: 'dark-orange',
          scale: 'exponential',
          reverse: true,
        },
        exemplars: { color: 'rgba(255,0,255,0.7)' },
        filterValues: { le: 1e-9 },
        legend: { show: true },
        rowsFrame: { layout: 'auto' },
        showValue: 'never',
        tooltip: { mode: 'single', yHistogram: false, showColorScale: false },
        yAxis: { axisPlacement: 'left', reverse: false, unit: std.get(args, 'unit', 's') },
      },
    },

  bars(title, description, width, queries, args={})::
    panel('bargauge', title, description, width, std.get(args, 'height', 8), queries, args) + {
      options: reduced + {
        orientation: 'horizontal',
        displayMode: 'basic',
        legend: legend { showLegend: false },
        maxVizHeight: 300,
        minVizHeight: 16,
        minVizWidth: 8,
        namePlacement: 'left',
        showUnfilled: true,
        sizing: 'auto',
        valueMode: 'color',
      },
    },

  // `columns`: the labels to show with their headings, in order; 'Value' is the value.
  table(title, description, width, query, columns, args={})::
    panel('table', title, description, width, std.get(args, 'height', 8), [query], args {
      custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
    }) + {
      options: {
        frameIndex: 0,
        showHeader: true,
        cellHeight: 'sm',
        [if 'sortBy' in args then 'sortBy']: [{ displayName: args.sortBy, desc: false }],
      },
      transformations: [
        { id: 'filterFieldsByName', options: { include: { names: [column[0] for column in columns] } } },
        {
          id: 'organize',
          options: {
            indexByName: { [columns[i][0]]: i for i in std.range(0, std.length(columns) - 1) },
            renameByName: { [column[0]]: column[1] for column in columns },
          },
        },
      ],
    },

  text(width, height, markdown):: {
    type: 'text',
    title: '',
    size:: [width, height],
    options: { mode: 'markdown', content: markdown },
  },

  // --- dashboards -----------------------------------------------------------------------------------------

  // Panels side by side, 24 columns wide, from the top down; each line as high as its highest panel.
  local place(panels, y) = std.foldl(function(done, panel) {
    local wraps = done.x + panel.size[0] > 24,
    local x = if wraps then 0 else done.x,
    y: if wraps then done.y + done.height else done.y,
    x: x + panel.size[0],
    height: if wraps then panel.size[1] else std.max(done.height, panel.size[1]),
    panels: done.panels + [panel { gridPos: { x: x, y: done.y + (if wraps then done.height else 0), w: panel.size[0], h: panel.size[1] } }],
  }, panels, { x: 0, y: y, height: 0, panels: [] }),

  // Rows from the top down: a title (or none) and its panels.
  local layout(rows) = std.foldl(function(done, row) {
    local head = if row.title == '' then [] else [{
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { x: 0, y: done.y, w: 24, h: 1 },
    }],
    local placed = place(row.panels, done.y + std.length(head)),
    y: placed.y + placed.height,
    panels: done.panels + head + placed.panels,
  }, rows, { y: 0, panels: [] }).panels,

  dashboard(uid, title, description, variables, time, rows):: {
    uid: uid,
    title: 'vpnprobe: ' + title,
    description: description,
    tags: ['vpnprobe'],
    schemaVersion: 42,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: time, to: 'now' },
    timezone: 'browser',
    links: [{
      title: 'vpnprobe',
      type: 'dashboards',
      tags: ['vpnprobe'],
      icon: 'external link',
      tooltip: '',
      url: '',
      asDropdown: true,
      includeVars: true,
      keepTime: true,
      targetBlank: false,
    }],
    templating: {
      list: [
        { hide: 0, skipUrlSync: false } + variable
        for variable in [$.variables.datasource, $.variables.job, $.variables.instance] + variables
      ],
    },
    panels: std.mapWithIndex(function(i, panel) panel { id: i + 1 }, layout(rows)),
  },
}
