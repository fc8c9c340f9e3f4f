# shellcheck shell=bash
# Owns what must be on the machine before a cluster can start, and says how to get it.

# A Debian package for each program or file that the harness uses.
PREREQUISITES=(
	"containerd containerd"
	"ctr containerd"
	"runc runc"
	"/usr/lib/cni/bridge containernetworking-plugins"
	"iptables iptables"
	"ip iproute2"
	"prometheus prometheus"
	"promtool prometheus"
	"openssl openssl"
	"python3 python3"
)
GO_MINIMUM=1.25

present() {
	case $1 in
	/*) [[ -e $1 ]] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing_packages() {
	local entry
	for entry in "${PREREQUISITES[@]}"; do
		present "${entry% *}" || echo "${entry#* }"
	done | sort -u
}

# Installs the missing packages where that is possible, and fails with a sentence where it is not.
install_packages() {
	local packages
	mapfile -t packages < <(missing_packages)
	[[ ${#packages[@]} -gt 0 ]] || return 0
	if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
		fail "missing: ${packages[*]}; as root: apt-get update && apt-get install ${packages[*]}"
	fi
	note "installs ${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	timeout 300 apt-get update -qq >&2 || fail "apt-get update failed"
	timeout 600 apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2 || fail "apt-get install failed"
}

go_is_recent() {
	local found
	found=$(go env GOVERSION 2>/dev/null) || return 1
	[[ $(printf '%s\n' "$GO_MINIMUM" "${found#go}" | sort -V | head -n 1) == "$GO_MINIMUM" ]]
}

# One line for each thing that is missing; succeeds when nothing is.
doctor() {
	local lacking=0 entry name
	lack() {
		echo "missing: $*"
		lacking=1
	}
	for entry in "${PREREQUISITES[@]}"; do
		present "${entry% *}" || lack "${entry% *}: apt-get update && apt-get install ${entry#* }"
	done
	go_is_recent || lack "go $GO_MINIMUM or newer: see the Go project's download page, or apt-get install golang"
	[[ $EUID -eq 0 ]] || lack "root: run as root (mounts, network namespaces, iptables)"
	grep -qw overlay /proc/filesystems || lack "overlay file system: modprobe overlay"
	[[ -d /proc/sys/net/bridge ]] || lack "bridge netfilter: modprobe br_netfilter"
	[[ -d /sys/fs/cgroup/memory || -f /sys/fs/cgroup/cgroup.controllers ]] || lack "cgroups: mount them below /sys/fs/cgroup"
	[[ -n $(node_address) ]] || lack "an IPv4 address besides loopback: ip address add ADDRESS/24 dev DEVICE"
	for name in kubernetes coredns helm probe; do
		[[ -x $BIN/$name ]] || lack "$BIN/$name: $HERE/cluster build"
	done
	((lacking == 0)) && echo "nothing is missing"
}

# The address by which pods reach the API server; loopback will not do.
node_address() {
	ip -4 -o address show scope global 2>/dev/null | awk '$2 != "cni0" { split($4, part, "/"); print part[1]; exit }'
}
