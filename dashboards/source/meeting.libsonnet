// Before a meeting: headroom against Teams' limits, beside this hour last week.
//
// The limits are Microsoft's (Prepare your organization's network for Teams, 2019): from a client to its edge, or
// from an office's edge. They hold for any 15 s, so that it takes many probes in 15 s to judge them; where there
// are too few the panel says so, and never "good".
local lib = import 'lib.libsonnet';
local q = lib.q;

// No headroom is above 1: what is, stands for "cannot be told".
local unmeasured = 9;
local by = 'target, probe';
local last = { range: '15m' };
// Over a short range, so that it holds soon after a start.
local rate = 'max by (%s) (rate(vpnprobe_probes_total{%s}[$__rate_interval]))' % [by, lib.probe];

// Headroom where there are enough probes, and `unmeasured` where there are not.
local judged(headroom, enough, few) =
  '((%s) and %s %s) or (%s %s) * 0 + %d' % [headroom, rate, enough, rate, few, unmeasured];

local headroom(title, description, query) = lib.bars(title, description, 6, [q(query, '{{target}} {{probe}}', lib.now)], {
  unit: 'percentunit',
  mappings: [lib.from(2, 'not measurable at this probe rate', 'text')],
  thresholds: ['red', 0, 'orange', 0.25, 'green'],
  defaults: { min: 0, max: 1, noValue: 'no answers' },
});

// Now, the same hour last week (dashed), and the limit.
local beside(title, description, now, week, limit, unit) = lib.lines(title, description, 12, [
  q(now, '{{target}} {{probe}}'),
  q(week, '{{target}} {{probe}} last week'),
  q('vector(%s)' % limit, 'limit'),
], {
  unit: unit,
  overrides: [
    {
      matcher: { id: 'byFrameRefID', options: 'B' },
      properties: [{ id: 'custom.lineStyle', value: { fill: 'dash', dash: [6, 6] } }],
    },
    {
      matcher: { id: 'byFrameRefID', options: 'C' },
      properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: 'red' } }],
    },
  ],
});

local rtt(offset) = lib.quantile(0.95, 'vpnprobe_probe_rtt_seconds', by, lib.probe, { offset: offset });
local jitter(offset) = 'max by (%s) (vpnprobe_jitter_seconds{%s}%s)' % [by, lib.probe, offset];
local loss(offset) = lib.highest('vpnprobe_loss_ratio', by, lib.probe, { range: '15m', offset: offset });
local week = ' offset 1w';

lib.dashboard(
  'vpnprobe-meeting',
  'before a meeting',
  "Will it hold: headroom against Teams' limits on the way to the concentrator, beside this hour last week.",
  [
    lib.variables.target,
    lib.variables.probe,
    lib.variables.choice('rtt_limit', 'Round trip', [['client 100 ms', '0.1'], ['office 60 ms', '0.06']]),
    lib.variables.choice('jitter_limit', 'Jitter', [['client 30 ms', '0.03'], ['office 15 ms', '0.015']]),
    lib.variables.choice('loss_limit', 'Loss in any 15 s', [['client 1 %', '0.01'], ['office 0.1 %', '0.001']]),
  ],
  'now-1h',
  [
    {
      title: 'Headroom over the last 15 minutes: 100 % is nothing used, below 0 is over the limit',
      panels: [
        headroom('Round trip headroom', '95th percentile, to the concentrator. The way from there to Teams comes on top.', '(1 - (%s) / $rtt_limit) >= -Inf' % lib.quantile(0.95, 'vpnprobe_probe_rtt_seconds', by, lib.probe, last)),
        headroom('Jitter headroom', 'The highest. Of the round trip, which is 1.4 to 2 times that of one way: within the limit is proof, above it is not. It settles over 16 answers (RFC 3550), so that any 15 s must hold three times as many: an interval of 300 ms or less.', judged('1 - max by (%s) (max_over_time(vpnprobe_jitter_seconds{%s}[15m])) / $jitter_limit' % [by, lib.probe], '>= 48 / 15', '< 48 / 15')),
        headroom('Loss headroom, any 15 s', 'The worst window, rounded up to the next bound of the histogram. One loss must be less than the limit: for 1 % more than 100 probes in 15 s, an interval of 100 ms.', judged('1 - (%s) / $loss_limit' % lib.highest('vpnprobe_loss_ratio', by, lib.probe, last), '> 1 / $loss_limit / 15', '<= 1 / $loss_limit / 15')),
        headroom('Burst loss headroom, any 200 ms', 'The limit of 10 % takes 100 probes a second and more, which is no probing but load.', '(%s < 100) * 0 + %d' % [rate, unmeasured]),
      ],
    },
    {
      title: 'This hour, and this hour last week (dashed)',
      panels: [
        beside('Round trip, 95th percentile', 'To the concentrator.', rtt(''), rtt(week), '$rtt_limit', 's'),
        beside('Jitter', 'Of the round trip (RFC 3550).', jitter(''), jitter(week), '$jitter_limit', 's'),
        beside('Worst loss window of 15 minutes', 'Windows are 15 s or 20 intervals, whichever is longer; rounded up to the next bound of the histogram.', loss(''), loss(week), '$loss_limit', 'percentunit'),
        lib.lines('Rows of three losses or more', 'What ends a call is losses in a row; averages hide them.', 12, [
          q(lib.above('2', 'vpnprobe_loss_run_length', by, lib.probe), '{{target}} {{probe}}'),
        ]),
      ],
    },
    {
      title: 'Will it hold',
      panels: [
        lib.timeline('Targets', 'The state of each target, at its worst over all probers.', 12, [
          q(lib.state('target', lib.target), '{{target}}'),
        ], { mappings: lib.states, thresholds: ['red', 1, 'text', 2, 'orange', 3, 'green'] }),
        lib.lines('Under load', 'Share of IKE exchanges that were answered with a cookie: the concentrator has many half-open sessions.', 12, [
          q('sum by (target) (rate(vpnprobe_probe_under_load_total{%s,probe=~".*ike.*"}[$__rate_interval])) / (sum by (target) (rate(vpnprobe_probes_total{%s,probe=~".*ike.*"}[$__rate_interval])) > 0)' % [lib.target, lib.target], '{{target}}'),
        ], { unit: 'percentunit', defaults: { max: 1 } }),
        lib.lines('Handshakes, 95th percentile', 'A box that gets slower gets full.', 12, [
          q(lib.quantile(0.95, 'vpnprobe_probe_phase_seconds', 'target, probe', lib.probe + ',phase="handshake"'), '{{target}} {{probe}}'),
        ], { unit: 's' }),
        lib.lines('Margin of dead peer detection', 'The least over all vendors: silence that is left before sessions end.', 12, [
          q('min by (target) (vpnprobe_dpd_margin_seconds{%s})' % lib.target, '{{target}}'),
        ], { unit: 's' }),
        lib.lines('Probes in 15 s', 'How many there are to judge by. Below the line the loss limit is not measurable.', 12, [
          q('15 * max by (%s) (rate(vpnprobe_probes_total{%s}[$__rate_interval]))' % [by, lib.probe], '{{target}} {{probe}}'),
          q('vector(1 / $loss_limit)', 'needed for the loss limit'),
        ]),
        lib.lines('Not sent, by our own fault', 'If this rises, the figures above are of less worth.', 12, [
          q('sum by (instance) (increase(vpnprobe_probe_unsent_total{%s,fault=~"%s"}[$__rate_interval]))' % [lib.target, lib.faults], '{{instance}}'),
        ]),
      ],
    },
    {
      title: '',
      panels: [
        lib.text(24, 4, |||
          Not measured at all: reordering, and the way beyond the concentrator. What links and licences allow is arithmetic;
          it is not in these figures.
          The limits are those Microsoft published in 2019 for Skype and Teams media; later editions have no table.
        |||),
      ],
    },
  ]
)
