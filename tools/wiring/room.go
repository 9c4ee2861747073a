package main

// reference is what the drawings and tables show: the same room on two boards.
var reference = []room{
	{Board: "raspberrypi-4", File: "wiring-raspberrypi-4", Parts: []part{
		{Zh: "温湿度 SHT31 + 时钟 DS3231", En: "SHT31 and DS3231 modules, I²C", Side: left, Wires: []wire{{"3V3", 1, power}, {"SDA", 3, bus}, {"SCL", 5, bus}, {"GND", 9, ground}}},
		{Zh: "录音录像按钮（常开）", En: "push button, normally open", Side: left, Wires: []wire{{"A", 11, signal}, {"B", 39, ground}}},
		{Zh: "门磁（门关时闭合）", En: "reed contact, closed while the door is", Side: left, Wires: []wire{{"A", 13, signal}, {"B", 25, ground}}},
		{Zh: "人体感应 HC-SR501", En: "presence sensor HC-SR501", Side: right, Wires: []wire{{"VCC", 2, power5}, {"GND", 6, ground}, {"OUT", 12, signal}}},
		{Zh: "三色指示灯经 3 路继电器", En: "tower lamp behind 3 relays, active low", Side: right, Wires: []wire{{"VCC", 4, power5}, {"GND", 14, ground}, {"IN1 红 red", 16, signal}, {"IN2 黄 amber", 18, signal}, {"IN3 绿 green", 22, signal}}},
	}},
	{Board: "rock-3a", File: "wiring-rock-3a", Parts: []part{
		{Zh: "录音录像按钮（常开）", En: "push button, normally open", Side: left, Wires: []wire{{"A", 11, signal}, {"B", 9, ground}}},
		{Zh: "门磁（门关时闭合）", En: "reed contact, closed while the door is", Side: left, Wires: []wire{{"A", 13, signal}, {"B", 39, ground}}},
		{Zh: "温湿度 SHT31，I2C1", En: "SHT31 module on I2C1", Side: left, Wires: []wire{{"3V3", 17, power}, {"GND", 25, ground}, {"SDA", 27, bus}, {"SCL", 28, bus}}},
		{Zh: "人体感应 HC-SR501", En: "presence sensor HC-SR501", Side: right, Wires: []wire{{"VCC", 2, power5}, {"GND", 6, ground}, {"OUT", 18, signal}}},
		{Zh: "三色指示灯经 3 路继电器", En: "tower lamp behind 3 relays, active low", Side: right, Wires: []wire{{"VCC", 4, power5}, {"GND", 30, ground}, {"IN1 红 red", 32, signal}, {"IN2 黄 amber", 36, signal}, {"IN3 绿 green", 38, signal}}},
	}},
}

// usb hangs on the board's sockets in both rooms.
var usb = [][2]string{
	{"摄像机（UVC，自带 H.264）", "camera, UVC with H.264"}, {"话筒（UAC）", "microphone, UAC"}, {"扫码器", "scanner"},
	{"磁盘 A", "disk A"}, {"磁盘 B", "disk B"}, {"网络摄像机、管理端：以太网", "IP cameras, office: Ethernet"},
}

type room struct {
	Board, File string
	Parts       []part
}

type part struct {
	Zh, En string
	Side   int // left or right of the header
	Wires  []wire
}

type wire struct {
	Terminal string // of the part
	Pin      int    // of the header
	Kind     string
}

const (
	left  = -1
	right = 1
)

// Kinds of wire, and their colours.
const (
	power  = "#d97706" // 3.3 V
	power5 = "#dc2626" // 5 V
	ground = "#374151"
	signal = "#2563eb"
	bus    = "#7c3aed"
)
