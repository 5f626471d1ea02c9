// One concentrator: which protocol fails, for what reason, and since when.
local lib = import 'lib.libsonnet';
local q = lib.q;

local up = [lib.value(1, 'up', 'green'), lib.value(0, 'down', 'red')];

lib.dashboard(
  'vpnprobe-concentrator',
  'one concentrator',
  'What one VPN concentrator answers, in its own protocols.',
  [lib.variables.one, lib.variables.probe],
  'now-6h',
  [
    {
      title: '',
      panels: [
        lib.stat('State', 'Of the target, at its worst over all probers.', 4, [
          q(lib.state('target', lib.target), '', lib.now),
        ], { mappings: lib.states, thresholds: ['red', 1, 'text', 2, 'orange', 3, 'green'] }),
        lib.stat('Probes sent', 'Per second.', 4, [
          q('sum(rate(vpnprobe_probes_total{%s}[$__rate_interval]))' % lib.probe, '', lib.now),
        ], { unit: 'reqps' }),
        lib.stat('Lost', 'Share of exchanges without an authentic answer, over the whole range shown.', 4, [
          q(lib.lossRatio('target', lib.probe, { range: '$__range' }), '', lib.now),
        ], { unit: 'percentunit', thresholds: ['green', 0.01, 'orange', 0.05, 'red'] }),
        lib.stat('Round trip', 'Median of answered exchanges.', 4, [
          q(lib.quantile(0.5, 'vpnprobe_probe_rtt_seconds', 'target', lib.probe), '', lib.now),
        ], { unit: 's' }),
        lib.stat('First certificate to expire', 'Of the chains it has shown.', 4, [
          q('min(vpnprobe_tls_certificate_not_after_timestamp_seconds{%s}) - time()' % lib.target, '', lib.now),
        ], { unit: 's', thresholds: ['red', 0, 'orange', 14 * 86400, 'green'] }),
        lib.stat('Under load', 'Share of IKE answers that asked for a cookie: many half-open sessions at the concentrator.', 4, [
          q('sum(rate(vpnprobe_probe_under_load_total{%s}[$__rate_interval])) / (sum(rate(vpnprobe_probes_total{%s,probe=~".*ike.*"}[$__rate_interval])) > 0)' % [lib.target, lib.target], '', lib.now),
        ], { unit: 'percentunit', thresholds: ['green', 0.01, 'orange'] }),
      ],
    },
    {
      title: '',
      panels: [
        lib.timeline('Who answers', "Whether each probe's service answers, after hysteresis. A gap means that it is not known.", 24, [
          q('vpnprobe_probe_up{%s}' % lib.probe, '{{member}} {{probe}} {{egress}} {{instance}}'),
        ], { mappings: up, thresholds: ['red', 1, 'green'], height: 10 }),
        lib.lines('Failures by reason', 'Exchanges that failed.', 12, [
          q('sum by (probe, reason) (increase(vpnprobe_probe_failures_total{%s}[$__rate_interval])) > 0' % lib.probe, '{{probe}} {{reason}}'),
        ], lib.stacked),
        lib.lines('Loss', 'Share of exchanges without an authentic answer.', 12, [
          q(lib.lossRatio('probe, member', lib.probe), '{{probe}} {{member}}'),
        ], { unit: 'percentunit', defaults: { max: 1 } }),
      ],
    },
    {
      title: 'Time',
      panels: [
        lib.heatmap('Round trips', 'How long answers took.', 12, 'vpnprobe_probe_rtt_seconds', lib.probe),
        lib.lines('Round trip, median and 99th percentile', 'Of answered exchanges.', 12, [
          q(lib.quantile(0.5, 'vpnprobe_probe_rtt_seconds', 'probe, member', lib.probe), '{{probe}} {{member}} median'),
          q(lib.quantile(0.99, 'vpnprobe_probe_rtt_seconds', 'probe, member', lib.probe), '{{probe}} {{member}} p99'),
        ], { unit: 's' }),
        lib.lines('Phases, median', 'Parts of the exchanges that have any.', 12, [
          q(lib.quantile(0.5, 'vpnprobe_probe_phase_seconds', 'probe, phase', lib.probe), '{{probe}} {{phase}}'),
        ], { unit: 's' }),
        lib.lines('Jitter', 'Of the round trip (RFC 3550).', 12, [
          q('vpnprobe_jitter_seconds{%s}' % lib.probe, '{{probe}} {{member}}'),
        ], { unit: 's' }),
      ],
    },
    {
      title: 'Finer signs',
      panels: [
        lib.timeline('Flows', 'A new flow that is answered while the kept one is not: a firewall or NAT has forgotten the old one.', 12, [
          q('vpnprobe_flow_up{%s}' % lib.probe, '{{probe}} {{member}} {{flow}}'),
        ], { mappings: up, thresholds: ['red', 1, 'green'] }),
        lib.lines('Late and doubled answers', 'Answers after the timeout, and answers that came twice.', 12, [
          q('sum by (probe) (increase(vpnprobe_late_replies_total{%s}[$__rate_interval]))' % lib.probe, '{{probe}} late'),
          q('sum by (probe) (increase(vpnprobe_duplicates_total{%s}[$__rate_interval]))' % lib.probe, '{{probe}} doubled'),
        ]),
        lib.lines('Not sent, by fault', 'Slots that prove nothing: faults of our own, and those held back.', 12, [
          q('sum by (fault) (increase(vpnprobe_probe_unsent_total{%s}[$__rate_interval])) > 0' % lib.probe, '{{fault}}'),
        ], lib.stacked),
        lib.lines('Budget and load', 'Slots that the budget held back, half-open sessions left behind, and answers that asked for a cookie.', 12, [
          q('sum(increase(vpnprobe_budget_deferred_total{%s}[$__rate_interval]))' % lib.probe, 'held back'),
          q('sum(increase(vpnprobe_half_open_left_total{%s}[$__rate_interval]))' % lib.probe, 'left half-open'),
          q('sum(increase(vpnprobe_probe_under_load_total{%s}[$__rate_interval]))' % lib.probe, 'cookies'),
        ]),
      ],
    },
    {
      title: 'The way there',
      panels: [
        lib.lines('Path changes', 'How often the path became another one. Load balancing and silent routers are no change.', 8, [
          q('sum by (member, egress, instance) (increase(vpnprobe_path_changes_total{%s}[$__rate_interval]))' % lib.target, '{{member}} {{egress}} {{instance}}'),
        ], lib.stacked),
        lib.lines('Hops', 'To the destination, when a trace last reached it.', 8, [
          q('vpnprobe_path_hops{%s}' % lib.target, '{{member}} {{egress}} {{instance}}'),
        ]),
        lib.lines('MTU of the path', 'The largest IP packet that was answered whole.', 8, [
          q('vpnprobe_path_mtu_bytes{%s}' % lib.target, '{{member}} {{egress}} {{instance}}'),
        ], { unit: 'bytes' }),
        lib.timeline('First hop', 'What the first router is: it tells which way packets go. `tunnel` is through the tunnel.', 24, [
          q('vpnprobe_path_first_hop{%s} == 1' % lib.target, '{{class}} {{member}} {{egress}} {{instance}}'),
        ], { mappings: [lib.value(1, 'first hop', 'blue')], thresholds: ['blue'] }),
        lib.lines('Mappings that a NAT changed', 'How often a NAT on the way gave the kept flow of a `stun` probe another address or port: what a VPN peer sends to the old one is lost.', 24, [
          q('sum by (probe, member, egress, instance) (increase(vpnprobe_nat_mapping_changes_total{%s}[$__rate_interval]))' % lib.target, '{{probe}} {{member}} {{egress}} {{instance}}'),
        ], lib.stacked),
        lib.lines('Two ways, compared', 'Exchanges of one instant over the two ways of a pair, by where they worked: `only_a` is "works directly, fails through the tunnel" where b is the tunnel.', 12, [
          q('sum by (pair, probe, result) (increase(vpnprobe_pair_results_total{%s}[$__rate_interval]))' % lib.target, '{{pair}} {{probe}} {{result}}'),
        ], lib.stacked),
        lib.lines('How much longer way b takes, median and 95th percentile', 'Of exchanges of one instant that were answered on both; below zero if b is faster.', 12, [
          q(lib.quantile(0.5, 'vpnprobe_pair_rtt_difference_seconds', 'pair, probe', lib.target), '{{pair}} {{probe}} median'),
          q(lib.quantile(0.95, 'vpnprobe_pair_rtt_difference_seconds', 'pair, probe', lib.target), '{{pair}} {{probe}} p95'),
        ], { unit: 's', defaults: { min:: null } }),
      ],
    },
    {
      title: 'Who it is',
      panels: [
        lib.table('Members', 'Its addresses, and what they say about themselves.', 14, q('vpnprobe_target_info{%s}' % lib.target, '', lib.asTable), [
          ['member', 'Member'],
          ['address', 'Address'],
          ['family', 'Family'],
          ['vendor', 'Vendor'],
          ['versions', 'Versions'],
          ['instance', 'Prober'],
        ], { sortBy: 'Member' }),
        lib.table('Certificates', 'When the first certificate of each chain expires, as last seen.', 10, q('vpnprobe_tls_certificate_not_after_timestamp_seconds{%s} - time()' % lib.target, '', lib.asTable), [
          ['member', 'Member'],
          ['probe', 'Probe'],
          ['Value', 'Left'],
        ], { unit: 's', sortBy: 'Left' }),
      ],
    },
  ]
)
