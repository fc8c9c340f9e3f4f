# shellcheck shell=bash
# Owns the programs in $BIN: builds those that are missing or older than their module's files.

VERSION=v1.34.4
LINKS=(etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl volume-provisioner)
BUILD_SECONDS=5400

build() {
	install_packages
	go_is_recent || fail "go $GO_MINIMUM or newer is needed; see: cluster doctor"
	mkdir -p "$BIN"
	exec 9>"$BIN/.lock"
	flock -w "$BUILD_SECONDS" 9 || fail "another build holds $BIN/.lock"
	local set=k8s.io/component-base/version
	build_one probe probe . ""
	build_one dns coredns . ""
	build_one helm helm helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/internal/version.version=v3.19.0"
	build_one kubernetes kubernetes . "-X $set.gitVersion=$VERSION -X $set.gitMajor=1 -X $set.gitMinor=34"
	local name
	for name in "${LINKS[@]}"; do
		ln -sfn kubernetes "$BIN/$name"
	done
	build_image pause build-pause "$PAUSE_IMAGE"
	build_image probe build bolide.dev/cluster/probe:1
	exec 9>&-
}

# build_one MODULE PROGRAM PACKAGE LINKER-FLAGS
build_one() {
	local module=$HERE/$1 program=$BIN/$2 started=$SECONDS
	if [[ -x $program && -z $(find "$module" -type f -newer "$program" -print -quit) ]]; then
		return
	fi
	note "builds $2"
	(cd "$module" && CGO_ENABLED=0 timeout "$BUILD_SECONDS" nice go build -buildvcs=false -trimpath \
		-ldflags "-s -w $4" -o "$program.partial" "$3") || fail "building $2 failed"
	mv "$program.partial" "$program"
	note "built $2 in $((SECONDS - started)) s"
}

# build_image NAME BUILDER IMAGE: an image of the probe program.
build_image() {
	local tar=$BIN/$1.tar
	if [[ ! -e $tar || $BIN/probe -nt $tar || $HERE/image -nt $tar ]]; then
		"$HERE/image" "$2" --name "$3" --binary "$BIN/probe" --out "$tar" >&2
	fi
}

built() {
	local name
	for name in kubernetes coredns probe pause.tar probe.tar "${LINKS[@]}"; do
		[[ -e $BIN/$name ]] || return 1
	done
}
