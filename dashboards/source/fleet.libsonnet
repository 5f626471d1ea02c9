// Everything at a glance: who is down, and whether it is the box, the line, or us.
local lib = import 'lib.libsonnet';
local q = lib.q;

local of(state) = 'sum(vpnprobe_target_state{%s,state="%s"})' % [lib.target, state];

lib.dashboard(
  'vpnprobe-fleet',
  'fleet',
  'All concentrators, from all probers: who is down, and what they have in common.',
  [lib.variables.target],
  'now-6h',
  [
    {
      title: '',
      panels: [
        lib.stat('Up', 'Targets all of whose probes are answered.', 3, [q(of('up'), '', lib.now)]),
        lib.stat('Degraded', 'Targets some of whose probes are down.', 3, [q(of('degraded'), '', lib.now)], {
          thresholds: ['green', 1, 'orange'],
        }),
        lib.stat('Down', 'Targets all of whose probes are down.', 3, [q(of('down'), '', lib.now)], {
          thresholds: ['green', 1, 'red'],
        }),
        lib.stat('Unknown', 'Targets about which nothing is known: not answered yet, silent by design, or not asked because of a fault of our own. Not the same as down.', 3, [q(of('unknown'), '', lib.now)], {
          thresholds: ['green', 1, 'text'],
        }),
        lib.stat('Flapping', 'Probes whose service comes and goes.', 3, [
          q('sum(vpnprobe_flapping{%s})' % lib.target, '', lib.now),
        ], { thresholds: ['green', 1, 'orange'] }),
        lib.stat('Sessions that DPD ended', 'Teardowns that dead peer detection made for sure, summed over targets, for the vendor that tears down most.', 3, [
          q('sum(max without (profile) (increase(vpnprobe_dpd_timeouts_total{%s}[$__range])))' % lib.target, '', lib.now),
        ], { thresholds: ['green', 1, 'orange'], defaults: { decimals: 0 } }),
        lib.stat('First certificate to expire', 'Of all chains that were shown.', 3, [
          q('min(vpnprobe_tls_certificate_not_after_timestamp_seconds{%s}) - time()' % lib.target, '', lib.now),
        ], { unit: 's', thresholds: ['red', 0, 'orange', 14 * 86400, 'green'] }),
        lib.stat('Probers', 'How many can be scraped.', 3, [
          q('sum(up{%s})' % lib.own, '', lib.now),
        ], { thresholds: ['red', 1, 'green'] }),
      ],
    },
    {
      title: '',
      panels: [
        lib.timeline('Targets', 'The state of each target, at its worst over all probers.', 24, [
          q(lib.state('target', lib.target), '{{target}}'),
        ], { mappings: lib.states, thresholds: ['red', 1, 'text', 2, 'orange', 3, 'green'], height: 10 }),
      ],
    },
    {
      title: 'The box, or the line',
      panels: [
        lib.lines('Targets down, by prober', 'All targets of one prober at once: its own line. One target for all probers: the box.', 12, [
          q('sum by (instance) (vpnprobe_target_state{%s,state="down"})' % lib.target, '{{instance}}'),
        ]),
        lib.lines('Probers that see it down, by target', 'How many probers agree that a target is down.', 12, [
          q('sum by (target) (vpnprobe_target_state{%s,state="down"})' % lib.target, '{{target}}'),
        ]),
        lib.lines('Incidents by cause', 'Targets that fell, by what else moved in the same seconds: a stall of our own is none.', 24, [
          q('sum by (cause) (increase(vpnprobe_incidents_total{%s}[$__rate_interval]))' % lib.target, '{{cause}}'),
        ], lib.stacked),
        lib.lines('Failures by reason', 'Over all targets. What a refusal proves is in the runbook of VpnprobeConcentratorDown.', 12, [
          q('sum by (reason) (increase(vpnprobe_probe_failures_total{%s}[$__rate_interval])) > 0' % lib.target, '{{reason}}'),
        ], lib.stacked),
        lib.timeline('Alerts that fire', 'From the shipped rules.', 12, [
          q('max by (alertname, instance, target) (ALERTS{alertname=~"Vpnprobe.*",alertstate="firing",%s})' % 'job=~"$job"', '{{alertname}} {{target}} {{instance}}'),
        ], { thresholds: ['red'], mappings: [lib.value(1, 'firing', 'red')] }),
      ],
    },
    {
      title: 'How well',
      panels: [
        lib.lines('Loss', 'Share of exchanges without an authentic answer.', 8, [
          q(lib.lossRatio('target', lib.target), '{{target}}'),
        ], { unit: 'percentunit', defaults: { max: 1 } }),
        lib.lines('Round trip, 95th percentile', 'Of answered exchanges.', 8, [
          q(lib.quantile(0.95, 'vpnprobe_probe_rtt_seconds', 'target', lib.target), '{{target}}'),
        ], { unit: 's' }),
        lib.lines('Flap penalty', 'Each time a service falls silent or comes back adds 1000; at 3000 it counts as flapping (defaults).', 8, [
          q('max by (target) (vpnprobe_flap_penalty{%s})' % lib.target, '{{target}}'),
        ], { unit: 'none' }),
      ],
    },
    {
      title: 'What is probed',
      panels: [
        lib.table('Members', 'The addresses of each target, and what they say about themselves.', 14, q('vpnprobe_target_info{%s}' % lib.target, '', lib.asTable), [
          ['target', 'Target'],
          ['member', 'Member'],
          ['address', 'Address'],
          ['vendor', 'Vendor'],
          ['versions', 'Versions'],
          ['instance', 'Prober'],
        ], { sortBy: 'Target' }),
        lib.table('Certificates', 'When the first certificate of each chain expires, as last seen.', 10, q('vpnprobe_tls_certificate_not_after_timestamp_seconds{%s} - time()' % lib.target, '', lib.asTable), [
          ['target', 'Target'],
          ['member', 'Member'],
          ['probe', 'Probe'],
          ['Value', 'Left'],
        ], { unit: 's', sortBy: 'Left' }),
      ],
    },
  ]
)
