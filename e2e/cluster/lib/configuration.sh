# shellcheck shell=bash
# Owns DIR/conf: the configuration files of the components that take one.

POD_SUBNET=10.244.0.0/24
POD_GATEWAY=10.244.0.1
SERVICE_SUBNET=10.96.0.0/16
# The cgroup below which every pod runs; what is in it when the cluster goes down is ended.
CGROUP=bolide-cluster

write_configuration() {
	local node=$1
	write_containerd
	write_network
	write_kubelet
	write_proxy "$node"
	write_dns
}

write_containerd() {
	cat >"$DIR/conf/containerd.toml" <<TEXT
version = 2
root = "$DIR/containerd"
state = "$RUN/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$DIR/conf/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "$RUN/runc"
TEXT
}

write_network() {
	mkdir -p "$DIR/conf/cni"
	cat >"$DIR/conf/cni/10-bolide.conflist" <<TEXT
{
  "cniVersion": "0.4.0",
  "name": "bolide-cluster",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "ipMasq": true,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "dataDir": "$RUN/addresses",
        "ranges": [[{"subnet": "$POD_SUBNET", "gateway": "$POD_GATEWAY"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
TEXT
}

write_kubelet() {
	: >"$DIR/conf/resolv.conf"
	cat >"$DIR/conf/kubelet.yaml" <<TEXT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $DIR/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $DIR/pki/kubelet-server.crt
tlsPrivateKeyFile: $DIR/pki/kubelet-server.key
containerRuntimeEndpoint: unix://$SOCKET
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: ["$POD_GATEWAY"]
resolvConf: $DIR/conf/resolv.conf
podLogsDir: $DIR/log/pods
healthzBindAddress: 127.0.0.1
maxPods: 200
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
TEXT
}

write_proxy() {
	cat >"$DIR/conf/proxy.yaml" <<TEXT
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $DIR/conf/proxy.kubeconfig}
hostnameOverride: $1
clusterCIDR: $POD_SUBNET
mode: iptables
oomScoreAdj: 0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
TEXT
}

write_dns() {
	cat >"$DIR/conf/Corefile" <<TEXT
.:53 {
  bind $POD_GATEWAY
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $DIR/kubeconfig bolide
    pods insecure
    ttl 5
  }
  loadbalance
}
TEXT
}
