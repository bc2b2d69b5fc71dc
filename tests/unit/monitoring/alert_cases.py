"""For every shipped alert: series that make it fire, and series, as near to them as can be, that do not; and for every
recording rule: series, and what comes of them.

Series are promtool's: `0x30` is thirty minutes of zeros, `0+60x30` grows by sixty a minute. `at` is when it is asked.
An alert with several rules has a case of each: `severity`, and `window` where two have the same, say whose. With a window
no other rule of that severity may fire beside it.
"""

# ruff: noqa: E501 - a series is one word

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CASES", "RECORDED", "Case", "Recorded"]

Series = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    alert: str
    fires: Series
    quiet: Series
    at: str = "30m"
    severity: str = ""
    window: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording rules make of these series: by name of what is recorded, values by labels."""

    series: Series
    expected: Mapping[str, Mapping[str, float]]
    at: str = "30m"


def _up(job: str) -> str:
    return f'up{{job="{job}",instance="10.0.0.1:1",node="w1",pod="p"}}'


def _both(series: str, bad: str, good: str) -> tuple[Series, Series]:
    return {series: bad}, {series: good}


_FS = '{job="node-exporter",node="w1",fstype="ext4",mountpoint="/"}'
_N = '{job="node-exporter",node="w1",device="eth0"}'
_ETCD = '{job="etcd",node="m1"}'
_ALLOWED = "mlops_infra:backup_max_age:seconds"


def _disk(avail: str, **more: str) -> Series:
    return {
        f"node_filesystem_avail_bytes{_FS}": avail,
        f"node_filesystem_size_bytes{_FS}": "100x2000",
        f"node_filesystem_readonly{_FS}": more.get("readonly", "0x2000"),
    }


def _histogram(name: str, labels: str, bounds: Mapping[str, int]) -> Series:
    return {f'{name}{{{labels},le="{bound}"}}': f"0+{step}x120" for bound, step in bounds.items()}


_SHOP = 'job="ingress",service="shop-web-web-80@kubernetesingressnginx"'


def _traefik(errors: int) -> Series:
    return {
        f'traefik_service_requests_total{{{_SHOP},code="200"}}': "0+100x60",
        f'traefik_service_requests_total{{{_SHOP},code="503"}}': f"0+{errors}x60",
    }


def _ingress(errors: int) -> Series:
    labels = 'job="ingress",exported_namespace="shop",ingress="web"'
    return {
        f'nginx_ingress_controller_requests{{{labels},status="200"}}': "0+100x60",
        f'nginx_ingress_controller_requests{{{labels},status="503"}}': f"0+{errors}x60",
    }


def _api(errors: int, length: int) -> Series:
    return {
        'apiserver_request_total{job="apiserver",code="200"}': f"0+100x{length}",
        'apiserver_request_total{job="apiserver",code="500"}': f"0+{errors}x{length}",
    }


def _copies(**missing: tuple[int, int]) -> Series:
    """By master: places that did not take its last backup, and when it said so."""
    file = "/var/lib/prometheus/node-exporter/backup-missing_copies.prom"
    found = {_ALLOWED: "3600x90"}
    for node, (places, told) in missing.items():
        found[f'mlops_infra_backup_missing_copies{{job="node-exporter",node="{node}"}}'] = f"{places}x90"
        found[f'node_textfile_mtime_seconds{{job="node-exporter",node="{node}",file="{file}"}}'] = f"{told}x90"
    return found


def _api_over_time(errors: str) -> Series:
    """A hundred requests a minute that go well, and these errors."""
    return {
        'apiserver_request_total{job="apiserver",code="200"}': "0+100x400",
        'apiserver_request_total{job="apiserver",code="500"}': errors,
    }


_BURSTS = ((2, 1, 9), (20, 3, 7), (45, 8, 2), (90, 6, 14), (200, 32, 18), (1000, 10, 90))
"""Minutes ago, errors, and requests that went well: one in each window of the API's recording rules."""
_DAY = 1440


def _bursts() -> Series:
    """Counters that stand still between: so a sample at a window's edge changes nothing."""
    steps = {_DAY - ago: (errors, well) for ago, errors, well in _BURSTS}
    failed, well = [1000], [1000]
    for minute in range(1, _DAY + 1):
        more = steps.get(minute, (0, 0))
        failed.append(failed[-1] + more[0])
        well.append(well[-1] + more[1])
    return {
        f'apiserver_request_total{{job="apiserver",code="{code}"}}': " ".join(map(str, values))
        for code, values in ((500, failed), (200, well))
    }


def _flip(pattern: str, times: int) -> str:
    return " ".join([pattern] * times)


CASES: tuple[Case, ...] = (
    # --- nodes ---
    Case("HostDown", *_both(_up("node-exporter"), "0x30", "1x30")),
    Case(
        "KubeNodeNotReady",
        {'kube_node_status_condition{node="w1",condition="Ready",status="true"}': "0x30",
         'kube_node_spec_unschedulable{node="w1"}': "0x30"},
        # Somebody works on it.
        {'kube_node_status_condition{node="w1",condition="Ready",status="true"}': "0x30",
         'kube_node_spec_unschedulable{node="w1"}': "1x30"},
    ),
    Case(
        "KubeNodeUnreachable",
        {'kube_node_spec_taint{node="w1",key="node.kubernetes.io/unreachable",effect="NoExecute"}': "1x30"},
        {'kube_node_spec_taint{node="w1",key="node.kubernetes.io/not-ready",effect="NoExecute"}': "1x30"},
    ),
    Case(
        "KubeNodeReadinessFlapping",
        *_both('kube_node_status_condition{node="w1",condition="Ready",status="true"}',
               _flip("1 1 0 0", 15), "1 0 1x58"), at="55m",
    ),
    Case("NodeCPUHighUsage", *_both('node_cpu_seconds_total{job="node-exporter",node="w1",cpu="0",mode="idle"}',
                                    "0+3x60", "0+12x60")),
    Case(
        "NodeMemoryHighUtilization",
        {f"node_memory_MemAvailable_bytes{_N}": "5x60", f"node_memory_MemTotal_bytes{_N}": "100x60"},
        {f"node_memory_MemAvailable_bytes{_N}": "15x60", f"node_memory_MemTotal_bytes{_N}": "100x60"},
    ),
    Case(
        "NodeSystemSaturation",
        {f"node_load1{_N}": "5x60", 'node_cpu_seconds_total{job="node-exporter",node="w1",cpu="0",mode="idle"}': "0x60",
         'node_cpu_seconds_total{job="node-exporter",node="w1",cpu="1",mode="idle"}': "0x60"},
        {f"node_load1{_N}": "3x60", 'node_cpu_seconds_total{job="node-exporter",node="w1",cpu="0",mode="idle"}': "0x60",
         'node_cpu_seconds_total{job="node-exporter",node="w1",cpu="1",mode="idle"}': "0x60"},
    ),
    Case("NodeMemoryMajorPagesFaults", *_both(f"node_vmstat_pgmajfault{_N}", "0+60000x60", "0+6000x60")),
    Case("NodeFilesystemAlmostOutOfSpace", _disk("4x60"), _disk("4x60", readonly="1x60"), severity="warning"),
    Case("NodeFilesystemAlmostOutOfSpace", _disk("2x60"), _disk("4x60"), severity="critical"),
    Case("NodeFilesystemSpaceFillingUp", _disk("40-0.0625x500"), _disk("12x500"), at="475m"),
    Case(
        "NodeFilesystemFilesAlmostOut",
        {f"node_filesystem_files_free{_FS}": "2x60", f"node_filesystem_files{_FS}": "100x60"},
        # Some file systems count no inodes at all.
        {f"node_filesystem_files_free{_FS}": "0x60", f"node_filesystem_files{_FS}": "0x60"},
    ),
    Case(
        "NodeNetworkErrors",
        {f"node_network_receive_errs_total{_N}": "0+40x90", f"node_network_transmit_errs_total{_N}": "0x90",
         f"node_network_receive_packets_total{_N}": "0+1000x90", f"node_network_transmit_packets_total{_N}": "0+1000x90"},
        {f"node_network_receive_errs_total{_N}": "0+10x90", f"node_network_transmit_errs_total{_N}": "0x90",
         f"node_network_receive_packets_total{_N}": "0+1000x90", f"node_network_transmit_packets_total{_N}": "0+1000x90"},
        at="60m",
    ),
    Case(
        "NodeNetworkInterfaceFlapping",
        {f"node_network_up{_N}": _flip("1 0 1 0", 120)},
        # Pods come and go, and their interfaces with them.
        {'node_network_up{job="node-exporter",node="w1",device="veth12"}': _flip("1 0 1 0", 120)},
    ),
    Case(
        "NodeConntrackNearlyFull",
        {f"node_nf_conntrack_entries{_N}": "80x60", f"node_nf_conntrack_entries_limit{_N}": "100x60"},
        {f"node_nf_conntrack_entries{_N}": "70x60", f"node_nf_conntrack_entries_limit{_N}": "100x60"},
    ),
    Case("NodeClockSkewDetected", *_both(f"node_timex_offset_seconds{_N}", "0.06+0.001x60", "0.12-0.001x60")),
    Case(
        "NodeClockNotSynchronising",
        {f"node_timex_sync_status{_N}": "0x60", f"node_timex_maxerror_seconds{_N}": "16x60"},
        {f"node_timex_sync_status{_N}": "0x60", f"node_timex_maxerror_seconds{_N}": "2x60"},
    ),
    # --- workloads ---
    Case(
        "KubePodCrashLooping",
        {'kube_pod_container_status_waiting_reason{namespace="a",pod="p",container="c",reason="CrashLoopBackOff"}': "1x60"},
        {'kube_pod_container_status_waiting_reason{namespace="a",pod="p",container="c",reason="ErrImagePull"}': "1x60"},
    ),
    Case(
        "KubePodNotReady",
        {'kube_pod_status_phase{namespace="a",pod="p",phase="Pending"}': "1x60",
         'kube_pod_owner{namespace="a",pod="p",owner_kind="ReplicaSet"}': "1x60"},
        # A job's failed pods stay to be read.
        {'kube_pod_status_phase{namespace="a",pod="p",phase="Failed"}': "1x60",
         'kube_pod_owner{namespace="a",pod="p",owner_kind="Job"}': "1x60"},
    ),
    Case(
        "KubeContainerWaiting",
        *_both('kube_pod_container_status_waiting_reason{namespace="a",pod="p",container="c",reason="ErrImagePull"}',
               "1x90", "1x40 0x50"), at="80m",
    ),
    Case(
        "KubeDeploymentReplicasMismatch",
        {'kube_deployment_spec_replicas{namespace="a",deployment="d"}': "3x60",
         'kube_deployment_status_replicas_available{namespace="a",deployment="d"}': "2x60",
         'kube_deployment_status_replicas_updated{namespace="a",deployment="d"}': "2x60"},
        # It is on its way.
        {'kube_deployment_spec_replicas{namespace="a",deployment="d"}': "3x60",
         'kube_deployment_status_replicas_available{namespace="a",deployment="d"}': "2x60",
         'kube_deployment_status_replicas_updated{namespace="a",deployment="d"}': "0+1x60"},
    ),
    Case(
        "KubeStatefulSetReplicasMismatch",
        {'kube_statefulset_status_replicas_ready{namespace="a",statefulset="s"}': "1x60",
         'kube_statefulset_replicas{namespace="a",statefulset="s"}': "2x60"},
        {'kube_statefulset_status_replicas_ready{namespace="a",statefulset="s"}': "2x60",
         'kube_statefulset_replicas{namespace="a",statefulset="s"}': "2x60"},
    ),
    Case(
        "KubeDaemonSetRolloutStuck",
        {'kube_daemonset_status_number_available{namespace="a",daemonset="d"}': "2x60",
         'kube_daemonset_status_desired_number_scheduled{namespace="a",daemonset="d"}': "3x60"},
        {'kube_daemonset_status_number_available{namespace="a",daemonset="d"}': "3x60",
         'kube_daemonset_status_desired_number_scheduled{namespace="a",daemonset="d"}': "3x60"},
    ),
    Case("KubeJobFailed", *_both('kube_job_failed{namespace="a",job_name="j",condition="true"}', "1x60", "0x60")),
    Case(
        "CPUThrottlingHigh",
        {'container_cpu_cfs_throttled_periods_total{namespace="a",pod="p",container="c"}': "0+60x60",
         'container_cpu_cfs_periods_total{namespace="a",pod="p",container="c"}': "0+100x60"},
        {'container_cpu_cfs_throttled_periods_total{namespace="a",pod="p",container="c"}': "0+40x60",
         'container_cpu_cfs_periods_total{namespace="a",pod="p",container="c"}': "0+100x60"},
    ),
    Case(
        "KubePersistentVolumeFillingUp",
        {'kubelet_volume_stats_available_bytes{namespace="a",persistentvolumeclaim="v"}': "2x60",
         'kubelet_volume_stats_capacity_bytes{namespace="a",persistentvolumeclaim="v"}': "100x60"},
        {'kubelet_volume_stats_available_bytes{namespace="a",persistentvolumeclaim="v"}': "4x60",
         'kubelet_volume_stats_capacity_bytes{namespace="a",persistentvolumeclaim="v"}': "100x60"},
        severity="critical",
    ),
    Case(
        "KubePersistentVolumeFillingUp",
        {'kubelet_volume_stats_available_bytes{namespace="a",persistentvolumeclaim="v"}': "40-0.0625x500",
         'kubelet_volume_stats_capacity_bytes{namespace="a",persistentvolumeclaim="v"}': "100x500"},
        {'kubelet_volume_stats_available_bytes{namespace="a",persistentvolumeclaim="v"}': "12x500",
         'kubelet_volume_stats_capacity_bytes{namespace="a",persistentvolumeclaim="v"}': "100x500"},
        at="475m", severity="warning",
    ),
    Case("KubePersistentVolumeErrors",
         {'kube_persistentvolume_status_phase{persistentvolume="v",phase="Failed"}': "1x60"},
         {'kube_persistentvolume_status_phase{persistentvolume="v",phase="Bound"}': "1x60"}),
    # --- etcd ---
    Case("etcdMembersDown", *_both(_up("etcd"), "0x60", "1x60")),
    Case(
        "etcdInsufficientMembers",
        {f'up{{job="etcd",node="m{n}"}}': f"{n // 3}x60" for n in (1, 2, 3)},
        {f'up{{job="etcd",node="m{n}"}}': f"{min(n - 1, 1)}x60" for n in (1, 2, 3)},
    ),
    Case("etcdNoLeader", *_both(f"etcd_server_has_leader{_ETCD}", "0x60", "1x60")),
    Case("etcdHighNumberOfLeaderChanges", *_both(f"etcd_server_leader_changes_seen_total{_ETCD}", "0+1x60", "1x30 2x30")),
    Case(
        "etcdHighFsyncDurations",
        _histogram("etcd_disk_wal_fsync_duration_seconds_bucket", 'job="etcd",node="m1"', {"0.5": 0, "1": 9, "+Inf": 9}),
        _histogram("etcd_disk_wal_fsync_duration_seconds_bucket", 'job="etcd",node="m1"', {"0.5": 9, "1": 9, "+Inf": 9}),
        severity="warning",
    ),
    Case(
        "etcdHighFsyncDurations",
        _histogram("etcd_disk_wal_fsync_duration_seconds_bucket", 'job="etcd",node="m1"', {"1": 0, "8": 9, "+Inf": 9}),
        _histogram("etcd_disk_wal_fsync_duration_seconds_bucket", 'job="etcd",node="m1"', {"0.5": 0, "1": 9, "+Inf": 9}),
        severity="critical",
    ),
    Case(
        "etcdHighCommitDurations",
        _histogram("etcd_disk_backend_commit_duration_seconds_bucket", 'job="etcd",node="m1"', {"0.2": 0, "1": 9, "+Inf": 9}),
        _histogram("etcd_disk_backend_commit_duration_seconds_bucket", 'job="etcd",node="m1"', {"0.2": 9, "1": 9, "+Inf": 9}),
    ),
    Case(
        "etcdDatabaseQuotaLowSpace",
        {f"etcd_mvcc_db_total_size_in_bytes{_ETCD}": "85x60", f"etcd_server_quota_backend_bytes{_ETCD}": "100x60"},
        {f"etcd_mvcc_db_total_size_in_bytes{_ETCD}": "75x60", f"etcd_server_quota_backend_bytes{_ETCD}": "100x60"},
        severity="warning",
    ),
    Case(
        "etcdDatabaseQuotaLowSpace",
        {f"etcd_mvcc_db_total_size_in_bytes{_ETCD}": "96x60", f"etcd_server_quota_backend_bytes{_ETCD}": "100x60"},
        {f"etcd_mvcc_db_total_size_in_bytes{_ETCD}": "85x60", f"etcd_server_quota_backend_bytes{_ETCD}": "100x60"},
        severity="critical",
    ),
    Case(
        "etcdDatabaseHighFragmentationRatio",
        {f"etcd_mvcc_db_total_size_in_use_in_bytes{_ETCD}": "40000000x60",
         f"etcd_mvcc_db_total_size_in_bytes{_ETCD}": "200000000x60"},
        # A small file is nobody's concern.
        {f"etcd_mvcc_db_total_size_in_use_in_bytes{_ETCD}": "4000000x60",
         f"etcd_mvcc_db_total_size_in_bytes{_ETCD}": "20000000x60"},
    ),
    # --- control plane ---
    # The last half of the hour; ten minutes of it.
    Case("KubeAPIErrorBudgetBurn", _api_over_time("0x369 40+40x30"), _api_over_time("0x389 40+40x10"),
         at="400m", severity="critical", window="1h"),
    # For five hours what a single one may have; for no more than three quarters of an hour.
    Case("KubeAPIErrorBudgetBurn", _api_over_time("0x99 10+10x300"), _api_over_time("0x354 10+10x45"),
         at="400m", severity="critical", window="6h"),
    # For six hours, and it is over.
    Case("KubeAPIErrorBudgetBurn", _api_over_time("0+10x400"), _api_over_time("0+10x365 3650x35"),
         at="400m", severity="critical", window="6h"),
    Case("KubeAPIErrorBudgetBurn", _api(5, 220), _api(2, 220), at="200m", severity="warning", window="1d"),
    Case("KubeAPIDown", *_both(_up("apiserver"), "0x60", "1x60")),
    Case(
        "KubeAPITerminatedRequests",
        {'apiserver_request_total{job="apiserver",code="200"}': "0+100x60",
         'apiserver_request_terminations_total{job="apiserver"}': "0+50x60"},
        {'apiserver_request_total{job="apiserver",code="200"}': "0+100x60",
         'apiserver_request_terminations_total{job="apiserver"}': "0+10x60"},
    ),
    Case("KubeAggregatedAPIDown", *_both('aggregator_unavailable_apiservice{job="apiserver",name="v1beta1.metrics.k8s.io"}',
                                         "1x60", "0x60")),
    Case("KubeletDown", *_both(_up("kubelet"), "0x60", "1x60")),
    Case("KubeSchedulerDown", *_both(_up("kube-scheduler"), "0x60", "1x60")),
    Case("KubeControllerManagerDown", *_both(_up("kube-controller-manager"), "0x60", "1x60")),
    Case("CoreDNSDown", *_both(_up("coredns"), "0x60", "1x60")),
    Case(
        "CoreDNSErrors",
        {'coredns_dns_responses_total{job="coredns",rcode="SERVFAIL"}': "0+5x60",
         'coredns_dns_responses_total{job="coredns",rcode="NOERROR"}': "0+95x60"},
        {'coredns_dns_responses_total{job="coredns",rcode="NXDOMAIN"}': "0+50x60",
         'coredns_dns_responses_total{job="coredns",rcode="NOERROR"}': "0+95x60"},
    ),
    Case("ControlPlaneCertificateExpiration",
         *_both('mlops_infra_certificate_expiry_timestamp_seconds{node="m1",path="/a"}',
                f"{20 * 86400}x60", f"{31 * 86400}x60"), severity="warning"),
    Case("ControlPlaneCertificateExpiration",
         *_both('mlops_infra_certificate_expiry_timestamp_seconds{node="m1",path="/a"}',
                f"{5 * 86400}x60", f"{20 * 86400}x60"), severity="critical"),
    Case(
        "KubeClientCertificateExpiration",
        {**_histogram("apiserver_client_certificate_expiration_seconds_bucket", 'job="apiserver"',
                      {"86400": 9, "604800": 9, "2592000": 9, "+Inf": 9}),
         'apiserver_client_certificate_expiration_seconds_count{job="apiserver"}': "0+9x60"},
        {**_histogram("apiserver_client_certificate_expiration_seconds_bucket", 'job="apiserver"',
                      {"86400": 0, "604800": 0, "2592000": 9, "+Inf": 9}),
         'apiserver_client_certificate_expiration_seconds_count{job="apiserver"}': "0+9x60"},
    ),
    Case("KubeletClientCertificateExpiration",
         *_both('kubelet_certificate_manager_client_ttl_seconds{job="kubelet",node="w1"}', "500000x60", "700000x60")),
    Case("KubeletServerCertificateExpiration",
         *_both('kubelet_certificate_manager_server_ttl_seconds{job="kubelet",node="w1"}', "500000x60", "700000x60")),
    Case("KubeletCertificateRenewalErrors",
         *_both('kubelet_server_expiration_renew_errors{job="kubelet",node="w1"}', "0+1x60", "7x60")),
    # --- ways in ---
    Case("HAProxyDown", *_both(_up("haproxy"), "0x60", "1x60")),
    Case("HAProxyBackendDown",
         *_both('haproxy_backend_status{job="haproxy",node="lb-1",proxy="api",state="UP"}', "0x60", "1x60")),
    Case("HAProxyServerDown",
         *_both('haproxy_server_status{job="haproxy",node="lb-1",proxy="api",server="m1",state="UP"}', "0x60", "1x60")),
    Case(
        "HAProxyConnectionsNearLimit",
        {'haproxy_process_current_connections{job="haproxy",node="lb-1"}': "90x60",
         'haproxy_process_max_connections{job="haproxy",node="lb-1"}': "100x60"},
        {'haproxy_process_current_connections{job="haproxy",node="lb-1"}': "70x60",
         'haproxy_process_max_connections{job="haproxy",node="lb-1"}': "100x60"},
    ),
    Case("IngressDown", *_both(_up("ingress"), "0x60", "1x60")),
    Case("IngressErrors", _ingress(10), _ingress(2)),
    Case("TraefikErrors", _traefik(10), _traefik(2)),
    Case(
        "TraefikLatencyHigh",
        _histogram("traefik_service_request_duration_seconds_bucket", _SHOP, {"1.2": 0, "5": 9, "+Inf": 9}),
        _histogram("traefik_service_request_duration_seconds_bucket", _SHOP, {"1.2": 9, "5": 9, "+Inf": 9}),
    ),
    Case(
        "IngressLatencyHigh",
        _histogram("nginx_ingress_controller_request_duration_seconds_bucket",
                   'job="ingress",exported_namespace="shop",ingress="web"', {"1": 0, "5": 9, "+Inf": 9}),
        _histogram("nginx_ingress_controller_request_duration_seconds_bucket",
                   'job="ingress",exported_namespace="shop",ingress="web"', {"1": 9, "5": 9, "+Inf": 9}),
    ),
    Case("IngressConfigInvalid",
         *_both('nginx_ingress_controller_config_last_reload_successful{job="ingress",pod="p"}', "0x60", "1x60")),
    Case("MetalLBSpeakerDown", *_both(_up("metallb"), "0x60", "1x60")),
    Case(
        "MetalLBConfigNotLoaded",
        {'metallb_k8s_client_config_loaded_bool{job="metallb",pod="s"}': "1x60",
         'metallb_k8s_client_config_stale_bool{job="metallb",pod="s"}': "1x60"},
        {'metallb_k8s_client_config_loaded_bool{job="metallb",pod="s"}': "1x60",
         'metallb_k8s_client_config_stale_bool{job="metallb",pod="s"}': "0x60"},
    ),
    Case(
        "MetalLBPoolNearlyExhausted",
        {'metallb_allocator_addresses_in_use_total{job="metallb",pool="p"}': "11x60",
         'metallb_allocator_addresses_total{job="metallb",pool="p"}': "11x60"},
        # A pool that is gone has neither.
        {'metallb_allocator_addresses_in_use_total{job="metallb",pool="p"}': "0x60",
         'metallb_allocator_addresses_total{job="metallb",pool="p"}': "0x60"},
    ),
    Case(
        "LoadBalancerWaitsForAddress",
        {'kube_service_spec_type{namespace="a",service="s",type="LoadBalancer"}': "1x60"},
        {'kube_service_spec_type{namespace="a",service="s",type="LoadBalancer"}': "1x60",
         'kube_service_status_load_balancer_ingress{namespace="a",service="s",ip="10.0.0.9"}': "1x60"},
    ),
    # --- monitoring itself, backups ---
    Case("TestAlert",
         {'kube_configmap_info{namespace="monitoring",configmap="alert-test"}': "1x60"},
         {'kube_configmap_info{namespace="default",configmap="alert-test"}': "1x60"}),
    Case(
        "TargetDown",
        {f'up{{job="pods",instance="{n}"}}': "0x60" if n < 2 else "1x60" for n in range(10)},
        {f'up{{job="pods",instance="{n}"}}': "0x60" if n < 1 else "1x60" for n in range(10)},
    ),
    Case("KubeStateMetricsDown", *_both(_up("kube-state-metrics"), "0x60", "1x60")),
    Case("PrometheusBadConfig", *_both('prometheus_config_last_reload_successful{job="prometheus"}', "0x60", "1x60")),
    Case("PrometheusNotConnectedToAlertmanagers",
         *_both('prometheus_notifications_alertmanagers_discovered{job="prometheus"}', "0x60", "2x60")),
    Case("PrometheusRuleFailures",
         *_both('prometheus_rule_evaluation_failures_total{job="prometheus",rule_group="g"}', "0+1x60", "5x60")),
    Case("AlertmanagerFailedReload",
         *_both('alertmanager_config_last_reload_successful{job="alertmanager",pod="a"}', "0x60", "1x60")),
    Case(
        "AlertmanagerFailedToSendAlerts",
        {'alertmanager_notifications_failed_total{job="alertmanager",pod="a",integration="slack"}': "0+1x60",
         'alertmanager_notifications_total{job="alertmanager",pod="a",integration="slack"}': "0+2x60"},
        {'alertmanager_notifications_failed_total{job="alertmanager",pod="a",integration="slack"}': "0x60",
         'alertmanager_notifications_total{job="alertmanager",pod="a",integration="slack"}': "0x60"},
    ),
    Case(
        "BackupTooOld",
        {'mlops_infra_backup_last_success_timestamp_seconds{node="m1"}': "0x90", _ALLOWED: "3600x90"},
        # The newest counts, whichever master knows of it.
        {'mlops_infra_backup_last_success_timestamp_seconds{node="m1"}': "0x90",
         'mlops_infra_backup_last_success_timestamp_seconds{node="m2"}': "3000x90", _ALLOWED: "3600x90"},
        at="75m",
    ),
    Case(
        "BackupMissing",
        {'kube_namespace_created{namespace="kube-system"}': "0x90", _ALLOWED: "3600x90"},
        # A cluster of yesterday need not have one yet.
        {'kube_namespace_created{namespace="kube-system"}': "3000x90", _ALLOWED: "3600x90"},
        at="75m",
    ),
    # The last one lacks a copy; the one before did.
    Case("BackupCopyMissing", _copies(m1=(0, 2000), m2=(1, 3000)), _copies(m1=(1, 2000), m2=(0, 3000)), at="75m"),
    # Nobody backs up any more, or not by a timer: that is BackupTooOld's.
    Case("BackupCopyMissing", _copies(m1=(1, 1000)), _copies(m1=(1, 800)), at="75m"),
)  # fmt: skip

_SHARES = {"5m": 0.1, "30m": 0.2, "1h": 0.4, "2h": 0.36, "6h": 0.5, "1d": 0.3}
_EVENTS = "kube_customresource_event_count"

RECORDED: tuple[Recorded, ...] = (
    Recorded(
        _bursts(), {f"apiserver:errors:ratio_rate{window}": {"{}": share} for window, share in _SHARES.items()},
        at=f"{_DAY}m",
    ),
    Recorded(
        {f'{_EVENTS}{{namespace="a",event="p.1",type="Warning",reason="BackOff",kind="Pod"}}': "5x30",
         # Told once: the API gives no count.
         f'{_EVENTS}{{namespace="b",event="q.1",type="Warning",reason="BackOff",kind="Pod"}}': "0x30",
         f'{_EVENTS}{{namespace="a",event="p.2",type="Normal",reason="Pulled",kind="Pod"}}': "0x30"},
        {"cluster:events:count": {'{type="Warning",reason="BackOff",kind="Pod"}': 6,
                                  '{type="Normal",reason="Pulled",kind="Pod"}': 1}},
    ),
    # 36 hours, the default.
    Recorded({}, {"mlops_infra:backup_max_age:seconds": {"{}": 129600}}),
)  # fmt: skip
