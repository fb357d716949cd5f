#!/bin/sh
# What `deno task proxy` grants the runtime beside the permission set of deno.json: what the environment names.
# grants.sh names | net SET | read
set -eu

join() { paste -sd, -; }

# host:port of an address with or without scheme and path.
server() {
  port=443
  case $1 in http://*) port=80 ;; esac
  address=${1#*://}
  address=${address%%/*}
  case $address in
  *\]) echo "$address:$port" ;;
  *:*) echo "$address" ;;
  *) echo "$address:$port" ;;
  esac
}

control_plane() {
  if [ -n "${KUBERNETES_SERVICE_HOST+set}" ]; then
    default=istiod.istio-system.svc:15012
  else
    default=localhost:15012
  fi
  {
    [ -z "${XDS_ADDRESS-$default}" ] || server "${XDS_ADDRESS-$default}"
    [ "${FAKE_CA-}" = true ] || [ -z "${CA_ADDRESS-$default}" ] || server "${CA_ADDRESS-$default}"
  } | sort -u
}

# Name servers, for workloads that the mesh knows by name.
name_servers() {
  [ -r /etc/resolv.conf ] || return 0
  sed -n 's/^[[:space:]]*nameserver[[:space:]]\{1,\}\([^[:space:]%]*\).*/\1/p' /etc/resolv.conf |
    while read -r address; do
      # Asked at their port, from any port of ours.
      case $address in
      ::1) printf '%s\n' "[$address]:53" "[::1]:0" ;;
      127.*) printf '%s\n' "$address:53" "127.0.0.1:0" ;;
      *:*) printf '%s\n' "[$address]:53" "[::]:0" ;;
      *) printf '%s\n' "$address:53" "0.0.0.0:0" ;;
      esac
    done
}

# Where SYSTEM is looked for, as src/xds/trust_roots.ts says.
system_roots() {
  sed -n '/^export const SYSTEM_ROOT_PATHS/,/^\]/s/^  "\(.*\)",$/\1/p' src/xds/trust_roots.ts
}

# The list of a permission set: a flag on the command line takes the place of the set's own.
listed() {
  sed -n '/^  "permissions": {/,$p' deno.json | sed -n "/^    \"$1\": {/,/^    }/p" |
    sed -n '/^      "net": \[/,/^      \]/s/^        "\(.*\)",\{0,1\}$/\1/p'
}

case ${1-} in
names)
  env | sed -n 's/^\(\(ISTIO_META\|ISTIO_METAJSON\|XDS_HEADER\|CA_HEADER\)_[A-Za-z0-9_]*\)=.*/\1/p' | join
  ;;
net)
  # Never nothing: the runtime takes an empty list for all there is.
  { echo 127.0.0.1:15000; listed "${2:?a permission set}"; control_plane; name_servers; } | join
  ;;
read)
  {
    echo ./var/run/secrets
    echo ./etc/istio/config/mesh
    echo /etc/resolv.conf
    echo /etc/hosts
    echo "${LOCAL_XDS_PATH:-examples}"
    echo "${FAKE_CA_DIR:-.fake-ca}"
    for path in "${XDS_ROOT_CA-}" "${CA_ROOT_CA-}" "${AUTH_TOKEN-}"; do
      case $path in
      '' | *,*) ;;
      SYSTEM) system_roots ;;
      *) [ ! -e "$path" ] || echo "$path" ;;
      esac
    done
    # Its folder, whatever is there now: that is where the file is replaced.
    case ${CRL_PATH-} in
    '' | *,*) ;;
    */*) echo "${CRL_PATH%/*}/" ;;
    *) echo . ;;
    esac
  } | join
  ;;
*)
  echo "usage: grants.sh names | net SET | read" >&2
  exit 2
  ;;
esac
