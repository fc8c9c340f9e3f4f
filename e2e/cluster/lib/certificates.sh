# shellcheck shell=bash
# Owns DIR/pki: one authority for the cluster, one certificate for each component, and their kubeconfig files.

CERTIFICATE_DAYS=30

make_authority() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$DIR/pki/accounts.key" 2>/dev/null
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$CERTIFICATE_DAYS" \
		-subj "/CN=bolide test cluster" -addext "keyUsage=critical,digitalSignature,keyCertSign" \
		-keyout "$DIR/pki/ca.key" -out "$DIR/pki/ca.crt" 2>/dev/null
}

# issue NAME SUBJECT [ALTERNATIVE-NAMES]
issue() {
	local path=$DIR/pki/$1 extensions="extendedKeyUsage=clientAuth"
	[[ -z ${3:-} ]] || extensions=$'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName='$3
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$path.key" -out "$path.csr" 2>/dev/null
	openssl x509 -req -in "$path.csr" -CA "$DIR/pki/ca.crt" -CAkey "$DIR/pki/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
		-days "$CERTIFICATE_DAYS" -extfile <(echo "$extensions") -out "$path.crt" 2>/dev/null
	rm "$path.csr"
}

# kubeconfig NAME FILE: how the holder of certificate NAME reaches the API server; complete in one file.
kubeconfig() {
	local name=$1 file=$2
	(umask 077 && cat >"$file") <<TEXT
apiVersion: v1
kind: Config
clusters:
- name: bolide
  cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: $(base64 -w 0 "$DIR/pki/ca.crt")
users:
- name: $name
  user:
    client-certificate-data: $(base64 -w 0 "$DIR/pki/$name.crt")
    client-key-data: $(base64 -w 0 "$DIR/pki/$name.key")
contexts:
- name: bolide
  context: {cluster: bolide, user: $name}
current-context: bolide
TEXT
}

make_certificates() {
	local node=$1 address=$2 name
	make_authority
	issue apiserver "/CN=kube-apiserver" "IP:127.0.0.1,IP:10.96.0.1,IP:$address,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
	issue kubelet-client "/O=system:masters/CN=kube-apiserver-kubelet-client"
	issue kubelet-server "/CN=$node" "IP:127.0.0.1,IP:$address,DNS:$node"
	issue admin "/O=system:masters/CN=admin"
	issue kubelet "/O=system:nodes/CN=system:node:$node"
	issue controller-manager "/CN=system:kube-controller-manager"
	issue scheduler "/CN=system:kube-scheduler"
	issue proxy "/CN=system:kube-proxy"
	for name in kubelet controller-manager scheduler proxy; do
		kubeconfig "$name" "$DIR/conf/$name.kubeconfig"
	done
	kubeconfig admin "$DIR/kubeconfig"
}
