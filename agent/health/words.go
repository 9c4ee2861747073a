package health

import "minglu/agent/standard"

// Text is a sentence in both languages.
type text = standard.Text

// How values are taken.
var (
	howSPS      = text{Zh: "取自码流的参数集", En: "read from the parameter sets of the stream"}
	howCount    = text{Zh: "5 秒内到达的帧数", En: "frames that arrived over 5 s"}
	howBits     = text{Zh: "5 秒内到达的数据量", En: "data that arrived over 5 s"}
	howKeys     = text{Zh: "最近两个关键帧的时间戳之差", En: "between the time stamps of the last two keyframes"}
	howAge      = text{Zh: "距最近一帧数据到达", En: "since the last data arrived"}
	howMissing  = text{Zh: "按时间戳缺少的帧，5 秒内", En: "frames missing by their time stamps, over 5 s"}
	howPicture  = text{Zh: "解码关键帧为 320×180 灰度图后分析", En: "keyframes decoded to 320×180 gray and looked at"}
	howBase     = text{Zh: "解码的关键帧与该摄像机平时画面比较", En: "decoded keyframes against the usual view of this camera"}
	howLevel    = text{Zh: "麦克风原始采样，300 毫秒窗口", En: "raw samples of the microphone in windows of 300 ms"}
	howSound    = text{Zh: "解码摄像机声音，300 毫秒窗口", En: "sound of the camera, decoded, in windows of 300 ms"}
	howFormat   = text{Zh: "声音格式", En: "the format of the sound"}
	howLosses   = text{Zh: "最近一小时内声音数据丢失次数", En: "losses of sound reported in the last hour"}
	howSession  = text{Zh: "录制程序的状态", En: "state of the recorder"}
	howLog      = text{Zh: "会话记录", En: "the log of the session"}
	howLast     = text{Zh: "最近一次会话的记录", En: "the log of the last session"}
	howDisks    = text{Zh: "可写磁盘中不同文件系统的数量", En: "different file systems among the disks that can be written"}
	howHours    = text{Zh: "剩余空间除以当前码率", En: "free space over the present bit rate"}
	howModes    = text{Zh: "录像文件夹的权限和界面功能", En: "modes of the recordings' folders, and what the pages allow"}
	howWear     = text{Zh: "内核报告的存储寿命估计", En: "the kernel's life-time estimate"}
	howClock    = text{Zh: "校时源给出的误差界", En: "the error bound of the time source"}
	howFloor    = text{Zh: "与软件发布日及上次运行时间比较", En: "against the build date and the last time this ran"}
	howSteps    = text{Zh: "墙上时钟与单调时钟之差的跳变", En: "jumps of the wall clock against the monotonic clock"}
	howReports  = text{Zh: "RTCP 发送者报告与本机时钟比较", En: "RTCP sender reports against this clock"}
	howSensor   = text{Zh: "温湿度传感器", En: "the room's sensor"}
	howHwmon    = text{Zh: "内核 hwmon 报警", En: "the kernel's hwmon alarm"}
	howMeter    = text{Zh: "电池回路中的电流电压计", En: "the meter in the battery's lead"}
	howThermal  = text{Zh: "内核温度传感器中最高值", En: "the hottest of the kernel's thermal zones"}
	howLooks    = text{Zh: "调阅登记，近30天", En: "register of access, last 30 days"}
	howCert     = text{Zh: "设备证书的有效期", En: "validity of the device certificate"}
	howAck      = text{Zh: "距监管端最近一次确认", En: "since the office last acknowledged"}
	howViews    = text{Zh: "正在传送画面的摄像机数量", En: "cameras that deliver pictures"}
	howDrawn    = text{Zh: "由本机叠加，或确知没有", En: "drawn by this board, or certainly not there"}
	howRegister = text{Zh: "登记的操作", En: "what was registered"}
	howArchive  = text{Zh: "归档回执", En: "receipts of the archive"}
	howKeeping  = text{Zh: "会话目录", En: "the catalogue of sessions"}
)

// Why values are not known.
var (
	whyNoDecoder  = text{Zh: "本机没有解码器", En: "no decoder"}
	whyNoCamera   = text{Zh: "没有配置摄像机", En: "no camera is configured"}
	whyNoMic      = text{Zh: "没有声音来源", En: "nothing with sound is configured"}
	whyStarting   = text{Zh: "刚启动，尚无数据", En: "just started, no data yet"}
	whyNoFrames   = text{Zh: "没有画面到达", En: "no picture arrives"}
	whyNoSound    = text{Zh: "没有声音到达", En: "no sound arrives"}
	whyNotYet     = text{Zh: "尚未解码出画面", En: "no picture decoded yet"}
	whyNoneLately = text{Zh: "近期没有解码出画面", En: "no picture was decoded lately"}
	whyBroken     = text{Zh: "解码失败，正在重试", En: "the decoder fails, it is tried again"}
	whyPaused     = text{Zh: "会话暂停，不采集", En: "the session is paused, nothing is looked at"}
	whyBlack      = text{Zh: "画面全黑，无法判断", En: "the picture is black, nothing can be told"}
	whyCovered    = text{Zh: "镜头被遮挡，无法判断", En: "the lens is covered, nothing can be told"}
	whyLearning   = text{Zh: "正在学习该摄像机的平时画面", En: "the usual view of this camera is being learnt"}
	whyNoLevel    = text{Zh: "麦克风电平未知", En: "the level of the microphone is not known"}
	whyRawRate    = text{Zh: "编码前的采样率未知", En: "the rate before encoding is not known"}
	whyCodedElse  = text{Zh: "这种声音编码不解码分析", En: "sound of this codec is not decoded here"}
	whyNoReports  = text{Zh: "摄像机没有发送时间报告", En: "the camera sends no sender reports"}
	whyNoSession  = text{Zh: "没有会话", En: "no session"}
	whyNoGapSum   = text{Zh: "录制程序未给出缺失时长", En: "the recorder does not tell how long gaps are"}
	whyNoAV       = text{Zh: "没有测试信号，无法测量音画偏差", En: "sound against picture cannot be measured without a test signal"}
	whyNoSpeech   = text{Zh: "尚不能区分语音与噪声", En: "speech is not told apart from noise yet"}
	whyUnverified = text{Zh: "没有校时源证明误差", En: "no time source vouches for the clock"}
	whyNoRate     = text{Zh: "码率未知", En: "the bit rate is not known"}
	whyNoDisk     = text{Zh: "没有可写的磁盘", En: "no disk can be written"}
	whyProbing    = text{Zh: "尚未检查完", En: "not looked at yet"}
	whyDiskError  = text{Zh: "磁盘无法读取", En: "the disk cannot be read"}
	whyNoHwmon    = text{Zh: "本机没有供电监测", En: "this board has no supply monitor"}
	whyNoThermal  = text{Zh: "本机没有温度传感器", En: "this board has no thermal sensor"}
	whyNoSensor   = text{Zh: "没有温湿度传感器", En: "no sensor is configured"}
	whySensorMute = text{Zh: "传感器没有应答", En: "the sensor does not answer"}
	whyNoHumidity = text{Zh: "传感器不测湿度", En: "the sensor does not tell humidity"}
	whyNoLamp     = text{Zh: "没有配置指示灯", En: "no lamp is configured"}
	whyNoOffice   = text{Zh: "没有配置监管端", En: "no office is configured"}
	whyNoStamps   = text{Zh: "没有配置时间戳服务", En: "no time-stamp service is configured"}
	whyStampsOpen = text{Zh: "时间戳状态未知", En: "the state of time stamps is not known"}
	whyNoArchive  = text{Zh: "没有配置归档", En: "no archive is configured"}
	whyNever      = text{Zh: "从未进行", En: "never done yet"}
	whyMeterMute  = text{Zh: "电池监测没有响应", En: "the battery's meter does not answer"}
	whyNoPower    = text{Zh: "尚未遇到断电恢复", En: "power has not come back in a session yet"}
	whyCert       = text{Zh: "证书有效期未知", En: "the validity of the certificate is not known"}
	whyClockBad   = text{Zh: "时钟不可信，无法判断", En: "the clock cannot be right, nothing can be told"}
	whyNotRead    = text{Zh: "画面由摄像机编码，其中的文字不识别；可由人查看后写入配置 camera.shown", En: "the camera codes its pictures and text in them is not read: a person may look and state it in camera.shown of the configuration"}
	whyOffice     = text{Zh: "由监管端根据台账判断", En: "judged at the office, from the inventory"}
	whyInspector  = text{Zh: "须由检查人员录入", En: "an inspector has to enter it"}
	whyRegister   = text{Zh: "调阅登记无法读取", En: "the register of access cannot be read"}
	whyLater      = text{Zh: "本版本尚不测量", En: "not measured by this version"}
)

// unmeasured names the measures of the default profile that are not taken here, and why.
var unmeasured = []struct {
	measure string
	why     text
}{
	{"manual.picture_grade", whyInspector},
	{"audio.speech_snr", whyNoSpeech},
	{"record.av_offset", whyNoAV},
	{"live.delay", whyLater},
	{"software.behind", whyLater},
	{"selftest.age", whyLater},
	{"body.sets_per_officer", whyOffice},
	{"body.sets", whyOffice},
	{"body.interview_rooms", whyOffice},
}
