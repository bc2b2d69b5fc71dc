"""What stands on each of the dashboards that ship."""

from __future__ import annotations

from mlops_infra.phases.dashboards import Board, Graph

__all__ = ["DASHBOARDS"]

_NODE = '{job="node-exporter"}'
_POD = 'container!="",pod!=""'
_FILES = 'job="node-exporter",fstype!~"tmpfs|ramfs|overlay|squashfs"'
_API = 'job="apiserver"'
_INGRESS = 'job="ingress"'
# Kubelets and Prometheus ask every pod all the time: what they asked is no use that anybody made of it.
_ASKED = 'job="pods",path!~"/(healthz|livez|readyz|metrics)"'

_CLUSTER = Board(
    "cluster",
    "Cluster",
    (
        Graph(
            "Nodes Ready", "short",
            (('sum(kube_node_status_condition{condition="Ready",status="true"})', ""),), number=True,
        ),
        Graph("Pods running", "short", (('sum(kube_pod_status_phase{phase="Running"})', ""),), number=True),
        Graph("Alerts firing", "short", (('count(ALERTS{alertstate="firing"})', ""),), number=True),
        Graph("Targets down", "short", (("count(up == 0) or vector(0)", ""),), number=True),
        Graph(
            "Age of the last backup", "s",
            (("time() - max(mlops_infra_backup_last_success_timestamp_seconds) or vector(0)", ""),), number=True,
        ),
        Graph("API answers", "short", ((f"sum(up{{{_API}}})", ""),), number=True),
        Graph(
            "Processors", "percentunit",
            (('1 - avg(rate(node_cpu_seconds_total{job="node-exporter",mode="idle"}[5m]))', "used"),
             ('sum(kube_pod_container_resource_requests{resource="cpu"}) / '
              'sum(kube_node_status_allocatable{resource="cpu"})', "asked for")),
        ),
        Graph(
            "Memory", "percentunit",
            ((f"1 - sum(node_memory_MemAvailable_bytes{_NODE}) / sum(node_memory_MemTotal_bytes{_NODE})", "used"),
             ('sum(kube_pod_container_resource_requests{resource="memory"}) / '
              'sum(kube_node_status_allocatable{resource="memory"})', "asked for")),
        ),
        Graph("Events by reason", "short", (("topk(10, cluster:events:count)", "{{type}} {{reason}} {{kind}}"),)),
    ),
)  # fmt: skip

_NODES = Board(
    "nodes",
    "Nodes",
    (
        Graph(
            "Processors", "percentunit",
            (('1 - avg by (node) (rate(node_cpu_seconds_total{job="node-exporter",mode="idle"}[5m]))', "{{node}}"),),
        ),
        Graph(
            "Memory", "percentunit",
            ((f"1 - node_memory_MemAvailable_bytes{_NODE} / node_memory_MemTotal_bytes{_NODE}", "{{node}}"),),
        ),
        Graph("Load", "short", ((f"node_load1{_NODE}", "{{node}}"),)),
        Graph(
            "Space left", "percentunit",
            ((f"node_filesystem_avail_bytes{{{_FILES}}} / node_filesystem_size_bytes{{{_FILES}}}",
              "{{node}} {{mountpoint}}"),),
        ),
        Graph(
            "Waiting for disks", "percentunit",
            (('avg by (node) (rate(node_cpu_seconds_total{job="node-exporter",mode="iowait"}[5m]))', "{{node}}"),),
        ),
        Graph(
            "Written to disks", "Bps",
            ((f"sum by (node) (rate(node_disk_written_bytes_total{_NODE}[5m]))", "{{node}}"),),
        ),
        Graph(
            "Network", "Bps",
            ((f"sum by (node) (rate(node_network_receive_bytes_total{_NODE}[5m]))", "{{node}} in"),
             (f"sum by (node) (rate(node_network_transmit_bytes_total{_NODE}[5m]))", "{{node}} out")),
        ),
        Graph(
            "Network errors", "pps",
            ((f"sum by (node) (rate(node_network_receive_errs_total{_NODE}[5m]) + "
              f"rate(node_network_transmit_errs_total{_NODE}[5m]))", "{{node}}"),),
        ),
        Graph("Clock offset", "s", ((f"abs(node_timex_offset_seconds{_NODE})", "{{node}}"),)),
    ),
)  # fmt: skip

_WORKLOADS = Board(
    "workloads",
    "Workloads",
    (
        Graph(
            "Processors by namespace", "short",
            ((f"sum by (namespace) (rate(container_cpu_usage_seconds_total{{{_POD}}}[5m]))", "{{namespace}}"),),
        ),
        Graph(
            "Memory by namespace", "bytes",
            ((f"sum by (namespace) (container_memory_working_set_bytes{{{_POD}}})", "{{namespace}}"),),
        ),
        Graph("Pods by phase", "short", (("sum by (phase) (kube_pod_status_phase)", "{{phase}}"),)),
        Graph(
            "Largest pods: processors", "short",
            ((f"topk(10, sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{{{_POD}}}[5m])))",
              "{{namespace}}/{{pod}}"),),
        ),
        Graph(
            "Largest pods: memory", "bytes",
            ((f"topk(10, sum by (namespace, pod) (container_memory_working_set_bytes{{{_POD}}}))",
              "{{namespace}}/{{pod}}"),),
        ),
        Graph(
            "Restarts in an hour", "short",
            (("topk(10, sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total[1h])))",
              "{{namespace}}/{{pod}}"),),
        ),
        Graph(
            "Deployments: pods missing", "short",
            (("kube_deployment_spec_replicas - kube_deployment_status_replicas_available",
              "{{namespace}}/{{deployment}}"),),
        ),
        Graph(
            "Volumes: space left", "percentunit",
            (("kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes",
              "{{namespace}}/{{persistentvolumeclaim}}"),),
        ),
        Graph(
            "Network by namespace", "Bps",
            (("sum by (namespace) (rate(container_network_receive_bytes_total[5m]))", "{{namespace}} in"),
             ("sum by (namespace) (rate(container_network_transmit_bytes_total[5m]))", "{{namespace}} out")),
        ),
    ),
)  # fmt: skip

_CONTROL_PLANE = Board(
    "control-plane",
    "Control plane and etcd",
    (
        Graph(
            "Requests to the API", "reqps",
            ((f"sum by (node, verb) (rate(apiserver_request_total{{{_API}}}[5m]))", "{{node}} {{verb}}"),),
        ),
        Graph("Failed requests", "percentunit", (("apiserver:errors:ratio_rate5m or vector(0)", "5xx"),)),
        Graph(
            "Requests under way", "short",
            ((f"sum by (node) (apiserver_current_inflight_requests{{{_API}}})", "{{node}}"),),
        ),
        Graph("etcd: has a leader", "short", (('sum(etcd_server_has_leader{job="etcd"})', ""),), number=True),
        Graph(
            "etcd: writes to disk, 99 %", "s",
            (('histogram_quantile(0.99, sum by (node, le) '
              '(rate(etcd_disk_wal_fsync_duration_seconds_bucket{job="etcd"}[5m])))', "{{node}}"),),
        ),
        Graph(
            "etcd: database", "bytes",
            (('etcd_mvcc_db_total_size_in_bytes{job="etcd"}', "{{node}}"),
             ('etcd_mvcc_db_total_size_in_use_in_bytes{job="etcd"}', "{{node}} in use")),
        ),
        Graph("etcd: elections seen", "short", (('etcd_server_leader_changes_seen_total{job="etcd"}', "{{node}}"),)),
        Graph("Pods waiting for a node", "short", (('sum by (queue) (scheduler_pending_pods)', "{{queue}}"),)),
        Graph(
            "Certificates: time left", "s",
            (("min by (node) (mlops_infra_certificate_expiry_timestamp_seconds) - time()", "{{node}}"),),
        ),
        Graph(
            "DNS answers", "reqps",
            (('sum by (rcode) (rate(coredns_dns_responses_total{job="coredns"}[5m]))', "{{rcode}}"),),
        ),
        Graph("Kubelets: pods", "short", (('kubelet_running_pods{job="kubelet"}', "{{node}}"),)),
        Graph(
            "kube-proxy: rules written, 99 %", "s",
            (('histogram_quantile(0.99, sum by (node, le) '
              '(rate(kubeproxy_sync_proxy_rules_duration_seconds_bucket{job="kube-proxy"}[15m])))', "{{node}}"),),
        ),
    ),
)  # fmt: skip

_ENTRANCES = Board(
    "entrances",
    "HAProxy and ingress",
    (
        Graph(
            "HAProxy: servers up", "short",
            (('sum by (proxy) (haproxy_server_status{job="haproxy",state="UP"})', "{{proxy}}"),),
        ),
        Graph(
            "HAProxy: sessions", "short",
            (('sum by (proxy) (haproxy_frontend_current_sessions{job="haproxy"})', "{{proxy}}"),),
        ),
        Graph(
            "HAProxy: traffic", "Bps",
            (('sum by (proxy) (rate(haproxy_frontend_bytes_in_total{job="haproxy"}[5m]))', "{{proxy}} in"),
             ('sum by (proxy) (rate(haproxy_frontend_bytes_out_total{job="haproxy"}[5m]))', "{{proxy}} out")),
        ),
        Graph(
            "HAProxy: connections refused by servers", "short",
            (('sum by (proxy) (rate(haproxy_backend_connection_errors_total{job="haproxy"}[5m]))', "{{proxy}}"),),
        ),
        Graph(
            "Ingress: requests", "reqps",
            ((f"sum by (ingress, status) (rate(nginx_ingress_controller_requests{{{_INGRESS}}}[5m])) or "
              f"sum by (service, code) (rate(traefik_service_requests_total{{{_INGRESS}}}[5m]))",
              "{{ingress}}{{service}} {{status}}{{code}}"),),
        ),
        Graph(
            "Ingress: 95 % within", "s",
            (("histogram_quantile(0.95, sum by (ingress, le) "
              f"(rate(nginx_ingress_controller_request_duration_seconds_bucket{{{_INGRESS}}}[5m]))) or "
              "histogram_quantile(0.95, sum by (service, le) "
              f"(rate(traefik_service_request_duration_seconds_bucket{{{_INGRESS}}}[5m])))",
              "{{ingress}}{{service}}"),),
        ),
        Graph(
            "Ingress: connections", "short",
            ((f"sum by (state) (nginx_ingress_controller_nginx_process_connections{{{_INGRESS}}}) or "
              f"sum by (entrypoint) (traefik_open_connections{{{_INGRESS}}})", "{{state}}{{entrypoint}}"),),
        ),
        Graph(
            "Ingress: configuration taken up", "short",
            ((f"min(nginx_ingress_controller_config_last_reload_successful{{{_INGRESS}}}) or "
              f"min(traefik_config_last_reload_success{{{_INGRESS}}} > bool 0)", ""),), number=True,
        ),
    ),
)  # fmt: skip

_METALLB = Board(
    "metallb",
    "MetalLB",
    (
        Graph(
            "Addresses in use", "short",
            (('sum by (pool) (metallb_allocator_addresses_in_use_total{job="metallb"})', "{{pool}}"),
             ('sum by (pool) (metallb_allocator_addresses_total{job="metallb"})', "{{pool}}: all")),
        ),
        Graph(
            "Who announces", "short",
            (('sum by (node) (metallb_speaker_announced{job="metallb"})', "{{node}}"),),
        ),
        Graph("Parts that answer", "short", (('sum(up{job="metallb"})', ""),), number=True),
        Graph(
            "ARP questions answered", "pps",
            (('sum by (node) (rate(metallb_layer2_responses_sent[5m])) or sum by (node) (up{job="metallb"} * 0)',
              "{{node}}"),),
        ),
        Graph(
            "Configuration", "short",
            (('min by (node) (metallb_k8s_client_config_loaded_bool{job="metallb"})', "{{node}} loaded"),
             ('max by (node) (metallb_k8s_client_config_stale_bool{job="metallb"})', "{{node}} stale")),
        ),
    ),
)  # fmt: skip

_APPLICATIONS = Board(
    "applications",
    "Applications",
    (
        Graph(
            "Throughput", "reqps",
            ((f"sum by (namespace, app) (rate(http_requests_total{{{_ASKED}}}[5m]))", "{{namespace}}/{{app}}"),),
        ),
        Graph(
            "Errors", "percentunit",
            # Who has never failed has no series of failures.
            ((f'sum by (namespace, app) (rate(http_requests_total{{{_ASKED},code=~"5.."}}[5m])) / '
              f"sum by (namespace, app) (rate(http_requests_total{{{_ASKED}}}[5m])) or "
              f"sum by (namespace, app) (rate(http_requests_total{{{_ASKED}}}[5m]) * 0)", "{{namespace}}/{{app}}"),),
        ),
        Graph(
            "95 % answered within", "s",
            (("histogram_quantile(0.95, sum by (namespace, app, le) "
              f"(rate(http_request_duration_seconds_bucket{{{_ASKED}}}[5m])))", "{{namespace}}/{{app}}"),),
        ),
        Graph("Pods scraped", "short", (('sum by (namespace, app) (up{job="pods"})', "{{namespace}}/{{app}}"),)),
        Graph(
            "Processors", "short",
            ((f"sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{{{_POD}}}[5m])) "
              'and on (namespace, pod) up{job="pods"}', "{{namespace}}/{{pod}}"),),
        ),
        Graph(
            "Memory", "bytes",
            ((f"sum by (namespace, pod) (container_memory_working_set_bytes{{{_POD}}}) "
              'and on (namespace, pod) up{job="pods"}', "{{namespace}}/{{pod}}"),),
        ),
    ),
)  # fmt: skip

DASHBOARDS = (_CLUSTER, _NODES, _WORKLOADS, _CONTROL_PLANE, _ENTRANCES, _METALLB, _APPLICATIONS)
"""In the order in which they are listed."""
