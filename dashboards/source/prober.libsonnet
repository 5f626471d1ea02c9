// The prober itself: whether its figures can be believed.
local lib = import 'lib.libsonnet';
local q = lib.q;

lib.dashboard(
  'vpnprobe-prober',
  "the prober's own health",
  'Faults of our own are never the network\'s: here they are.',
  [],
  'now-6h',
  [
    {
      title: '',
      panels: [
        lib.stat('Can be scraped', 'By Prometheus.', 4, [q('min(up{%s})' % lib.own, '', lib.now)], {
          mappings: [lib.value(1, 'yes', 'green'), lib.value(0, 'not all', 'red')],
          thresholds: ['red', 1, 'green'],
        }),
        lib.stat('Last reload', 'Of the configuration.', 4, [
          q('min(vpnprobe_config_last_reload_successful{%s})' % lib.own, '', lib.now),
        ], {
          mappings: [lib.value(1, 'good', 'green'), lib.value(0, 'failed', 'red')],
          thresholds: ['red', 1, 'green'],
        }),
        lib.stat('Configuration loaded', 'How long ago, the oldest.', 4, [
          q('time() - min(vpnprobe_config_last_reload_success_timestamp_seconds{%s})' % lib.own, '', lib.now),
        ], { unit: 's' }),
        lib.stat('Series', 'Probes of members over ways out.', 4, [
          q('count(vpnprobe_probes_total{%s})' % lib.own, '', lib.now),
        ]),
        lib.stat('Probes sent', 'Per second.', 4, [
          q('sum(rate(vpnprobe_probes_total{%s}[$__rate_interval]))' % lib.own, '', lib.now),
        ], { unit: 'reqps' }),
        lib.stat('Versions', 'That run.', 4, [
          q('count by (version) (vpnprobe_build_info{%s})' % lib.own, '{{version}}', lib.now),
        ], { text: 'value_and_name' }),
      ],
    },
    {
      title: 'In time',
      panels: [
        lib.lines('Schedule lag', 'How much later than due exchanges were begun, median and 99th percentile.', 12, [
          q(lib.quantile(0.5, 'vpnprobe_schedule_lag_seconds', 'instance', lib.own), '{{instance}} median'),
          q(lib.quantile(0.99, 'vpnprobe_schedule_lag_seconds', 'instance', lib.own), '{{instance}} p99'),
        ], { unit: 's' }),
        lib.heatmap('Schedule lag', 'All exchanges.', 12, 'vpnprobe_schedule_lag_seconds', lib.own),
        lib.lines('Missed slots', 'Slots of the schedule that could not be begun.', 12, [
          q('sum by (instance) (increase(vpnprobe_missed_slots_total{%s}[$__rate_interval]))' % lib.own, '{{instance}}'),
        ]),
        lib.lines('Longest without an attempt', 'Of all series; a multiple of the interval means that we are blind.', 12, [
          q('time() - min by (instance) (vpnprobe_last_attempt_timestamp_seconds{%s} > 0)' % lib.own, '{{instance}}'),
        ], { unit: 's' }),
      ],
    },
    {
      title: 'Faults of our own',
      panels: [
        lib.lines('Not sent, by fault', 'Faults of our own: they say nothing about any target.', 12, [
          q('sum by (instance, fault) (increase(vpnprobe_probe_unsent_total{%s,fault=~"%s"}[$__rate_interval]))' % [lib.own, lib.faults], '{{instance}} {{fault}}'),
        ], lib.stacked),
        lib.lines('Held back', 'Slots held back on purpose: by the budget of an address, or because silence would prove nothing.', 12, [
          q('sum by (instance, fault) (increase(vpnprobe_probe_unsent_total{%s,fault!~"%s"}[$__rate_interval]))' % [lib.own, lib.faults], '{{instance}} {{fault}}'),
        ], lib.stacked),
        lib.lines('Packets that fit nothing', 'By reason. Many of them: somebody else answers, or a token is forged.', 12, [
          q('sum by (instance, reason) (increase(vpnprobe_unmatched_packets_total{%s}[$__rate_interval]))' % lib.own, '{{instance}} {{reason}}'),
        ]),
        lib.lines('Overflows and clock', 'Packets dropped because our buffers were full, and round trips timed in user space.', 12, [
          q('sum by (instance) (increase(vpnprobe_receive_overflow_total{%s}[$__rate_interval]))' % lib.own, '{{instance}} overflow'),
          q('sum by (instance) (increase(vpnprobe_clock_fallback_total{%s}[$__rate_interval]))' % lib.own, '{{instance}} user-space clock'),
        ]),
      ],
    },
    {
      title: 'Process',
      panels: [
        lib.lines('CPU', 'Of one core.', 8, [
          q('rate(process_cpu_seconds_total{%s}[$__rate_interval])' % lib.own, '{{instance}}'),
        ], { unit: 'percentunit' }),
        lib.lines('Memory', 'Resident.', 8, [
          q('process_resident_memory_bytes{%s}' % lib.own, '{{instance}}'),
        ], { unit: 'bytes' }),
        lib.lines('Open files', 'Beside the most there may be.', 8, [
          q('process_open_fds{%s}' % lib.own, '{{instance}} open'),
          q('process_max_fds{%s}' % lib.own, '{{instance}} limit'),
        ]),
      ],
    },
  ]
)
