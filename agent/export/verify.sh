#!/bin/sh
# 核验导出包：摘要、清单与补正的签名、时间戳、吊销。只需 sha256sum 与 openssl。
# Checks this bag: digests, the signatures of manifest and amendments, time stamp, revocation. Needs sha256sum and openssl only.
#   sh verify.sh [TRUST | CA.pem [TSA.pem [CRL.pem]]]
# TRUST: 信任文件夹（minglu-provisioning trust export）：ca/root.pem、ca/ca.crl、tsa/*.pem / a trust folder with these files
# CA.pem: 设备证书的签发机构；不给则只证明与包内证书相符 / who vouches for the device; without it only the certificate in the bag is checked
# TSA.pem: 时间戳机构 / the time-stamp authority     CRL.pem: 吊销列表 / the revocation lists
set -u
bad=0
say() { printf '%s\n' "$1"; }
fail() { printf '失败 FAIL: %s\n' "$1"; bad=1; }
note() { printf '  注意 note: %s\n' "$1"; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# 指名的文件必须在 / a file that is named must be there
named() {
  if [ -f "$2" ] && [ -r "$2" ]; then
    readlink -f "$2"
  elif [ -n "$2" ]; then
    fail "$1: $2: 文件不在或读不出来，请给出正确的文件 / is not there or cannot be read: name the right file" >&2
    return 1
  fi
}
tsa='' crl=''
if [ -d "${1:-}" ]; then
  [ $# -eq 1 ] || fail "信任文件夹之后不再需要其他文件 / a trust folder needs no other file beside it"
  if [ -f "$1/ca/root.pem" ]; then
    ca=$(readlink -f "$1/ca/root.pem")
  elif cat "$1"/*.pem > "$work/ca.pem" 2>/dev/null; then
    ca=$work/ca.pem # minglu-agent trust
  else
    fail "$1: 没有 ca/root.pem，也没有其他证书，请给出信任文件夹 / neither ca/root.pem nor another certificate in it: name a trust folder"
  fi
  [ -f "$1/ca/ca.crl" ] && crl=$(readlink -f "$1/ca/ca.crl")
  if cat "$1"/tsa/*.pem > "$work/tsa.pem" 2>/dev/null; then
    tsa=$work/tsa.pem
  fi
else
  ca=$(named CA "${1:-}") || bad=1
  tsa=$(named TSA "${2:-}") || bad=1
  crl=$(named CRL "${3:-}") || bad=1
fi
[ "$bad" -eq 0 ] || exit 1
cd "$(dirname "$0")" || exit 2

sha256sum --quiet -c tagmanifest-sha256.txt || fail "包的说明文件 / the bag's own files"
sha256sum --quiet -c manifest-sha256.txt || fail "包内文件被改动或缺失 / files are altered or missing"
listed=$(wc -l < manifest-sha256.txt)
found=$(find data -type f | wc -l)
[ "$listed" -eq "$found" ] || fail "包内有 $found 个文件，清单列出 $listed 个 / $found files, $listed are listed"

# signed FILE: 签名成立，并由 $anchor 担保 / the signature over FILE holds, and $anchor vouches for it
signed() {
  # -partial_chain: 包内证书本身即信任锚 / the certificate in the bag is the anchor itself
  # shellcheck disable=SC2086
  openssl cms -verify -binary -inform DER -in "$1.p7s" -content "$1" $chain -CAfile "$anchor" -partial_chain -attime "$at" -out /dev/null 2>"$work/err"
}

# revoked: 按列表核对设备证书；吊销在 $at 之前才使签名失效 / only a revocation before $at undoes the signature
revoked() {
  all=-crl_check
  [ "$(grep -c 'BEGIN X509 CRL' "$crl")" -gt 1 ] && all=-crl_check_all
  issuers=$dir/chain.pem
  [ -f "$issuers" ] || issuers=$anchor
  # -no_check_time: 列表总是新于签名 / a list is always newer than what it is about
  if openssl verify $all -no_check_time -CRLfile "$crl" -CAfile "$anchor" -untrusted "$issuers" "$dir/device.pem" >"$work/out" 2>&1; then
    say "  证书未被吊销 the certificate is not revoked (list of $(openssl crl -in "$crl" -noout -lastupdate | sed 's/.*=//'))"
    return
  fi
  serial=$(openssl x509 -in "$dir/device.pem" -noout -serial | sed 's/.*=//')
  when=$(openssl crl -in "$crl" -noout -text | grep -A1 "Serial Number: $serial\$" | sed -n 's/.*Revocation Date: //p' | head -1)
  if [ -z "$when" ]; then
    fail "吊销列表 / the revocation list: $(grep -m1 '^error' "$work/out")"
  elif [ "$(date -u -d "$when" +%s)" -le "$at" ]; then
    fail "证书在此之前已被吊销 / the certificate was revoked before that: $when"
  elif [ "$stamped" = yes ]; then
    note "证书后来被吊销（$when），时间戳早于吊销，签名仍然成立 / the certificate was revoked later; the time stamp is from before, the signature stands"
  else
    fail "证书已被吊销（$when），且没有核对过的时间戳说明签名早于吊销 / the certificate was revoked, and no time stamp that was checked shows that the signature is from before"
  fi
}

for dir in data/*T*Z-*/; do
  dir=${dir%/}
  if [ ! -f "$dir/manifest.json" ]; then
    fail "$dir: 会话没有封存 / the session is not sealed"
    continue
  fi
  say "会话 session $(basename "$dir")"
  # 清单列出的媒体、日志、证书 / the media, logs and certificates that the manifest names
  (cd "$dir" && tr '{' '\n' < manifest.json | sed -n 's/.*"file":"\([^"]*\)".*"sha256":"\([0-9a-f]\{64\}\)".*/\2  \1/p' | sha256sum --quiet -c) ||
    fail "文件与会话清单不符 / files differ from the session's manifest"
  at=$(sed 's/.*"closed":{[^}]*"t":\([0-9]*\)[0-9]\{6\}[,}].*/\1/' "$dir/manifest.json")
  chain=''
  [ -f "$dir/chain.pem" ] && chain="-certfile $dir/chain.pem"

  # 时间戳先行：证书与吊销按它的时间判断 / first the time stamp: certificate and revocation are judged at its time
  stamped=no
  if [ ! -f "$dir/manifest.json.tsr" ]; then
    note "没有时间戳：以下时间只是设备自称 / there is no time stamp: the time is the device's word alone"
  else
    time=$(openssl ts -reply -in "$dir/manifest.json.tsr" -text 2>/dev/null | sed -n 's/^Time stamp: //p')
    if [ -z "$tsa" ]; then
      note "有时间戳（$time），没有给出时间戳机构，未核对 / there is a time stamp, not checked: no authority (TSA.pem) given"
    elif seconds=$(date -u -d "$time" +%s) &&
      openssl ts -verify -data "$dir/manifest.json.p7s" -in "$dir/manifest.json.tsr" -CAfile "$tsa" -attime "$seconds" >/dev/null 2>"$work/err"; then
      say "  时间戳成立 the time stamp holds: $time"
      at=$seconds stamped=yes
    else
      fail "时间戳 / the time stamp: $(grep -o 'error.*' "$work/err" | head -1)"
    fi
  fi

  if [ -n "$ca" ]; then
    anchor=$ca
  else
    anchor=$dir/device.pem
    note "没有给出 CA，只对照包内证书 / no CA given: checked against the certificate in the bag"
    say "  $(openssl x509 -in "$dir/device.pem" -noout -fingerprint -sha256)"
  fi
  if signed "$dir/manifest.json"; then
    say "  清单签名成立 the manifest's signature holds"
  else
    fail "清单签名 / the manifest's signature: $(grep -o 'Verify error.*\|error:.*' "$work/err" | head -1)"
  fi
  for amendment in "$dir"/amendment-*.json; do
    [ -f "$amendment" ] || continue
    if signed "$amendment"; then
      say "  补正签名成立 the amendment's signature holds: $(basename "$amendment")"
    else
      fail "补正签名 / the amendment's signature: $(basename "$amendment")"
    fi
  done
  if [ -n "$crl" ]; then
    revoked
  elif [ -n "$ca" ]; then
    note "没有给出吊销列表，未核对吊销 / no revocation list given: whether the certificate was revoked was not checked"
  fi
done
if [ "$bad" -eq 0 ]; then
  say "通过 passed"
  say "这里不核对次序、片段与台账，请用 minglu-agent verify / order, fragments and ledger are not checked here: minglu-agent verify"
fi
exit $bad
