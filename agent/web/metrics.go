package web

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

var states = []string{"idle", "recording", "paused", "postroll", "sealing", "fault"}

// metrics serves the room in the text format of Prometheus: whoever may see the state may read it, so
// a collector on the board needs no login. Nothing is kept between two readings.
func (s *Server) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(&gauges{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2, DisableCompression: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.o.Access.Enter(r.Context(), request(r, "state")); err != nil {
			s.fail(w, r, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// gauges makes metrics of one snapshot at each reading. What is not known has no value.
type gauges struct{ s *Server }

// Describe says nothing on purpose: an unchecked collector may leave out what is unknown.
func (g *gauges) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	gauge := func(name, help string, labels ...string) func(v float64, values ...string) {
		d := prometheus.NewDesc("minglu_"+name, help, labels, nil)
		return func(v float64, values ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, values...)
		}
	}
	counter := func(name, help string, n int64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("minglu_"+name, help, nil, nil), prometheus.CounterValue, float64(n))
	}
	st := g.s.snapshot()
	gauge("info", "The room and its software.", "device", "room", "board", "version")(1, st.Device, st.Room, st.Board, st.Version)
	state := gauge("state", "1 for the state the room is in, else 0.", "state")
	for _, x := range states {
		state(yes(x == st.State), x)
	}
	if st.Clock.ErrorUS >= 0 {
		gauge("clock_error_seconds", "Bound of the error of the wall clock; absent while unknown.")(float64(st.Clock.ErrorUS) / 1e6)
	}
	up := gauge("channel_up", "1 while the channel delivers.", "channel")
	fps := gauge("channel_fps", "Pictures, or packets of sound, a second over the last 2 s.", "channel")
	rate := gauge("channel_bits_per_second", "Of all tracks over the last 2 s.", "channel")
	age := gauge("channel_sample_age_seconds", "Since the last sample arrived; absent before the first.", "channel")
	unsigned := int64(-1)
	for _, c := range st.Channels {
		up(yes(c.State == "live"), c.ID)
		fps(c.FPS, c.ID)
		rate(float64(c.BitsPerSec), c.ID)
		if c.AgeMS >= 0 {
			age(float64(c.AgeMS)/1e3, c.ID)
		}
		unsigned = max(unsigned, c.SignedAgoMS)
	}
	if unsigned >= 0 {
		gauge("unsigned_seconds", "Media of the running session beyond the last durable signature, of the worst channel; absent when nothing is recorded.")(float64(unsigned) / 1e3)
	}
	ok := gauge("disk_up", "1 while the disk can be written.", "disk")
	free := gauge("disk_free_bytes", "Free space.", "disk")
	lag := gauge("disk_lag_seconds", "How far the disk is behind.", "disk")
	for _, d := range st.Disks {
		ok(yes(d.State == "ok" || d.State == "behind"), d.Name)
		free(float64(d.FreeBytes), d.Name)
		lag(float64(d.SignedAgoMS)/1e3, d.Name)
	}
	fault := gauge("fault", "1 for each fault that stands.", "code", "ch", "severity")
	for _, f := range st.Faults {
		fault(1, f.Code, f.Ch, f.Severity)
	}
	gauge("faults", "Faults that stand.")(float64(len(st.Faults)))
	if st.Meets != nil {
		items := gauge("compliance_items", "Items of the equipment standard by verdict; basis tells rules from numbers of our own.", "verdict", "basis")
		for basis, c := range map[string]Counts{"rule": st.Meets.Rules, "default": st.Meets.Defaults} {
			items(float64(c.Pass), "pass", basis)
			items(float64(c.Fail), "fail", basis)
			items(float64(c.Unknown), "unknown", basis)
		}
	}
	if g.s.o.Outbox != nil {
		gauge("outbox_messages", "Messages that wait for the office's acknowledgement.")(float64(g.s.o.Outbox()))
	}
	if g.s.o.Writes != nil {
		w := g.s.o.Writes()
		counter("fsyncs_total", "Calls of fsync and fdatasync, of files and folders.", w.Fsyncs)
		counter("written_bytes_total", "Bytes handed to write(2) for files that must survive a power cut.", w.Written)
		counter("read_bytes_total", "Bytes of such files read back.", w.Read)
	}
	if st.Climate != nil {
		gauge("climate_celsius", "Temperature of the room.")(st.Climate.Celsius)
		if st.Climate.Humidity >= 0 {
			gauge("climate_humidity_percent", "Relative humidity of the room.")(st.Climate.Humidity)
		}
	}
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
