#!/bin/sh
# 核验导出包：摘要、清单签名、时间戳。只需 sha256sum 与 openssl。
# Checks this bag: digests, the manifest's signature, its time stamp. Needs sha256sum and openssl only.
#   sh verify.sh [CA.pem [TSA.pem]]
# CA.pem: 设备证书的签发机构；不给则只证明与包内证书相符 / who vouches for the device; without it only the certificate in the bag is checked
# TSA.pem: 时间戳机构 / the time-stamp authority
set -u
ca=$(readlink -f "${1:-/nonexistent}" 2>/dev/null)
tsa=$(readlink -f "${2:-/nonexistent}" 2>/dev/null)
cd "$(dirname "$0")" || exit 2
bad=0
say() { printf '%s\n' "$1"; }
fail() { printf '失败 FAIL: %s\n' "$1"; bad=1; }

sha256sum --quiet -c tagmanifest-sha256.txt || fail "包的说明文件 / the bag's own files"
sha256sum --quiet -c manifest-sha256.txt || fail "包内文件被改动或缺失 / files are altered or missing"
listed=$(wc -l < manifest-sha256.txt)
found=$(find data -type f | wc -l)
[ "$listed" -eq "$found" ] || fail "包内有清单之外的文件 / $found files, $listed are listed"

for dir in data/*T*Z-*/; do
  if [ ! -f "$dir/manifest.json" ]; then
    fail "$dir: 会话没有封存 / the session is not sealed"
    continue
  fi
  say "会话 session $(basename "$dir")"
  # 清单列出的媒体、日志、证书 / the media, logs and certificates that the manifest names
  (cd "$dir" && tr '{' '\n' < manifest.json | sed -n 's/.*"file":"\([^"]*\)".*"sha256":"\([0-9a-f]\{64\}\)".*/\2  \1/p' | sha256sum --quiet -c) ||
    fail "文件与会话清单不符 / files differ from the session's manifest"
  closed=$(sed 's/.*"closed":{[^}]*"t":\([0-9]*\)[0-9]\{6\}[,}].*/\1/' "$dir/manifest.json")
  chain=''
  [ -f "$dir/chain.pem" ] && chain="-certfile $dir/chain.pem"
  if [ -f "$ca" ]; then
    anchor=$ca
  else
    anchor=$dir/device.pem
    say "  注意 note: 没有给出 CA，只对照包内证书 / no CA given: checked against the certificate in the bag"
    say "  $(openssl x509 -in "$dir/device.pem" -noout -fingerprint -sha256)"
  fi
  # -partial_chain: 包内证书本身即信任锚 / the certificate in the bag is the anchor itself
  # shellcheck disable=SC2086
  openssl cms -verify -binary -inform DER -in "$dir/manifest.json.p7s" -content "$dir/manifest.json" $chain -CAfile "$anchor" -partial_chain -attime "$closed" -out /dev/null 2>/dev/null &&
    say "  清单签名成立 the manifest's signature holds" || fail "清单签名 / the manifest's signature"
  if [ -f "$dir/manifest.json.tsr" ] && [ -f "$tsa" ]; then
    openssl ts -verify -data "$dir/manifest.json.p7s" -in "$dir/manifest.json.tsr" -CAfile "$tsa" >/dev/null 2>&1 &&
      say "  时间戳成立 the time stamp holds: $(openssl ts -reply -in "$dir/manifest.json.tsr" -text 2>/dev/null | sed -n 's/^Time stamp: //p')" || fail "时间戳 / the time stamp"
  fi
done
[ "$bad" -eq 0 ] && say "通过 passed"
exit $bad
