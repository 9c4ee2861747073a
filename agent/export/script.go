package export

import _ "embed"

// script checks a bag with sha256sum and openssl.
//
//go:embed verify.sh
var script string

// readme tells whoever gets a bag what it is.
const readme = `明录 录音录像导出包（BagIt 1.0, RFC 8493） · Minglu export of a recording

data/会话编号/         会话文件夹，与录制时逐字节相同 / the session folder, byte for byte as it was recorded
data/proofs/           设备台账中本次会话的行及其证明 / this session's lines of the device ledger, with proofs
verify.sh              只用 sha256sum 与 openssl 的核验 / a check with sha256sum and openssl alone:  sh verify.sh

完整核验（每个片段、次序、时间、台账）：minglu-agent verify data/会话编号 --trust 信任文件夹
The whole check (each fragment, order, times, ledger): minglu-agent verify data/SESSION --trust FOLDER

data/会话编号/device.pem 是签名所用的证书；它是否属于该设备，须由机关以其他途径确认。
Whether data/SESSION/device.pem is the certificate of that device, the body must tell you on another way.
`
