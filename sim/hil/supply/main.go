// Command supply runs in a hil guest: a minglu-agent in a room with a hardware clock (DS3231) whose battery is dead, in 1970, and
// with an INA226 in the lead of a battery, both behind the kernel's I²C. It lets the mains go in a session, and the battery run
// down, and says what the agent made of it, one line for each thing that holds. It fails where one does not.
//
//	supply AGENT FOLDER-OF-STATE DISK
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"minglu/sim/hil/i2cchip"
)

const (
	api    = "http://127.0.0.1:8080/api/v1"
	within = 90 * time.Second // an emulated board on a busy machine
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: supply AGENT FOLDER-OF-STATE DISK")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println("supply:", err)
		os.Exit(1)
	}
}

// ina226 sets what its registers read over a shunt of 10 mΩ: 1.25 mV a step of the voltage, 0.25 mA a step of the current.
func ina226(w *i2cchip.Words, mv, ma int) {
	w.Reg[0x02], w.Reg[0x01] = uint16(mv*4/5), uint16(int16(ma*4))
}

func run(agent, state, disk string) error {
	bus, err := i2cchip.Open()
	if err != nil {
		return err
	}
	defer bus.Close()
	clock, meter := i2cchip.NewDS3231(time.Time{}, true), &i2cchip.Words{Reg: [256]uint16{0x00: 0x4127, 0xFE: 0x5449, 0xFF: 0x2260}}
	ina226(meter, 12_600, -100)
	bus.Put(0x68, clock)
	bus.Put(0x40, meter)
	if err := setClock(time.Unix(1000, 0), false); err != nil {
		return err
	}
	config := filepath.Join(state, "agent.yaml")
	text := fmt.Sprintf("device: {name: room-hil, room: 停电试验室}\nboard: sim\nstate: %s\nweb: {listen: \"127.0.0.1:8080\", auth: none}\nstorage: {disks: [%s], postroll: 1m}\n"+
		"channels:\n  - {id: voice, microphone: {sim: {}}}\nrtc: {i2c: {bus: %s}}\npower: {i2c: {bus: %s}, shunt_mohm: 10, seal_at: 1m, battery: {full_mv: 12600, empty_mv: 9600, capacity_mah: 500}}\n",
		filepath.Join(state, "agent"), disk, bus.Path(), bus.Path())
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(agent, "run", "--config", config)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	err = trial(bus, clock, meter, disk)
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
	if err != nil {
		return err
	}
	sessions, err := filepath.Glob(filepath.Join(disk, "sessions", "*"))
	if err != nil {
		return err
	}
	out, err := exec.Command(agent, append([]string{"verify", "--json", "--require", "0"}, sessions...)...).Output()
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the agent ended with status %d", code)
	}
	if e := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &e) || e.ExitCode() != 3) { // nobody vouches for who signed
		return fmt.Errorf("verify: %w: %s", err, out)
	}
	if !bytes.Contains(out, []byte(`"battery low"`)) {
		return fmt.Errorf("the verifier does not say why it ended: %s", out)
	}
	fmt.Println("verified: ended for \"battery low\"")
	return nil
}

func trial(bus *i2cchip.Bus, clock *i2cchip.DS3231, meter *i2cchip.Words, disk string) error {
	if err := until("1970 and a dead battery are told", standing("clock.behind", "rtc.battery")); err != nil {
		return err
	}
	if err := until("a session records", func() bool {
		call("POST", "/session", map[string]any{"matter": "停电试验"}, nil)
		return now().State == "recording"
	}); err != nil {
		return err
	}
	id := now().Session.ID
	began := time.Now()
	bus.Do(func() { ina226(meter, 12_200, 700) })
	if err := until("mains lost is told", standing("power.mains")); err != nil {
		return err
	}
	fmt.Printf("figure: mains lost, told after %v\n", time.Since(began).Round(100*time.Millisecond))
	bus.Do(func() { ina226(meter, 9650, 700) })
	if err := until("the session is sealed before the battery ends", func() bool {
		_, err := os.Stat(filepath.Join(disk, "sessions", id, "manifest.json.p7s"))
		return err == nil && standing("power.battery")()
	}); err != nil {
		return err
	}
	bus.Do(func() { ina226(meter, 12_600, -100) })
	if err := until("the mains are back", func() bool { return !standing("power.mains")() && !standing("power.battery")() }); err != nil {
		return err
	}
	right := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := setClock(right, true); err != nil {
		return err
	}
	return until("network time sets the hardware clock", func() (set bool) {
		bus.Do(func() { set = clock.Reg[0x0F]&0x80 == 0 && clock.Time().Year() == right.Year() })
		return set && standing("rtc.battery")()
	})
}

// setClock sets the system's clock, and lets the kernel vouch for it as if network time had set it.
func setClock(t time.Time, vouched bool) error {
	tv := syscall.NsecToTimeval(t.UnixNano())
	if err := syscall.Settimeofday(&tv); err != nil {
		return fmt.Errorf("settimeofday: %w", err)
	}
	const setMaxError, setEstError, setStatus, unsynchronised = 0x0004, 0x0008, 0x0010, 0x0040 // adjtimex(2)
	x := syscall.Timex{Modes: setMaxError | setEstError | setStatus, Maxerror: 1000, Esterror: 1000}
	if !vouched {
		x.Status = unsynchronised
	}
	if _, err := syscall.Adjtimex(&x); err != nil {
		return fmt.Errorf("adjtimex: %w", err)
	}
	return nil
}

type roomState struct {
	State   string
	Session *struct{ ID string }
	Faults  []struct{ Code string }
}

func now() (s roomState) {
	call("GET", "/state", nil, &s)
	return s
}

// standing reports whether all faults stand.
func standing(codes ...string) func() bool {
	return func() bool {
		s := now()
		for _, c := range codes {
			if !slices.ContainsFunc(s.Faults, func(f struct{ Code string }) bool { return f.Code == c }) {
				return false
			}
		}
		return true
	}
}

// until waits for something, which is then said, and says what the room showed instead if it never comes.
func until(what string, is func() bool) error {
	for end := time.Now().Add(within); !is(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s; the room is %+v", within, what, now())
		}
	}
	fmt.Println("holds:", what)
	return nil
}

// call asks the agent; one that does not answer yet is asked again by whoever waits.
func call(method, path string, body, answer any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic("BUG: supply: " + err.Error())
	}
	req, err := http.NewRequest(method, api+path, strings.NewReader(string(b)))
	if err != nil {
		panic("BUG: supply: " + err.Error())
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	if answer != nil {
		json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(answer)
	}
}
