// A thin mixin: the dashboards, and the rules as they are. `jsonnet -m DIR` and `std.manifestYamlDoc` do the rest;
// the JSON files beside this one are made from it (tests/run.sh holds them equal).
{
  _config+:: {
    // How the job is found for "vpnprobe cannot be scraped".
    selector: 'job="vpnprobe"',
  },

  local name(dashboard) = dashboard.uid + '.json',
  grafanaDashboards+:: {
    [name(dashboard)]: dashboard
    for dashboard in [
      import 'source/fleet.libsonnet',
      import 'source/concentrator.libsonnet',
      import 'source/drops.libsonnet',
      import 'source/meeting.libsonnet',
      import 'source/prober.libsonnet',
    ]
  },

  prometheusRules+:: std.parseYaml(importstr 'rules/recording.yml'),
  prometheusAlerts+:: std.parseYaml(std.strReplace(importstr 'rules/alerts.yml', 'job="vpnprobe"', $._config.selector)),
}
