// Package report holds what a room says of itself to people and to the office: the catalogue of
// faults with their texts and what to do, and the messages over MQTT. It is pure data.
//
// Codes are stable and only ever added: they stand in sealed records, where [Find] must still
// explain them in years.
//
// Each message is a Go type with a Parse function and a JSON Schema ([Schema]). It guarantees: whatever
// Parse accepts, the schema accepts; nothing beyond [MaxSize] or the limits of a field passes; what
// [Marshal] writes, Parse reads. Fields may be added to version 1 and are passed over by readers that do
// not know them; anything else that changes is another version, which Parse refuses with [ErrVersion].
// It does not know who sent a message: the broker does, by the topic ([ParseTopic]).
package report

import "strings"

// Severity says how much a fault matters to the recording.
type Severity string

// The severities.
const (
	Failure Severity = "failure" // nothing is recorded
	Impairs Severity = "impairs" // something is not recorded while it lasts
	Warning Severity = "warning" // everything is recorded; see to it
)

// Text is a sentence in both languages. {ch} stands for the channel or disk concerned.
type Text struct {
	Zh string `json:"zh"`
	En string `json:"en"`
}

// In puts ch into the sentence.
func (t Text) In(ch string) Text {
	return Text{strings.ReplaceAll(t.Zh, "{ch}", ch), strings.ReplaceAll(t.En, "{ch}", ch)}
}

// Fault is one condition the catalogue knows.
type Fault struct {
	Code     string
	Severity Severity
	Text     Text // what is the case
	Do       Text // what to do about it
}

// Find returns the fault of a code. A code this version does not know gets a text that says so.
func Find(code string) Fault {
	for _, f := range Catalogue() {
		if f.Code == code {
			return f
		}
	}
	return Fault{code, Warning, Text{"未知故障代码 " + code, "Unknown fault code " + code}, Text{"请更新软件", "Update the software"}}
}

// Catalogue returns all faults.
func Catalogue() []Fault {
	return []Fault{
		{"room.nothing", Failure, Text{"没有任何内容被录制", "Nothing is being recorded"},
			Text{"请检查摄像机、麦克风和磁盘；系统会自动重试。如须继续询问，请改用其他录音录像设备并说明原因", "Check cameras, microphones and disks; the room keeps trying. To go on, use another recorder and note why"}},
		{"room.forgotten", Warning, Text{"房间可能无人，录音录像仍在进行", "The room may be empty, and is still being recorded"},
			Text{"请到房间页面回答是否结束；有人进入时自动消除", "Answer at the room's page whether to end; somebody coming in clears it"}},
		{"camera.gone", Impairs, Text{"通道 {ch} 的摄像机没有连接，其余通道继续录制", "The camera of channel {ch} is not connected; the other channels go on"},
			Text{"请检查摄像机电源和网线；恢复后自动继续", "Check the camera's power and cable; it goes on by itself"}},
		{"camera.noframes", Impairs, Text{"通道 {ch} 的摄像机已连接但没有图像", "The camera of channel {ch} is connected but sends no picture"},
			Text{"请重启摄像机；恢复后自动继续", "Restart the camera; it goes on by itself"}},
		{"camera.credentials", Impairs, Text{"通道 {ch} 的摄像机拒绝登录", "The camera of channel {ch} refuses the login"},
			Text{"请设备管理员核对 agent.yaml 中该通道的用户名和密码", "Ask the equipment manager to check this channel's user and password in agent.yaml"}},
		{"camera.address", Impairs, Text{"找不到通道 {ch} 的摄像机", "The camera of channel {ch} cannot be reached"},
			Text{"请检查摄像机电源、网线和 agent.yaml 中的地址", "Check the camera's power, its cable and the address in agent.yaml"}},
		{"camera.not-found", Impairs, Text{"通道 {ch} 的摄像机没有这个视频流", "The camera of channel {ch} has no such stream"},
			Text{"请核对 agent.yaml 中该通道地址的路径部分", "Check the path in this channel's address in agent.yaml"}},
		{"camera.codec", Impairs, Text{"通道 {ch} 的摄像机编码格式不受支持", "The camera of channel {ch} uses a codec that cannot be recorded"},
			Text{"请在摄像机设置中改为 H.264 或 H.265", "Set the camera to H.264 or H.265"}},
		{"camera.protocol", Impairs, Text{"通道 {ch} 的摄像机应答异常", "The camera of channel {ch} answers in an unexpected way"},
			Text{"请重启摄像机；仍不恢复时请设备管理员查看日志", "Restart the camera; if it stays so, the equipment manager should read the log"}},
		{"microphone.gone", Impairs, Text{"通道 {ch} 的麦克风没有数据", "The microphone of channel {ch} delivers nothing"},
			Text{"请检查麦克风接线；恢复后自动继续", "Check the microphone's cable; it goes on by itself"}},
		{"sound.silent", Impairs, Text{"通道 {ch} 长时间没有声音", "Channel {ch} has been silent for long"},
			Text{"请对麦克风说话并看电平；检查静音开关和接线", "Speak into the microphone and watch its level; check its mute switch and cable"}},
		{"sound.clipping", Warning, Text{"通道 {ch} 的声音过载失真", "The sound of channel {ch} is overdriven"},
			Text{"请降低麦克风增益或移远麦克风", "Lower the microphone's gain or move it away"}},
		{"sound.gone", Impairs, Text{"通道 {ch} 的摄像机没有声音数据", "The camera of channel {ch} sends no sound"},
			Text{"请在摄像机设置中打开音频；检查拾音器接线", "Switch sound on in the camera's settings; check its microphone's cable"}},
		{"sound.lossy", Warning, Text{"通道 {ch} 的声音有丢失", "Sound of channel {ch} was lost"},
			Text{"请检查网络和麦克风接线；录音中已注明缺失", "Check the network and the microphone's cable; the record shows what is missing"}},
		{"picture.black", Impairs, Text{"通道 {ch} 的画面全黑", "The picture of channel {ch} is black"},
			Text{"请打开灯光，取下镜头盖，检查摄像机", "Switch the light on, take off the lens cap, check the camera"}},
		{"picture.frozen", Impairs, Text{"通道 {ch} 的画面静止不动", "The picture of channel {ch} stands still"},
			Text{"请在镜头前挥手；画面仍不动时重启摄像机", "Wave before the lens; if the picture still does not move, restart the camera"}},
		{"picture.covered", Impairs, Text{"通道 {ch} 的镜头被遮挡", "The lens of channel {ch} is covered"},
			Text{"请移开遮挡物", "Take away what covers it"}},
		{"picture.blurred", Warning, Text{"通道 {ch} 的画面模糊", "The picture of channel {ch} is blurred"},
			Text{"请擦净镜头并重新调焦", "Clean the lens and set its focus"}},
		{"picture.moved", Warning, Text{"通道 {ch} 的机位已移动", "The camera of channel {ch} was moved"},
			Text{"请恢复机位；有意移动的，请设备管理员重新学习画面", "Put it back; if it was moved on purpose, the equipment manager has the view learnt anew"}},
		{"picture.slow", Warning, Text{"通道 {ch} 的帧率过低", "Channel {ch} has too few frames per second"},
			Text{"请核对摄像机的帧率设置；检查网络", "Check the camera's frame rate and the network"}},
		{"picture.lossy", Warning, Text{"通道 {ch} 丢帧", "Channel {ch} loses frames"},
			Text{"请检查网线和交换机；缺失已在记录中注明", "Check cable and switch; the record shows what is missing"}},
		{"camera.clock", Warning, Text{"通道 {ch} 的摄像机时钟与主机不一致", "The clock of channel {ch}'s camera differs from this board's"},
			Text{"请在摄像机设置中将校时服务器设为本机", "Set this board as the time server in the camera's settings"}},
		{"record.unsigned", Impairs, Text{"录像数据未能及时签名落盘", "Recorded data is not signed and stored in time"},
			Text{"请检查磁盘；仍不恢复时请改用其他录音录像设备", "Check the disks; if it stays so, use another recorder"}},
		{"disk.worn", Warning, Text{"磁盘 {ch} 的寿命将尽", "Disk {ch} is nearly worn out"},
			Text{"请设备管理员更换磁盘", "Ask the equipment manager to change the disk"}},
		{"clock.inaccurate", Warning, Text{"时钟误差过大，记录中会注明", "The clock is not accurate; the record says by how much"},
			Text{"请检查校时服务（NTP）", "Check the time service (NTP)"}},
		{"climate.stale", Warning, Text{"温湿度数据已过期", "The reading of temperature and humidity is old"},
			Text{"请检查温湿度传感器接线", "Check the sensor's cable"}},
		{"uplink.offline", Warning, Text{"与监管端长时间断开，录制不受影响", "The office has not been reached for long; recording is not affected"},
			Text{"请检查网络；恢复后自动补报", "Check the network; what was kept is reported by itself"}},
		{"power.low", Warning, Text{"主机供电电压过低", "The board's supply voltage is too low"},
			Text{"请更换电源适配器和电源线", "Change the power supply and its cable"}},
		{"power.mains", Warning, Text{"市电已断开，正由电池供电", "The mains are lost: the room runs on its battery"},
			Text{"请检查电源插座和开关；电池将耗尽时自动结束并封存会话", "Check socket and switch; before the battery ends a running session is ended and sealed by itself"}},
		{"power.battery", Impairs, Text{"电池即将耗尽；正在进行的会话已按序结束并封存", "The battery ends soon; the running session was ended and sealed in order"},
			Text{"请恢复市电；此前仍须询问的，请改用其他录音录像设备", "Bring the mains back; to go on before, use another recorder"}},
		{"power.failed", Warning, Text{"电池监测没有响应：停电和电池将耗尽时不能提前封存", "The battery's meter does not answer: nobody knows of a power cut, or when the battery ends"},
			Text{"请检查接线和电池；原因见 minglu-agent doctor", "Check wiring and battery; minglu-agent doctor says why"}},
		{"board.hot", Warning, Text{"主机温度过高", "The board is too hot"},
			Text{"请检查通风和风扇", "Check the ventilation and the fan"}},
		{"certificate.expiring", Warning, Text{"设备证书即将到期", "The device certificate expires soon"},
			Text{"请设备管理员更新证书", "Ask the equipment manager to renew it"}},
		{"identity.notenrolled", Warning, Text{"本机未在管理端登记，管理端不接收其上报，录制不受影响", "This device is not enrolled: the office takes no reports from it; recording is not affected"},
			Text{"请在管理端运行 minglu-provisioning enrol code，再在本机运行 minglu-agent enrol", "Run minglu-provisioning enrol code at the office, then minglu-agent enrol here"}},
		{"identity.revoked", Warning, Text{"本机证书已被管理端吊销，管理端不接收其上报，录制不受影响", "The office has revoked this device's certificate and takes no reports from it; recording is not affected"},
			Text{"请与管理端核实原因；确认可用后以新的登记码重新登记。若以“key compromised”吊销，原密钥不能再用：先停止本程序并确认会话均已封存，再移走并保留状态目录中的 identity 目录，然后登记，本机即成为新设备",
				"Ask the office why; if the device is to go on, enrol it again with a new code. Revoked as \"key compromised\" its key is good for nothing: stop this program, see that all sessions are sealed, move the folder identity of the state folder away and keep it, then enrol, as another device"}},
		{"identity.misnamed", Warning, Text{"本机证书上的名称与配置中的 device.name 不同，管理端拒绝其上报", "The certificate is of another name than device.name in agent.yaml: the office refuses the reports"},
			Text{"请改回原名称，或以新名称重新登记", "Put the name back, or enrol under the new one"}},
		{"identity.expiring", Warning, Text{"本机证书即将到期，自动续期尚未成功", "The device certificate expires soon and could not be renewed yet"},
			Text{"请检查到管理端设备接口的网络", "Check the network to the office's device API"}},
		{"identity.expired", Warning, Text{"本机证书已过期，管理端不接收其上报，录制不受影响", "The device certificate has expired: the office takes no reports; recording is not affected"},
			Text{"请核对时钟；仍如此时以 --replace 重新登记", "Check the clock; if it is right, enrol again with --replace"}},
		{"disk.failed", Impairs, Text{"磁盘 {ch} 不能写入", "Disk {ch} cannot be written"},
			Text{"请检查磁盘连接；不要取出另一块磁盘", "Check the disk's connection; do not remove the other disk"}},
		{"disk.none", Failure, Text{"没有可用的磁盘，现在不能录制", "No disk can be used: nothing can be recorded now"},
			Text{"请接好磁盘；系统会自动重试，磁盘可用后立即录制。如须马上询问，请改用其他录音录像设备并说明原因", "Connect a disk; the room keeps trying and records as soon as one can be used. To go on now, use another recorder and note why"}},
		{"disk.full", Impairs, Text{"磁盘 {ch} 已满，不再写入", "Disk {ch} is full: nothing more is written to it"},
			Text{"请设备管理员归档旧会话后腾出空间，或更换磁盘", "Ask the equipment manager to archive old sessions and free space, or to change the disk"}},
		{"disk.gone", Impairs, Text{"磁盘 {ch} 没有连接", "Disk {ch} is not connected"},
			Text{"请接好磁盘；接回后缺少的副本会自动补齐", "Connect the disk; the copies it lacks are completed by themselves"}},
		{"disk.slow", Impairs, Text{"磁盘 {ch} 写入停滞", "Disk {ch} hangs"},
			Text{"请更换磁盘", "Change the disk"}},
		{"disk.taken", Impairs, Text{"磁盘 {ch} 正被另一个录制程序使用，本机不向其写入", "Another recorder writes to disk {ch}; nothing is written to it from here"},
			Text{"请设备管理员停止另一个 minglu-agent，或为每个程序配置各自的磁盘", "Ask the equipment manager to stop the other minglu-agent, or to give each its own disks"}},
		{"disk.other", Impairs, Text{"磁盘 {ch} 上是另一台设备的录像，本机不向其写入", "Disk {ch} holds another device's recordings: nothing is written to it from here"},
			Text{"请换回本房间的磁盘。如果它就是本房间的磁盘（状态目录曾丢失或主机已更换），请设备管理员停止本程序后运行 minglu-agent adopt --record，原有录像不改动",
				"Put this room's own disk in. If it is this room's (the state folder was lost or the board replaced), the equipment manager stops this program and runs minglu-agent adopt --record: what is on it stays as it is"}},
		{"disk.low", Warning, Text{"磁盘 {ch} 剩余空间不足 24 小时", "Disk {ch} has room for less than 24 hours"},
			Text{"请设备管理员归档旧会话后腾出空间", "Ask the equipment manager to archive old sessions and free space"}},
		{"disk.foreign", Warning, Text{"磁盘 {ch} 上有其他设备的台账", "Disk {ch} holds another device's ledger"},
			Text{"请确认磁盘来源；内容已原样保留", "Find out where the disk comes from; its content was kept as it is"}},
		{"clock.unverified", Warning, Text{"时钟未经校准，记录中会注明", "The clock is not verified; the record says so"},
			Text{"请检查校时服务（NTP）和 RTC 电池", "Check the time service (NTP) and the RTC battery"}},
		{"clock.step", Warning, Text{"时钟发生跳变，录制未中断，记录中已注明", "The clock jumped; recording was not interrupted and the record says so"},
			Text{"请检查校时服务（NTP）和 RTC 电池", "Check the time service (NTP) and the RTC battery"}},
		{"clock.behind", Warning, Text{"时钟早于上次关机时间或软件发布日", "The clock is before the last shutdown or the build date"},
			Text{"请更换 RTC 电池并校时", "Change the RTC battery and set the clock"}},
		{"rtc.battery", Warning, Text{"硬件时钟在断电期间停走，其时间不可信：电池没电，或刚换过", "The hardware clock stood still without power, its time is not to be trusted: its battery is empty, or new"},
			Text{"请更换时钟电池（CR2032）；网络校时后时钟自动设定，下次启动时钟正常则自动消除", "Change its battery (CR2032); it is set by itself once the network has the time, and this clears with the next start that finds it going"}},
		{"rtc.failed", Warning, Text{"硬件时钟没有响应", "The hardware clock does not answer"},
			Text{"请检查时钟模块的接线；原因见 minglu-agent doctor", "Check the clock module's wiring; minglu-agent doctor says why"}},
		{"rtc.differs", Warning, Text{"主机时钟未经校准，且与硬件时钟不一致；记录中已注明未经校准", "This board's clock is not verified, and the hardware clock shows another time; the record says that it is not verified"},
			Text{"请恢复网络校时（NTP）；两个时钟都可能有错", "Bring network time (NTP) back; either clock may be wrong"}},
		{"session.recovered", Warning, Text{"上次会话 {ch} 曾因断电或程序异常中断，已自动修复并封存", "The last session {ch} was cut by a power loss or a crash; it was repaired and sealed"},
			Text{"请在会话列表中核验", "Verify it in the list of sessions"}},
		{"session.damaged", Warning, Text{"会话 {ch} 不能自动修复，内容已原样保留", "Session {ch} cannot be repaired by itself; its content was kept as it is"},
			Text{"请设备管理员用 minglu-agent verify 查看", "Ask the equipment manager to look at it with minglu-agent verify"}},
		{"seal.failed", Warning, Text{"会话 {ch} 未能封存，将自动重试", "Session {ch} could not be sealed; it will be tried again"},
			Text{"请检查磁盘", "Check the disks"}},
		{"copy.incomplete", Warning, Text{"磁盘 {ch} 上还缺部分会话的副本，正在后台补齐", "Disk {ch} lacks copies of some sessions; they are being completed"},
			Text{"请保持两块磁盘连接；长时间不消除时请设备管理员运行 minglu-agent doctor", "Keep both disks connected; if it stays, the equipment manager should run minglu-agent doctor"}},
		{"copy.foreign", Warning, Text{"会话 {ch} 的两份副本内容不一致，未作任何改动", "The two copies of session {ch} tell different stories; neither was touched"},
			Text{"请设备管理员用 minglu-agent verify 同时核验两块磁盘上的副本，并保留两份", "Ask the equipment manager to verify both copies together with minglu-agent verify, and to keep both"}},
		{"archive.full", Warning, Text{"归档存储已满，会话尚未归档；录制不受影响", "The archive is full and takes no more; recording is not affected"},
			Text{"请归档管理员扩充空间；之后自动继续", "Ask whoever keeps the archive for more room; it goes on by itself"}},
		{"archive.credentials", Warning, Text{"归档存储拒绝登录或写入；录制不受影响", "The archive refuses the login or the right to write; recording is not affected"},
			Text{"请设备管理员核对 agent.yaml 的 archive；之后自动继续", "Check archive in agent.yaml; it goes on by itself"}},
		{"archive.digest", Warning, Text{"归档存储读回的内容与送出的不同，未计为已归档", "The archive gave back other bytes than were sent; nothing counts as archived"},
			Text{"请归档管理员检查存储；系统会自动重送", "Ask whoever keeps the archive to check it; it is sent again by itself"}},
		{"archive.clock", Warning, Text{"归档存储认为本机时钟不对，未能归档", "The archive says that this clock is wrong; nothing was archived"},
			Text{"请检查校时服务（NTP）；之后自动继续", "Check the time service (NTP); it goes on by itself"}},
		{"archive.slow", Warning, Text{"归档存储长时间没有接收数据", "The archive takes nothing any more"},
			Text{"请检查网络和归档存储；系统会自动重试", "Check the network and the archive; it is tried again by itself"}},
		{"archive.source", Warning, Text{"有会话的副本均与签名不符，不能归档", "A session cannot be archived: no copy here holds what was signed"},
			Text{"请设备管理员核验该会话", "Ask the equipment manager to verify it"}},
		{"archive.unreachable", Warning, Text{"归档存储无法连接，会话尚未归档；录制不受影响", "The archive cannot be reached; recording is not affected"},
			Text{"请检查网络和归档存储；之后自动继续", "Check the network and the archive; it goes on by itself"}},
		{"keep.failed", Warning, Text{"会话 {ch} 应当移出或销毁，尚未完成", "Session {ch} should have been moved out or destroyed, and is not yet"},
			Text{"系统会自动重试；仍不消除时请设备管理员查看日志", "It is tried again by itself; if it stays, the equipment manager should read the log"}},
		{"lamp.failed", Warning, Text{"录音录像指示灯没有响应", "The recording lamp does not answer"},
			Text{"请检查指示灯接线，并口头告知正在录音录像", "Check the lamp's wiring, and tell people by word that they are recorded"}},
		{"buzzer.failed", Warning, Text{"蜂鸣器没有响应", "The buzzer does not answer"},
			Text{"请检查蜂鸣器接线；页面和指示灯照常", "Check its wiring; page and lamp work all the same"}},
		{"watchdog.failed", Warning, Text{"硬件看门狗不能使用；录制不受影响，但停滞时主机不会自动复位", "The hardware watchdog cannot be used: recording is not affected, but a board that hangs is not reset"},
			Text{"请设备管理员查看 minglu-agent doctor", "Ask the equipment manager to see minglu-agent doctor"}},
		{"watchdog.reset", Warning, Text{"主机上次由看门狗复位：之前录制停滞或系统失去响应", "The board was reset by its watchdog: recording had stood still, or the system did not answer"},
			Text{"请设备管理员检查磁盘、电源和日志；下次正常启动后自动消除", "Ask the equipment manager to check disks, power and log; it clears with the next ordinary start"}},
		{"input.failed", Warning, Text{"输入设备 {ch} 没有响应", "Input {ch} does not answer"},
			Text{"请检查接线；可在页面上操作", "Check its wiring; the page works all the same"}},
		{"device.unsupported", Warning, Text{"配置中的 {ch} 在此版本中没有驱动，未使用", "{ch} of the configuration has no driver in this version and is not used"},
			Text{"请从配置中删去此项，或安装带有该驱动的版本", "Take it out of the configuration, or install a version that has one"}},
		{"uplink.full", Warning, Text{"待上报消息已存满，新消息不再保存，录制不受影响", "No more reports to the office can be kept; recording is not affected"},
			Text{"请尽快恢复与监管端的连接", "Restore the connection to the office soon"}},
		{"uplink.outbox", Warning, Text{"待上报消息不能写入系统盘，录制不受影响", "Reports to the office cannot be written to the system disk; recording is not affected"},
			Text{"请设备管理员检查系统盘", "Ask the equipment manager to check the system disk"}},
		{"uplink.lost", Warning, Text{"待上报消息的文件损坏或来自旧备份，已另起编号，部分消息可能未上报", "The file of reports was damaged or an old copy; numbers begin anew and some reports may be missing"},
			Text{"请设备管理员检查系统盘，并与监管端核对会话列表", "Ask the equipment manager to check the system disk and to compare the list of sessions with the office"}},
		{"witness.conflict", Warning, Text{"见证服务持有的台账与本机不一致，录制不受影响", "A witness holds another history of this device's ledger; recording is not affected"},
			Text{"请设备管理员查明：系统盘是否被恢复过、是否有另一台设备使用同一身份；重启本机后台账另起一代", "Ask the equipment manager: was the system disk set back, does another device use this identity? The ledger begins anew when this board restarts"}},
		{"timeserver.failed", Warning, Text{"本机不能为摄像机授时", "This board cannot give time to the cameras"},
			Text{"请设备管理员检查 agent.yaml 的 ntp.listen：端口是否被占用，地址是否属于本机", "Ask the equipment manager to check ntp.listen in agent.yaml: is the port taken, is the address this board's?"}},
		{"timestamp.late", Warning, Text{"超过一天未取得可信时间戳，录制不受影响", "No outside time stamp for more than a day; recording is not affected"},
			Text{"请检查网络和时间戳服务；恢复后自动补取", "Check the network and the time-stamp service; what is missing is fetched by itself"}},
	}
}
