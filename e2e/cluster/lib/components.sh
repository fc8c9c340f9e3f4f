# shellcheck shell=bash
# Owns how each component is started, and the machine's network while the cluster is up.

api() {
	timeout 10 "$BIN/kubectl" --kubeconfig "$DIR/kubeconfig" "$@"
}

start_etcd() {
	launch etcd "$BIN/etcd" --name bolide --data-dir "$DIR/etcd" --unsafe-no-fsync --log-level warn \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
		--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster bolide=http://127.0.0.1:2380
}

start_apiserver() {
	launch kube-apiserver "$BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
		--secure-port 6443 --advertise-address "$(cat "$DIR/conf/address")" \
		--tls-cert-file "$DIR/pki/apiserver.crt" --tls-private-key-file "$DIR/pki/apiserver.key" \
		--client-ca-file "$DIR/pki/ca.crt" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
		--service-cluster-ip-range "$SERVICE_SUBNET" --allow-privileged --profiling=false \
		--service-account-issuer https://kubernetes.default.svc.cluster.local \
		--service-account-key-file "$DIR/pki/accounts.key" --service-account-signing-key-file "$DIR/pki/accounts.key" \
		--kubelet-client-certificate "$DIR/pki/kubelet-client.crt" --kubelet-client-key "$DIR/pki/kubelet-client.key" \
		--kubelet-certificate-authority "$DIR/pki/ca.crt" --kubelet-preferred-address-types InternalIP
}

start_controllers() {
	launch kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig "$DIR/conf/controller-manager.kubeconfig" \
		--leader-elect=false --use-service-account-credentials --root-ca-file "$DIR/pki/ca.crt" \
		--service-account-private-key-file "$DIR/pki/accounts.key" --bind-address 127.0.0.1 --profiling=false
	launch kube-scheduler "$BIN/kube-scheduler" --kubeconfig "$DIR/conf/scheduler.kubeconfig" \
		--leader-elect=false --bind-address 127.0.0.1 --profiling=false
	launch volume-provisioner "$BIN/volume-provisioner" --kubeconfig "$DIR/kubeconfig" --root "$DIR/volumes"
}

start_containerd() {
	launch containerd containerd --config "$DIR/conf/containerd.toml"
}

start_node() {
	local node=$1
	launch kubelet "$BIN/kubelet" --config "$DIR/conf/kubelet.yaml" --kubeconfig "$DIR/conf/kubelet.kubeconfig" \
		--root-dir "$DIR/kubelet" --hostname-override "$node" \
		--node-labels topology.kubernetes.io/region=test,topology.kubernetes.io/zone=test-a
	launch kube-proxy "$BIN/kube-proxy" --config "$DIR/conf/proxy.yaml"
	launch coredns "$BIN/coredns" -conf "$DIR/conf/Corefile"
}

# Settings of the kernel that this script or the kubelet changes; `down` puts them back.
KERNEL_SETTINGS=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables vm.overcommit_memory kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

setting_file() {
	local path=${1//-/%}
	path=${path//.//}
	echo "/proc/sys/${path//%/-}"
}

save_kernel_settings() {
	local name file
	for name in "${KERNEL_SETTINGS[@]}"; do
		file=$(setting_file "$name")
		[[ ! -r $file ]] || echo "$file $(cat "$file")"
	done >"$RUN/kernel-settings"
}

restore_kernel_settings() {
	local file value
	[[ -r $RUN/kernel-settings ]] || return 0
	while read -r file value; do
		[[ $(cat "$file") == "$value" ]] || echo "$value" >"$file" || true
	done <"$RUN/kernel-settings"
}

# The bridge is there before the first pod, because the name server listens on its address.
make_network() {
	echo 1 >/proc/sys/net/ipv4/ip_forward
	echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
	ip link add cni0 type bridge
	ip address add "$POD_GATEWAY/24" dev cni0
	ip link set cni0 up
}

cgroup_folders() {
	local folder
	if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then
		echo "/sys/fs/cgroup/$CGROUP"
		return
	fi
	for folder in /sys/fs/cgroup/*/; do
		[[ ! -f $folder/cgroup.procs ]] || echo "$folder$CGROUP"
	done
}

make_cgroups() {
	local folder parent
	while read -r folder; do
		mkdir -p "$folder"
		parent=${folder%/*}
		# A new cpuset has no processors until it is given some.
		if [[ -f $folder/cpuset.cpus && ! -f $folder/cgroup.controllers ]]; then
			cat "$parent/cpuset.cpus" >"$folder/cpuset.cpus"
			cat "$parent/cpuset.mems" >"$folder/cpuset.mems"
		fi
	done < <(cgroup_folders)
}
