// Why people drop: what dead peer detection makes of each outage, how close it was, and what flaps.
local lib = import 'lib.libsonnet';
local q = lib.q;

local dpd = lib.target + ',profile=~"$profile"';

lib.dashboard(
  'vpnprobe-drops',
  'DPD and flaps',
  "Would this vendor's dead peer detection have torn the session down, how close was it, and what comes and goes.",
  [lib.variables.target, lib.variables.profile],
  'now-24h',
  [
    {
      title: 'Dead peer detection',
      panels: [
        lib.bars('Sessions that ended for sure', 'Outages in the range shown that tear a session down whatever its phase, by vendor.', 8, [
          q('sum by (profile) (increase(vpnprobe_dpd_timeouts_total{%s}[$__range]))' % dpd, '{{profile}}', lib.now),
        ], { defaults: { min: 0, decimals: 0 }, thresholds: ['green', 1, 'red'] }),
        lib.bars('Sessions that ended, averaged over the phase', 'How many teardowns a session has to expect: part of the sessions survive what others do not.', 8, [
          q('sum by (profile) (increase(vpnprobe_dpd_expected_timeouts_total{%s}[$__range]))' % dpd, '{{profile}}', lib.now),
        ], { defaults: { min: 0, decimals: 2 }, thresholds: ['green', 0.5, 'orange', 1, 'red'] }),
        lib.bars('Margin now', 'Silence that is left before the least lucky session is torn down.', 8, [
          q('min by (profile) (vpnprobe_dpd_margin_seconds{%s})' % dpd, '{{profile}}', lib.now),
        ], { unit: 's', defaults: { min: 0 }, thresholds: ['red', 5, 'orange', 10, 'green'] }),
        lib.lines('Margin', 'Silence that is left before a teardown, at the least favourable phase. It falls with each second of an outage.', 12, [
          q('min by (target, profile) (vpnprobe_dpd_margin_seconds{%s})' % dpd, '{{target}} {{profile}}'),
        ], { unit: 's' }),
        lib.lines('Teardowns', 'For sure, and averaged over the phase.', 12, [
          q('sum by (target, profile) (increase(vpnprobe_dpd_timeouts_total{%s}[$__rate_interval])) > 0' % dpd, '{{target}} {{profile}} for sure'),
          q('sum by (target, profile) (increase(vpnprobe_dpd_expected_timeouts_total{%s}[$__rate_interval])) > 0' % dpd, '{{target}} {{profile}} expected'),
        ]),
        lib.timeline('Is there a verdict', 'A profile whose timers are too short for the interval of the probes is not judged: shorten the interval of the probe that stands for the session.', 24, [
          q('min by (target, probe, profile) (vpnprobe_dpd_judged{%s})' % dpd, '{{target}} {{probe}} {{profile}}'),
        ], {
          mappings: [lib.value(1, 'judged', 'green'), lib.value(0, 'not measurable at this probe rate', 'text')],
          thresholds: ['text', 1, 'green'],
        }),
      ],
    },
    {
      title: 'The yardstick: real sessions',
      panels: [
        lib.timeline('Sessions', 'Real IKEv2 sessions (`session:` in the configuration).', 12, [
          q('vpnprobe_session_up{%s}' % lib.target, '{{target}} {{egress}} {{instance}}'),
        ], { mappings: [lib.value(1, 'up', 'green'), lib.value(0, 'down', 'red')], thresholds: ['red', 1, 'green'] }),
        lib.lines('What ended them', 'Sessions that ended or could not be set up. local_fault is a stall of our own.', 12, [
          q('sum by (target, reason) (increase(vpnprobe_session_teardowns_total{%s}[$__rate_interval])) > 0' % lib.target, '{{target}} {{reason}}'),
        ], lib.stacked),
        lib.bars('Foretold and seen', 'Outages that the session met in the range shown: what its timers foretold from the probes beside it, and what it did.', 8, [
          q('sum by (predicted, seen) (increase(vpnprobe_session_predictions_total{%s}[$__range]))' % lib.target, 'foretold {{predicted}}, seen {{seen}}', lib.now),
        ], { defaults: { min: 0, decimals: 0 } }),
        lib.lines('Liveness checks lost', 'Share of the transmissions of liveness checks that were not answered in their time.', 8, [
          q('sum by (target) (rate(vpnprobe_session_liveness_losses_total{%s}[$__rate_interval])) / (sum by (target) (rate(vpnprobe_session_liveness_checks_total{%s}[$__rate_interval]) + rate(vpnprobe_session_liveness_losses_total{%s}[$__rate_interval])) > 0)' % [lib.target, lib.target, lib.target], '{{target}}'),
        ], { unit: 'percentunit', defaults: { max: 1 } }),
        lib.lines('Liveness round trip, median and 99th percentile', 'Of checks that were answered at once.', 8, [
          q(lib.quantile(0.5, 'vpnprobe_session_liveness_rtt_seconds', 'target', lib.target), '{{target}} median'),
          q(lib.quantile(0.99, 'vpnprobe_session_liveness_rtt_seconds', 'target', lib.target), '{{target}} p99'),
        ], { unit: 's' }),
      ],
    },
    {
      title: 'Flaps',
      panels: [
        lib.timeline('Flapping', 'From when the penalty reaches `suppress` until it falls below `reuse`.', 12, [
          q('max by (target, probe, member) (vpnprobe_flapping{%s})' % lib.target, '{{target}} {{probe}} {{member}}'),
        ], { mappings: [lib.value(1, 'flapping', 'orange'), lib.value(0, 'stable', 'green')], thresholds: ['green', 1, 'orange'] }),
        lib.lines('Flap penalty', 'Each time the service falls silent or comes back adds 1000, and half of it is left after a half-life (RFC 2439).', 12, [
          q('max by (target, probe) (vpnprobe_flap_penalty{%s})' % lib.target, '{{target}} {{probe}}'),
        ], { unit: 'none' }),
        lib.lines('Flaps', 'How often a service fell silent or came back.', 12, [
          q('sum by (target, probe) (increase(vpnprobe_flaps_total{%s}[$__rate_interval])) > 0' % lib.target, '{{target}} {{probe}}'),
        ], lib.stacked),
        lib.lines('Percent of state changes', "Nagios' measure, over the last 21 results.", 12, [
          q('max by (target, probe) (vpnprobe_flap_percent_state_change{%s})' % lib.target, '{{target}} {{probe}}'),
        ], { unit: 'percent', defaults: { max: 100 } }),
      ],
    },
    {
      title: 'Outages and bursts',
      panels: [
        lib.lines('Outages that ended, by length', 'Longer than 20 s, 60 s and 5 min: where short timers, usual ones and long ones give up.', 12, [
          q(lib.count('vpnprobe_outage_duration_seconds', 'target', lib.target), '{{target}} any'),
          q(lib.above('60', 'vpnprobe_outage_duration_seconds', 'target', lib.target), '{{target}} > 60 s'),
          q(lib.above('300', 'vpnprobe_outage_duration_seconds', 'target', lib.target), '{{target}} > 5 min'),
        ]),
        lib.heatmap('Outages', 'How long those took that have ended.', 12, 'vpnprobe_outage_duration_seconds', lib.target),
        lib.heatmap('Losses in a row', 'How many probes in a row were lost. A percentage hides this.', 12, 'vpnprobe_loss_run_length', lib.target, { unit: 'none' }),
        lib.lines('Rows of three losses or more', 'Single losses are chance; rows end calls.', 12, [
          q(lib.above('2', 'vpnprobe_loss_run_length', 'target, probe', lib.target), '{{target}} {{probe}}'),
        ]),
      ],
    },
  ]
)
