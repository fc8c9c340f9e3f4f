# shellcheck shell=bash
# Owns the order in which a cluster comes up; every wait has an end, and a failure takes everything down again.

up() {
	[[ $EUID -eq 0 ]] || fail "up needs root (mounts, network namespaces, iptables)"
	install_packages
	built || build
	local started=$SECONDS node=bolide-node address
	address=$(node_address)
	[[ -n $address ]] || fail "this machine has no IPv4 address besides loopback"
	claim_machine
	trap 'up_failed' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	[[ ! -d $DIR/etcd ]] || remove_state
	mkdir -p "$DIR"/{log/pods,pids,conf,pki,volumes}
	echo "$address" >"$DIR/conf/address"
	save_kernel_settings
	make_certificates "$node" "$address"
	write_configuration "$node"
	make_network
	make_cgroups
	start_etcd
	start_containerd
	start_apiserver
	within 60 "containerd answers" containerd_ctl version
	containerd_ctl images import "$BIN/pause.tar" >/dev/null
	containerd_ctl images import "$BIN/probe.tar" >/dev/null
	within 120 "the API server is ready" api get --raw /readyz
	start_controllers
	start_node "$node"
	api apply -f "$HERE/manifests/storage-class.yaml" >/dev/null
	within 120 "the node is ready" node_ready "$node"
	within 60 "DNS answers" dns_answers
	within 60 "the default service account is there" api get serviceaccount default
	trap - EXIT INT TERM
	note "up in $((SECONDS - started)) s"
	echo "ready KUBECONFIG=$DIR/kubeconfig"
}

containerd_ctl() {
	timeout 120 ctr --address "$SOCKET" --namespace k8s.io "$@"
}

node_ready() {
	[[ $(api get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

dns_answers() {
	[[ $("$BIN/probe" resolve -within 1s -server "$POD_GATEWAY:53" kubernetes.default.svc.cluster.local) == 10.96.0.1 ]]
}

# Makes this cluster the one of the machine. What a dead one left is removed; a living one is respected.
claim_machine() {
	local owner
	if ! mkdir "$RUN" 2>/dev/null; then
		owner=$(cat "$RUN/owner" 2>/dev/null || echo "$DIR")
		if any_alive "$owner"; then
			fail "a cluster is up in $owner; end it with: $HERE/cluster down $owner"
		fi
		note "removes what an earlier cluster left"
		clean_after "$owner"
		mkdir "$RUN" || fail "another cluster is coming up"
	fi
	echo "$DIR" >"$RUN/owner"
	if ip link show cni0 >/dev/null 2>&1; then
		rm -rf "$RUN"
		fail "this machine has a network device cni0 that is not ours"
	fi
}

any_alive() {
	local DIR=$1 file
	for file in "$DIR"/pids/*; do
		[[ -e $file ]] && alive "${file##*/}" && return 0
	done
	return 1
}

clean_after() {
	local DIR=$1
	clean_machine
}

up_failed() {
	local status=$? file
	trap - EXIT INT TERM
	EXPECTED=()
	note "did not come up; the last lines of each log:"
	for file in "$DIR"/log/*.log; do
		echo "--- $file" >&2
		tail -n 5 "$file" | cut -c 1-400 >&2
	done
	down || true
	exit "$((status == 0 ? 1 : status))"
}

load_image() {
	[[ -f ${1:-} ]] || fail "no image file: ${1:-TAR is missing}"
	alive containerd || fail "no cluster is up in $DIR"
	containerd_ctl images import "$1"
}

stop_api() {
	local pid
	pid=$(pid_of kube-apiserver) || fail "the API server is not running"
	case $1 in
	--hang) kill -STOP "$pid" ;;
	"") halt kube-apiserver 2 ;;
	*) fail "stop-api takes only --hang" ;;
	esac
}

start_api() {
	local pid
	[[ -f $DIR/conf/address ]] || fail "no cluster is up in $DIR"
	if pid=$(pid_of kube-apiserver); then
		kill -CONT "$pid"
	else
		start_apiserver
	fi
	within 60 "the API server is ready" api get --raw /readyz
}
