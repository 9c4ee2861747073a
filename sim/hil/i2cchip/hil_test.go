//go:build hil

package i2cchip

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slave is I2C_SLAVE of uapi/linux/i2c-dev.h.
const slave = 0x0703

func open(t *testing.T, b *Bus, addr uintptr) int {
	t.Helper()
	fd, err := syscall.Open(b.Path(), syscall.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), slave, addr); e != 0 {
		t.Fatal(e)
	}
	return fd
}

// TestHILBus talks to chips through /dev/i2c-N, and meets no acknowledge and a stuck bus.
func TestHILBus(t *testing.T) {
	b, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r := &Registers{}
	copy(r.Reg[0x20:], "chip")
	b.Put(0x50, r)
	fd := open(t, b, 0x50)
	ask := func() (string, error) {
		if _, err := syscall.Write(fd, []byte{0x20}); err != nil {
			return "", err
		}
		var got [4]byte
		_, err := syscall.Read(fd, got[:])
		return string(got[:]), err
	}
	if got, err := ask(); got != "chip" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	b.Put(0x50, nil)
	if _, err := ask(); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("without a chip: %v, want ENXIO", err)
	}
	b.Put(0x50, r)
	b.Stick(true)
	if _, err := ask(); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("stuck: %v, want ETIMEDOUT", err)
	}
	b.Stick(false)
	if got, err := ask(); got != "chip" || err != nil {
		t.Errorf("let go: %q, %v", got, err)
	}
}

// TestHILKernelDriver lets the kernel's own driver read the clock: what it believes is a DS3231.
func TestHILKernelDriver(t *testing.T) {
	b, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Put(0x68, NewDS3231(time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC), false))
	adapter := "/sys/bus/i2c/devices/" + strings.TrimPrefix(b.Path(), "/dev/")
	if err := os.WriteFile(adapter+"/new_device", []byte("ds3231 0x68"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(adapter+"/delete_device", []byte("0x68"), 0); err != nil {
			t.Error(err)
		}
	}()
	base := strings.TrimPrefix(b.Path(), "/dev/i2c-")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // bound by a worker of the kernel
		rtcs, err := os.ReadDir("/sys/bus/i2c/devices/" + base + "-0068/rtc")
		if err == nil && len(rtcs) == 1 {
			date, err := os.ReadFile("/sys/class/rtc/" + rtcs[0].Name() + "/date")
			if strings.TrimSpace(string(date)) != "2031-02-03" || err != nil {
				t.Errorf("date %q, %v", date, err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no rtc after 10 s: %v", err)
		}
	}
}
