"""The sh of the observe script: strictly POSIX (dash, bash, busybox ash), no temporary files, one fork a kind.

Records are held and sent many at a time: what a shell prints by itself is a packet each, for sshd and for us.

`set -u` without `set -e`: a question that fails says so in its own record and does not stop the others. Where one fork
for all gives another number of lines than it was asked for (a file vanished, a name holds a newline), the same
question is put one by one.
"""

from __future__ import annotations

__all__ = ["PROLOGUE", "SECTIONS"]

PROLOGUE = r"""LC_ALL=C; export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
umask 077
set -u
N=@NONCE@
n=0
t='@TAB@'
nl='
'
held= now= trie= addrs= a=
r() { n=$((n+1)); held=$held$1$nl; [ ${#held} -lt 4000 ] || flush; }
flush() { printf %s "$held"; held=; }
count() { set -f; IFS=$nl; c=0; for l in $1; do c=$((c+1)); done; }
next() { id=${ids%% *}; ids=${ids#* }; }
plain() { set +f; unset IFS; }""".replace("@TAB@", "\t")

# One `stat` tells of files, of links' targets (literally, after "name -> ") and, by /proc/self/, what the time is: that
# directory is as old as the process that looks at it.
_PATH = r"""
q_path() {
  ids=; k=$#
  while [ "$k" -gt 0 ]; do
    if [ -e "$3" ] || [ -L "$3" ]; then
      v=$2
      if [ -n "$v" ] && [ ! -L "$3" ]; then r "link$t$v$t!${t}not a symbolic link"; v=; fi
      if [ -n "$1$v" ]; then ids="$ids$1,$v "; set -- "$@" "$3"; fi
    else
      [ -z "$1" ] || r "stat$t$1$t-"
      [ -z "$2" ] || r "link$t$2$t-"
    fi
    shift 3; k=$((k-3))
  done
  [ $# -gt 0 ] || return 0
  ids="$ids, "; set -- "$@" /proc/self/
  f="%f$t%s$t%U$t%G"
  o=$(QUOTING_STYLE=literal stat -c "$f$t%.Y$t%N" -- "$@" 2>/dev/null)
  count "$o"
  if [ "$c" -eq $# ]; then
    for l in $o; do
      next
      w=${l#*"$t"*"$t"*"$t"*"$t"}; v=${w#*"$t"}
      [ "$id" != , ] || now=${w%%"$t"*}
      [ -z "${id%,*}" ] || r "stat$t${id%,*}$t=$t${l%"$t$w"}"
      [ -z "${id#*,}" ] || r "link$t${id#*,}$t=$t${v#"$1 -> "}"
      shift
    done
  else
    for p; do
      next
      if [ -z "${id%,*}" ]; then :
      elif l=$(stat -c "$f" -- "$p" 2>/dev/null); then r "stat$t${id%,*}$t=$t$l"
      else r "stat$t${id%,*}$t!${t}stat failed"; fi
      [ -z "${id#*,}" ] || { l=$(readlink -n -- "$p" 2>/dev/null | base64 -w 0); r "link$t${id#*,}${t}64$t$l"; }
    done
  fi
  plain
}"""

_SHA = r"""
q_sha() {
  ids=; k=$#
  while [ "$k" -gt 0 ]; do
    if [ -f "$2" ]; then ids="$ids$1 "; set -- "$@" "$2"
    elif [ -e "$2" ] || [ -L "$2" ]; then r "sha$t$1$t!${t}not a regular file"
    else r "sha$t$1$t-"; fi
    shift 2; k=$((k-2))
  done
  [ $# -gt 0 ] || return 0
  o=$(sha256sum -- "$@" 2>/dev/null)
  count "$o"
  if [ "$c" -eq $# ]; then
    for l in $o; do next; l=${l#\\}; r "sha$t$id$t=$t${l%% *}"; done
  else
    for p; do next; if l=$(sha256sum <"$p" 2>/dev/null); then r "sha$t$id$t=$t${l%% *}"
      else r "sha$t$id$t!${t}cannot be read"; fi; done
  fi
  plain
}"""

# Not by `read`: dash and busybox read byte by byte, and the kernel ends a number of /proc/sys after its first digit.
# The same `grep` fetches this machine's own addresses where q_system wants them: they are what is LOCAL there.
_SYSCTL = r"""
own() {
  case "$l" in
    *" |-- "*) a=${l##* } ;;
    *" /32 host LOCAL") addrs="$addrs$a " ;;
  esac
}
q_sysctl() {
  k=$#
  while [ "$k" -gt 0 ]; do
    if [ -f "$2" ]; then r "sysctl$t$1$t+"; set -- "$@" "$2"; else r "sysctl$t$1$t-"; fi
    shift 2; k=$((k-2))
  done
  [ $# -gt 0 ] || [ -n "$trie" ] || return 0
  o=$(grep -H '' "$@" $trie 2>/dev/null)
  count "$o"
  for l in $o; do case "$l" in "$trie":*) own ;; *) r "sysctls$t-$t=$t$l" ;; esac; done
  plain
}"""

_FEATURE = r"""
q_feature() {
  fs=; kr=
  if [ -r /proc/filesystems ]; then
    while IFS= read -r l; do fs="$fs${l##*$t} "; done </proc/filesystems
  fi
  while [ $# -gt 0 ]; do
    v=0
    if [ -n "$3" ]; then [ -e "$3" ] && v=1
    elif [ -e "/sys/module/$2" ]; then v=1
    else
      case " $fs" in *" $2 "*) v=1 ;; *)
        [ -n "$kr" ] || read -r kr </proc/sys/kernel/osrelease
        grep -q "/$2\.ko" "/lib/modules/$kr/modules.builtin" 2>/dev/null && v=1 ;;
      esac
    fi
    r "feature$t$1$t=$t$v"
    shift 3
  done
}"""

_SWAPS = r"""
q_swaps() {
  if [ ! -r /proc/swaps ]; then r "swaps$t$1$t!${t}no /proc/swaps"; return 0; fi
  s="swaps$t$1$t="
  while read -r a b; do [ "$a" = Filename ] || s="$s$t$a"; done </proc/swaps
  r "$s"
}"""

_PKG = r"""
q_pkg() {
  o=$(dpkg-query -W -f '${Package}\t${db:Status-Abbrev}\t${Version}\n' -- "$@" 2>/dev/null); e=$?
  count "$o"
  for l in $o; do r "pkg$t-$t=$t$l"; done
  plain
  r "pkg$t-$t.$t$e"
}"""

_UNIT = r"""
q_unit() {
  o=$(systemctl show -p Id -p LoadState -p ActiveState -p SubState -p UnitFileState -p NeedDaemonReload -- "$@" \
    2>/dev/null); e=$?
  count "$o"
  for l in $o; do r "unit$t-$t=$t$l"; done
  plain
  r "unit$t-$t.$t$e$t$#"
}"""

_SYSTEM = r"""
q_system() {
  i=$1
  for f in /etc/os-release /usr/lib/os-release; do
    if [ -r "$f" ]; then
      while IFS= read -r l; do
        case "$l" in ID=*|VERSION_ID=*|VERSION_CODENAME=*) r "sys$t$i$t=${t}os$t$l" ;; esac
      done <"$f"
      break
    fi
  done
  for f in kernel:/proc/sys/kernel/osrelease hostname:/proc/sys/kernel/hostname machine_id:/etc/machine-id \
    cpus:/sys/devices/system/cpu/online memory:/proc/meminfo; do
    v=; [ -r "${f#*:}" ] && IFS= read -r v <"${f#*:}"
    r "sys$t$i$t=$t${f%%:*}$t$v"
  done
  v=; [ -r /proc/sys/kernel/arch ] && IFS= read -r v </proc/sys/kernel/arch
  r "sys$t$i$t=${t}machine$t${v:-$(uname -m)}"
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then v=2; else v=1; fi
  r "sys$t$i$t=${t}cgroup$t$v"
  # Not from /sys: in a container that may show the interfaces of the machine around it.
  for v in $addrs; do r "sys$t$i$t=${t}addr$t$v"; done
  # As systemd-detect-virt tells it; of virtual machines nothing is asked, and that program costs more than all this.
  v=; for f in /run/systemd/container /run/host/container-manager; do
    [ -n "$v" ] || { [ -r "$f" ] && IFS= read -r v <"$f"; }
  done
  r "sys$t$i$t=${t}virt$t$v"
  r "sys$t$i$t=${t}clock$t${now:-$(date +%s.%N)}"
  r "sys$t$i$t."
}"""

# Inside the blob: a frame is `<nonce> <what>\n`, the text, `<nonce> <how it ended>\n`. fd 3 is the blob itself.
# One `head` sends up to seven files. What stands between them comes to it as here-documents, short enough that the
# shell needs no fork for them; where it fails, each file is sent again by itself, and the later frame counts.
_TEXT = r"""
q_text() {
  m=$1; shift; k=$#
  while [ "$k" -gt 0 ]; do
    if [ -f "$2" ]; then set -- "$@" "$1" "$2"
    elif [ -e "$2" ] || [ -L "$2" ]; then printf '%s %s\n%s other\n' "$N" "$1" "$N"
    else printf '%s %s\n%s absent\n' "$N" "$1" "$N"; fi
    shift 2; k=$((k-2))
  done
  while [ $# -gt 14 ]; do
    q_texts "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9" "${10}" "${11}" "${12}" "${13}" "${14}"
    shift 14
  done
  [ $# -eq 0 ] || q_texts "$@"
}
q_texts() {
  printf '%s %s\n' "$N" "$1"
  head -q -c "$m" -- "$2" ${3+/dev/fd/4 "$4"} ${5+/dev/fd/5 "$6"} ${7+/dev/fd/6 "$8"} ${9+/dev/fd/7 "${10}"} \
    ${11+/dev/fd/8 "${12}"} ${13+/dev/fd/9 "${14}"} 2>/dev/null 4<<4 5<<5 6<<6 7<<7 8<<8 9<<9; e=$?
$N 0
$N ${3-}
4
$N 0
$N ${5-}
5
$N 0
$N ${7-}
6
$N 0
$N ${9-}
7
$N 0
$N ${11-}
8
$N 0
$N ${13-}
9
  printf '%s 0\n' "$N"
  [ "$e" -ne 0 ] || return 0
  while [ $# -gt 0 ]; do
    printf '%s %s\n' "$N" "$1"
    head -c "$m" -- "$2" 2>/dev/null; e=$?
    printf '%s %s\n' "$N" "$e"
    shift 2
  done
}"""

_COMMAND = r"""
q_some() { for f; do [ ! -s "$f" ] || return 0; done; return 1; }
q_command() {
  printf '%s %s\n' "$N" "$1"
  a=$2; m=$3; x=$4; shift 4
  if [ $# -eq 0 ] || q_some "$@"; then
    e=$({ { timeout -k 2 "$a" sh -c "$x" </dev/null 2>/dev/null; echo $? >&4; } | head -c "$m" >&3; } 4>&1)
  else e=0; fi
  printf '%s %s\n' "$N" "${e:-141}"
}"""

# Objects are asked for with curl where it is there (on masters of ours it is): one connection for all, many at a time.
# kubectl takes three to five times as long for the same reads: it asks for one after the other. What lists of other
# groups are called only kubectl can find out.
_API = r"""
kc() { timeout -k 2 20 kubectl --kubeconfig "$kf" --server "$ks" --cache-dir /run/mlops-infra/kubectl \
  --request-timeout=5s "$@"; }
frame() {
  printf '%s %s %s\n' "$N" "$1" "$2"
  if [ -n "$3" ]; then printf '%s' "$3"; fi
  printf '%s 0\n' "$N"
}
q_api_ready() {
  ks=$1; kf=$2; e=
  if [ ! -r "$kf" ]; then e="no $kf on this host"
  elif ! command -v kubectl >/dev/null 2>&1; then e="no kubectl on this host"
  fi
  if [ -n "$e" ]; then frame api-down - "$e"; return 1; fi
}
q_api_objects() {
  printf '%s objects -\n' "$N"
  m=$1
  err=$(printf '%s' "$m" | kc get -f - --ignore-not-found -o json 2>&1 >&3); e=$?
  printf '%s %s\n' "$N" "$e"
  frame objects-said - "$err"
}
q_api_keys() {
  command -v curl >/dev/null 2>&1 || return 1
  mkdir -p /run/mlops-infra && d=$(mktemp -d /run/mlops-infra/api.XXXXXX) || return 1
  k=$(cat "$kf")
  for v in certificate-authority client-certificate client-key; do
    w=${k#*"$v-data: "}
    [ "$w" != "$k" ] && printf '%s' "${w%%"$nl"*}" | base64 -d >"$d/$v" || { rm -rf "$d"; return 1; }
  done 2>/dev/null
}
q_api_get() {
  c=
  while [ $# -gt 0 ]; do c="${c}url=\"$ks$2\"${nl}output=\"$d/a/$1\"$nl"; shift 2; done
  mkdir -p "$d/a"
  printf '%s got -\n' "$N"
  err=$(printf '%s' "$c" | timeout -k 2 20 curl -q -sSgZ --no-progress-meter --noproxy '*' -A mlops-infra \
    --parallel-max 16 --connect-timeout 5 --cacert "$d/certificate-authority" --cert "$d/client-certificate" \
    --key "$d/client-key" -K - 2>&1); e=$?
  head -v -c 16777216 -- "$d"/a/* 2>/dev/null
  printf '\n%s %s\n' "$N" "$e"
  frame got-said - "$err"
  rm -rf "$d"
}
q_api_list() {
  printf '%s list %s\n' "$N" "$2"
  if [ -n "$3" ]; then
    err=$(kc get "$1" -A --ignore-not-found -o json -l "$3" 2>&1 >&3); e=$?
  else
    err=$(kc get "$1" -A --ignore-not-found -o json 2>&1 >&3); e=$?
  fi
  printf '%s %s\n' "$N" "$e"
  frame list-said "$2" "$err"
}"""

SECTIONS: dict[str, str] = {
    "path": _PATH,
    "sha": _SHA,
    "sysctl": _SYSCTL,
    "feature": _FEATURE,
    "swaps": _SWAPS,
    "pkg": _PKG,
    "unit": _UNIT,
    "system": _SYSTEM,
    "text": _TEXT,
    "command": _COMMAND,
    "api": _API,
}
"""Function definitions by section; the script carries only those that it uses."""
