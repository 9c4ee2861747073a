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
verify.sh              只用 sha256sum 与 openssl 的核验 / a check with sha256sum and openssl alone:
                       sh verify.sh [信任文件夹 TRUST | CA.pem [TSA.pem [CRL.pem]]]

完整核验（每个片段、次序、时间、台账）：minglu-agent verify 本文件夹 --trust 信任文件夹
The whole check (each fragment, order, times, ledger): minglu-agent verify THIS-FOLDER --trust TRUST
信任文件夹由机关以 minglu-provisioning trust export 导出，请通过另一途径取得。
TRUST is what the office's minglu-provisioning trust export writes: get it on another way than this bag.

媒体从触发前数秒开始（预录）：设备始终暂存最近几秒，触发时一并保留。
The media begin some seconds before the trigger (pre-roll): a device always holds the last seconds and keeps them then.

data/会话编号/device.pem 是签名所用的证书；它是否属于该设备，须由机关以其他途径确认。
Whether data/SESSION/device.pem is the certificate of that device, the body must tell you on another way.
`
