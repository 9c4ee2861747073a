package report

import "strings"

// Advice says what to do about an item of the equipment standard that fails or is not known. An item
// it has no words for gets those of its group, the part before the dot.
func Advice(item string) Text {
	if t, ok := advice[item]; ok {
		return t
	}
	group, _, _ := strings.Cut(item, ".")
	if t, ok := advice[group]; ok {
		return t
	}
	return Text{"请设备管理员核对此项", "Let the equipment manager look into it"}
}

var advice = map[string]Text{
	"camera":          {"请检查摄像机的连接和设置", "Check the camera's cable and settings"},
	"camera.width":    {"请在摄像机设置中改为 1920×1080 或更高", "Set the camera to 1920×1080 or more"},
	"camera.height":   {"请在摄像机设置中改为 1920×1080 或更高", "Set the camera to 1920×1080 or more"},
	"camera.floor":    {"请在摄像机设置中提高分辨率，或更换摄像机", "Raise the camera's resolution, or change the camera"},
	"camera.fps":      {"请将摄像机帧率设为 25；光线暗时关闭自动降帧（慢快门）", "Set the camera to 25 frames per second; turn off slow shutter in poor light"},
	"camera.codec":    {"请在摄像机设置中改为 H.264 或 H.265", "Set the camera to H.264 or H.265"},
	"camera.views":    {"请加装摄像机：被询问人正面一路，房间全景一路", "Add a camera: one view of the person questioned, one of the whole room"},
	"camera.keyframe": {"请将摄像机的 I 帧间隔设为 2 秒以内（25 帧时不大于 50）", "Set the camera's I-frame interval to 2 s or less (50 at 25 frames)"},
	"camera.bitrate":  {"请将摄像机码率设为 2–8 Mbit/s", "Set the camera's bit rate to 2–8 Mbit/s"},
	"camera.signal":   {"请检查摄像机电源和网线", "Check the camera's power and cable"},
	"camera.black":    {"请开灯，并检查镜头盖和摄像机", "Switch on the light; check lens cap and camera"},
	"camera.frozen":   {"请重启摄像机", "Restart the camera"},
	"camera.covered":  {"请移开镜头前的遮挡物", "Take away what covers the lens"},
	"camera.blur":     {"请擦净镜头并重新对焦", "Clean the lens and focus it again"},
	"camera.moved":    {"请将摄像机转回原位；如确需移动，请重新学习参考画面", "Turn the camera back; if it was moved on purpose, let the reference view be learnt again"},
	"camera.grade":    {"请检查人员观看画面并录入评分", "Let an inspector look at the picture and enter the grade"},
	"mic":             {"请检查麦克风的接线和增益", "Check the microphone's cable and gain"},
	"mic.present":     {"请检查麦克风接线；必要时更换", "Check the microphone's cable; change it if need be"},
	"mic.rate":        {"请将声音采样率设为 16 kHz 或更高", "Set the sound to 16 kHz or more"},
	"mic.silence":     {"请对麦克风说话并看电平；检查静音开关", "Speak and watch the level; check the mute switch"},
	"mic.clipping":    {"请降低麦克风增益或移远麦克风", "Lower the microphone's gain or move it away"},
	"mic.snr":         {"请将麦克风移近说话人，关闭空调等噪声源", "Move the microphone nearer to who speaks; turn off what hums"},
	"rec":             {"请设备管理员检查磁盘和日志", "Let the equipment manager check disks and log"},
	"rec.copies":      {"两份须写在两块独立的磁盘上：请接好第二块磁盘，或在 agent.yaml 中改用另一块磁盘的目录", "The two copies must be on two disks: connect the second one, or name a folder on another disk in agent.yaml"},
	"rec.gaps":        {"请查看会话的缺口原因（摄像机断线、磁盘），并在记录中说明", "See why the session has gaps (camera, disk), and state it in the record"},
	"rec.drops":       {"请检查摄像机到本机的网络", "Check the network between camera and device"},
	"rec.hours":       {"请归档旧会话后腾出空间，或更换更大的磁盘", "Archive old sessions to free space, or use a larger disk"},
	"rec.continuous":  {"请安排一次 8 小时连续录制测试", "Run a test recording of 8 h"},
	"rec.locked":      {"请收回使用人的删除权限", "Take the right to delete from users"},
	"rec.wear":        {"请更换存储介质", "Change the storage medium"},
	"rec.signed":      {"请检查磁盘写入速度和设备密钥", "Check the disks' speed and the device key"},
	"rec.timestamp":   {"请检查时间戳服务地址和网络", "Check the address of the time-stamp service and the network"},
	"rec.verified":    {"请在会话列表中核验近期会话", "Verify a recent session in the list of sessions"},
	"time":            {"请检查校时服务（NTP）和 RTC 电池", "Check the time service (NTP) and the RTC battery"},
	"time.camera":     {"请将摄像机的校时服务器设为本机", "Let the camera take its time from this device"},
	"time.shown":      {"请在摄像机设置中打开日期时间叠加，并由检查人员录入", "Switch on date and time in the camera's picture; let an inspector enter it"},
	"time.place_shown": {"请在摄像机设置中打开地点叠加，并由检查人员录入",
		"Switch on the place in the camera's picture; let an inspector enter it"},
	"room":               {"请检查温湿度计和室内环境", "Check the climate sensor and the room"},
	"room.lamp":          {"请检查指示灯接线，并口头告知正在录音录像", "Check the lamp's wiring, and tell people by word that they are recorded"},
	"room.notice":        {"请在开始时告知正在录音录像，并标记“告知”", "Tell people at the start that they are recorded, and mark the notice"},
	"net":                {"请检查网络连接", "Check the network"},
	"net.trigger":        {"请检查摄像机和磁盘的启动速度，并联系维护人员", "Check how fast cameras and disks are ready; call maintenance"},
	"net.offline":        {"请检查到管理平台的网络；数据保存在本机，恢复后自动补报", "Check the network to the office; reports are kept here and sent when it is back"},
	"power":              {"请检查电源适配器和供电线", "Check the power supply and its cable"},
	"board":              {"请清理散热孔，保证通风", "Clear the air vents"},
	"keep":               {"请归档近期会话", "Archive recent sessions"},
	"access":             {"请补充调阅事由", "State the reason of each access"},
	"security":           {"请设备管理员更新软件和证书", "Let the equipment manager renew software and certificate"},
	"inspect":            {"请在使用前完成自检", "Let the check before use run"},
	"inspect.before_use": {"请在开始前查看自检结果", "See the check before use at the start of a session"},
	"allocate":           {"请单位按标准补充设备", "The body has to add equipment"},
	"rooms":              {"请单位设置询问室和听证室，可共用", "The body needs an interview and a hearing room, own or shared"},
}
